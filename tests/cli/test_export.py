"""``export`` writes what the methods of a classifier write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def native(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str], tmp_path: Path
) -> Path:
    file = tmp_path / "native.zip"
    tiny_clf(pooling="native", precision="float32", max_epochs=1).fit(texts, labels).save(file)
    return file


def test_peft_and_transformers(run: Callable[..., Any], native: Path, tmp_path: Path) -> None:
    result = run("export", "peft", native, "-o", tmp_path / "adapter")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    result = run("export", "transformers", native, "-o", tmp_path / "model")
    assert result.exit_code == 0, result.output
    labels = json.loads((tmp_path / "model" / "config.json").read_text())["id2label"]
    assert list(labels.values()) == ["blue", "green", "red"]


def test_what_a_library_cannot_hold_is_one_line(
    run: Callable[..., Any], saved: Path, tmp_path: Path
) -> None:
    result = run("export", "transformers", saved, "-o", tmp_path / "model")
    assert result.exit_code == 1
    assert "native" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_is_replaced(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("export", "onnx", "/nowhere.zip", "-o", tmp_path)
    assert f"{tmp_path} is there already" in result.stderr


def test_unknown_libraries(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("export", "keras", "/nowhere.zip", "-o", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_onnx(
    run: Callable[..., Any], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the file is tested where it is written."""
    written: list[dict[str, Any]] = []

    def write(file: Path, network: Any, example: Any, meta: Any, *rest: Any) -> None:
        written.append(meta)
        file.write_bytes(b"graph")

    monkeypatch.setattr("sklearn_lntune.exchange.onnx.write_onnx", write)
    result = run("export", "onnx", saved, "-o", tmp_path / "clf.onnx")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "clf.onnx").read_bytes() == b"graph"
    assert [meta["classes"] for meta in written] == [["blue", "green", "red"]]
