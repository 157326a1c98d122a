"""``serve`` passes its arguments to ``sklearn_lntune.serving.serve``, which has its own tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_arguments(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = pytest.importorskip("sklearn_lntune.serving", reason="needs the extra serve")
    calls: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda *given, **options: calls.append((given, options)))
    monkeypatch.setenv("SKLEARN_LNTUNE_TOKEN", "a token of the environment")
    result = run("serve", tmp_path, "--port", 8123, "--max-memory", 1000)
    assert result.exit_code == 0, result.output
    [(given, options)] = calls
    assert given == (tmp_path, "127.0.0.1", 8123)
    assert options["max_memory"] == 1000
    assert options["token"] == "a token of the environment"


def test_a_folder_without_a_classifier(run: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("sklearn_lntune.serving", reason="needs the extra serve")
    result = run("serve", tmp_path)
    assert result.exit_code == 1
    assert "holds no saved classifier" in result.stderr


def test_a_missing_extra(
    run: Callable[..., Any], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("sklearn_lntune.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delattr("sklearn_lntune.serving", raising=False)
    result = run("serve", saved.parent)
    assert result.exit_code == 1
    assert "pip install 'sklearn-lntune[serve]'" in result.stderr
    assert result.stderr.count("\n") == 1
