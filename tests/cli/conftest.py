"""A runner of the command, a file of labelled texts, and a saved classifier."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sklearn_lntune import LNTunedTransformerClassifier


@pytest.fixture
def run() -> Callable[..., Any]:
    """``run(*arguments, input=...)``: the result of a command."""
    from sklearn_lntune.cli.app import app

    def call(*arguments: Any, input: bytes | str | None = None) -> Any:
        return CliRunner().invoke(app, [str(each) for each in arguments], input=input)

    return call


@pytest.fixture
def quick() -> list[str]:
    """Arguments that make a training quick."""
    return "--device cpu --set max_epochs=1 --set min_steps=0 --set batch_size=8".split()


@pytest.fixture
def tickets(tmp_path: Path, texts: list[str], labels: list[str]) -> Path:
    """A CSV file with the columns ``id``, ``message`` and ``queue``."""
    file = tmp_path / "tickets.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = zip(range(len(texts)), texts, labels, strict=True)
        csv.writer(stream).writerows([("id", "message", "queue"), *rows])
    return file


@pytest.fixture(scope="session")
def fitted(
    lively_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> LNTunedTransformerClassifier:
    """A fitted classifier whose answers differ from text to text."""
    clf = LNTunedTransformerClassifier(
        str(lively_backbone()), lr=0.05, head_lr=0.05, max_epochs=6, min_steps=0, random_state=0
    )
    return clf.set_params(device="cpu").fit(texts, labels)


@pytest.fixture(scope="session")
def saved(fitted: LNTunedTransformerClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``fitted`` in a zip."""
    file = tmp_path_factory.mktemp("saved") / "tickets.zip"
    fitted.save(file, metrics={"accuracy": 0.75}, data="forty rows")
    return file
