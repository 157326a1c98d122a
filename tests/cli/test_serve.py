"""``serve`` starts the application of ``sklearn_lntune.serving``; here a stand-in of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STARTED: list[Any] = []


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What uvicorn was asked to run."""
    started: list[Any] = []
    serving, uvicorn = ModuleType("sklearn_lntune.serving"), ModuleType("uvicorn")
    serving.create_app = lambda bank: bank  # type: ignore[attr-defined]
    uvicorn.run = lambda app, **options: started.append((app, options))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn_lntune.serving", serving)
    monkeypatch.setitem(sys.modules, "uvicorn", uvicorn)
    return started


def test_serve(run: Callable[..., Any], saved: Path, stand_ins: list[Any]) -> None:
    result = run("serve", saved.parent, "--port", 8123)
    assert result.exit_code == 0, result.output
    [(bank, options)] = stand_ins
    assert bank.names == ["tickets"]
    assert (options["host"], options["port"]) == ("127.0.0.1", 8123)


def test_folders_without_a_classifier(
    run: Callable[..., Any], saved: Path, stand_ins: list[Any], tmp_path: Path
) -> None:
    assert "there is no saved classifier in" in run("serve", tmp_path).stderr
    assert "is not a folder" in run("serve", saved).stderr
    shutil.copy(saved, tmp_path / "a.zip")
    assert run("serve", tmp_path).exit_code == 0


def test_a_missing_extra(
    run: Callable[..., Any], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("serve", saved.parent)
    assert result.exit_code == 1
    assert "serve needs uvicorn: pip install 'sklearn-lntune[serve]'" in result.stderr
