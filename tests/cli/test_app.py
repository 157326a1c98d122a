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

COMMANDS = ["train", "predict", "evaluate", "compare", "search", "info", "export", "serve"]


def start(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sklearn_lntune", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, **options)


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


def test_completion_of_commands_and_values() -> None:
    def completed(*words: str) -> list[str]:
        asked = {
            "_SKLEARN_LNTUNE_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["sklearn-lntune", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return start(env={**os.environ, **asked}).stdout.decode().split()

    assert completed("pre") == ["predict"]
    assert completed("export", "") == ["peft", "transformers", "onnx"]
    assert "--text-pair" in completed("train", "--te")


def test_a_real_process_in_a_pipe(saved: Path, texts: list[str], tmp_path: Path) -> None:
    """In another folder, through standard input and output, with bytes beyond ASCII."""
    content = "\n".join([*texts, "sun ☀ schön"]).encode()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = start("predict", saved, input=content, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 41
    assert set(done.stdout.split()) <= {b"blue", b"green", b"red"}


def test_the_reader_of_a_pipe_may_leave(saved: Path) -> None:
    command = [sys.executable, "-m", "sklearn_lntune", "predict", str(saved), "--chunk", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"sun\n")
        process.stdin.flush()
        assert process.stdout.readline()  # answered although the input goes on
        process.stdout.close()
        process.stdin.write(b"sun\n" * 5)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
