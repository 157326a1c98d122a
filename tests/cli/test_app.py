"""The command as a whole: help, errors, completion, a missing extra, and a real process."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

import sklearn_lntune
from sklearn_lntune.cli import predict as predicting
from sklearn_lntune.cli.app import app
from sklearn_lntune.cli.main import main

COMMANDS = ["train", "predict", "evaluate", "compare", "search", "info", "export", "serve"]


def test_help_names_all_commands(run: Callable[..., Any]) -> None:
    shown = run("--help").stdout
    assert all(command in shown for command in COMMANDS)
    assert run("--version").stdout.strip() == sklearn_lntune.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_can_be_parsed(run: Callable[..., Any], command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    found = typer.main.get_command(app).commands[command]
    examples = re.findall(rf"sklearn-lntune {command} (.*)", found.help)
    assert examples
    for example in examples:
        arguments = shlex.split(example.split(" > ")[0])
        context = found.make_context(command, arguments)
        assert context.params


def test_errors_of_arguments_are_one_line(run: Callable[..., Any]) -> None:
    for arguments in (["train"], ["fly"], ["predict", "a.zip", "--chunk", "0"], ["info", "--fast"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("sklearn-lntune: error: ")
        assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(run: Callable[..., Any], tmp_path: Path) -> None:
    for arguments in (["--debug", "info", tmp_path / "x"], ["info", tmp_path / "x", "--debug"]):
        result = run(*arguments)
        assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("two\nlines"), 1, "error: two lines"),
        (RuntimeError("odd"), 1, "error: RuntimeError: odd. --debug shows where"),
        (FileNotFoundError(2, "No such file", "a.csv"), 1, "No such file: 'a.csv'"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_every_error_is_one_line_and_a_code(
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(predicting, "load_classifier", fail)
    result = run("predict", "a.zip")
    assert result.exit_code == code
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_warnings_are_one_line(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*args: Any, **options: Any) -> None:
        warnings.simplefilter("always")
        warnings.warn("texts were\ncut", stacklevel=1)
        raise ValueError("enough")

    monkeypatch.setattr(predicting, "load_classifier", warn)
    lines = run("predict", "a.zip").stderr.splitlines()
    assert lines[0] == "sklearn-lntune: warning: texts were cut"
    assert len(lines) == 2


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['typer'] = None\nfrom sklearn_lntune.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "sklearn-lntune: error: the command needs typer, which is not installed: "
        "pip install 'sklearn-lntune[cli]'\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pre"], ["predict"]),
        (["export", ""], ["peft", "transformers", "onnx"]),
        (["train", "--text-p"], ["--text-pair"]),
    ],
    ids=" ".join,
)
def test_completion_of_commands_and_values(
    words: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["sklearn-lntune"])
    monkeypatch.setenv("_SKLEARN_LNTUNE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["sklearn-lntune", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == expected


def test_a_real_process_in_a_pipe_whose_reader_leaves(
    saved: Path, texts: list[str], tmp_path: Path
) -> None:
    """In another folder, through standard input and output, with bytes beyond ASCII."""
    command = [sys.executable, "-m", "sklearn_lntune", "predict", str(saved), "--chunk", "1"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(command, **pipes, cwd=tmp_path, env=environment) as process:
        process.stdin.write("\n".join([*texts, "sun ☀ schön", ""]).encode())
        process.stdin.flush()
        found = [process.stdout.readline() for _ in range(41)]  # although the input goes on
        assert set(found) <= {b"blue\n", b"green\n", b"red\n"}
        process.stdout.close()
        process.stdin.write(b"sun\n" * 5)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
