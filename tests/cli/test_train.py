"""``train``, and the files it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sklearn_lntune


def test_train_writes_classifier_figures_and_card(
    run: Callable[..., Any],
    tickets: Path,
    tiny_backbone: Callable[..., Path],
    tmp_path: Path,
    quick: list[str],
) -> None:
    columns = ["--text", "message", "--label", "queue"]
    where = ["--backbone", tiny_backbone(), "-o", tmp_path / "out" / "q.zip"]
    result = run("train", tickets, *columns, *where, *quick, "--held-out", 0.25)
    assert result.exit_code == 0, result.output
    clf = sklearn_lntune.load(tmp_path / "out" / "q.zip")
    assert clf.classes_.tolist() == ["blue", "green", "red"]
    assert clf.verbose == 0
    found = json.loads((tmp_path / "out" / "q.metrics.json").read_text())
    assert found["rows"] == 10
    assert sum(map(sum, found["confusion"])) == 10
    assert f"accuracy {found['accuracy']:.4f}" in result.stdout
    card = (tmp_path / "out" / "q.md").read_text()
    assert "30 rows of tickets.csv; scored on 10 rows held out from it" in card
    assert f"- accuracy: {found['accuracy']:.4g}" in card


def test_train_scores_a_file_and_writes_a_folder(
    run: Callable[..., Any],
    tickets: Path,
    tiny_backbone: Callable[..., Path],
    tmp_path: Path,
    quick: list[str],
) -> None:
    columns = ["--text", "message", "--label", "queue", "--test", tickets]
    where = ["--backbone", tiny_backbone(), "--output", tmp_path / "q"]
    result = run("train", tickets, *columns, *where, *quick, "--tuning", "bias", "--set", "lr=1e-3")
    assert result.exit_code == 0, result.output
    clf = sklearn_lntune.load(tmp_path / "q")
    assert (clf.tuning, clf.lr) == ("bias", 0.001)
    assert json.loads((tmp_path / "q.metrics.json").read_text())["rows"] == 40
    assert not (tmp_path / "q.md").exists()  # README.md in the folder


def test_train_on_pairs_in_json_lines_with_nothing_held_out(
    run: Callable[..., Any],
    texts: list[str],
    tiny_backbone: Callable[..., Path],
    tmp_path: Path,
    quick: list[str],
) -> None:
    rows = [{"a": text, "b": "sun", "label": i % 2} for i, text in enumerate(texts)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = ["--text", "a", "--text-pair", "b", "--held-out", 0]
    where = ["--backbone", tiny_backbone(), "-o", tmp_path / "p.zip"]
    result = run("train", tmp_path / "pairs.jsonl", *columns, *where, *quick)
    assert result.exit_code == 0, result.output
    clf = sklearn_lntune.load(tmp_path / "p.zip")
    assert clf.n_features_in_ == 2
    assert clf.classes_.tolist() == ["0", "1"]  # labels are text in every format
    assert "accuracy" not in json.loads((tmp_path / "p.metrics.json").read_text())


@pytest.mark.parametrize("name", ["q.zip", "q.metrics.json", "q.md"])
def test_nothing_is_replaced_unasked(
    run: Callable[..., Any], tickets: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    # The backbone does not exist: the error comes before anything is loaded.
    result = run("train", tickets, "-o", tmp_path / "q.zip", "--backbone", "/nowhere")
    assert result.exit_code == 1
    assert f"{name} is there already" in result.stderr
    assert (tmp_path / name).read_text() == "mine"


def test_something_else_is_not_replaced_even_if_asked(
    run: Callable[..., Any], tickets: Path, tmp_path: Path
) -> None:
    (tmp_path / "q.zip").write_text("mine")
    where = ["-o", tmp_path / "q.zip", "--backbone", "/nowhere"]
    result = run("train", tickets, *where, "--overwrite")
    assert result.exit_code == 1
    assert "holds something else" in result.stderr
    assert (tmp_path / "q.zip").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "lr"], "--set takes NAME=VALUE; got 'lr'"),
        (
            ["--set", "rate=1"],
            "'rate' is not a parameter of the classifier; there are: accumulate, backbone",
        ),
        (["--set", "lr=[1"], "is not a plain value"),
        (["--text", "body"], "no column 'body' (--text); its columns are: id, message, queue"),
        (["--text", "message"], "no column 'label' (--label); its columns are: id, message, queue"),
        (["--text", "message", "--text-pair", "x"], "no column 'x' (--text-pair)"),
    ],
)
def test_errors_before_training(
    run: Callable[..., Any], tickets: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    where = ["-o", tmp_path / "q.zip", "--backbone", "/nowhere"]
    result = run("train", tickets, *where, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "q.zip").exists()
