"""``evaluate``: figures, printed and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.cli.scores import print_report, report

PNG = b"\x89PNG"


def test_report_and_confusion(
    run: Callable[..., Any],
    saved: Path,
    tickets: Path,
    fitted: LNTunedTransformerClassifier,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    columns = ["--text", "message", "--label", "queue"]
    files = ["--json", tmp_path / "found.json", "--plot", tmp_path / "found.png"]
    result = run("evaluate", saved, tickets, *columns, *files)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    predicted = fitted.predict(texts)
    assert found["accuracy"] == np.mean(predicted == labels)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["confusion"] == confusion_matrix(labels, predicted).tolist()
    assert f"accuracy {found['accuracy']:.4f}" in result.stdout
    assert "actual \\ predicted" in result.stdout
    assert (tmp_path / "found.png").read_bytes().startswith(PNG)


def test_unknown_labels_count_as_wrong(
    run: Callable[..., Any], saved: Path, texts: list[str], tmp_path: Path
) -> None:
    rows = "\n".join(f"{text}\t7" for text in texts)
    (tmp_path / "t.tsv").write_text(f"text\tlabel\n{rows}\n")
    result = run("evaluate", saved, tmp_path / "t.tsv")
    assert "accuracy 0.0000" in result.stdout


def test_of_many_classes_only_the_confusions_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"c{i:02}" for i in range(30)]
    print_report(report([*names, "c00", "c00"], [*names, "c07", "c07"]))
    printed = capsys.readouterr().out
    assert "most frequent confusions" in printed
    assert printed.splitlines()[-1].split() == ["c00", "c07", "2"]


@pytest.mark.parametrize(
    ("plot", "message"),
    [("a.bmp", "a picture's name ends in .png, .svg, .pdf"), ("tickets.csv", "is there already")],
)
def test_a_picture_that_cannot_be_drawn_is_an_error_at_once(
    run: Callable[..., Any], tickets: Path, plot: str, message: str
) -> None:
    result = run("evaluate", "/nowhere.zip", tickets, "--plot", tickets.parent / plot)
    assert result.exit_code == 1
    assert message in result.stderr
