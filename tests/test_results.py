"""Every table in the documentation is what its script makes of the committed results."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


FIGURES = ["defaults", "real_data", "peft_trainer", "memory", "methods", "methods_choice"]
FIGURES += ["artefacts"]


@pytest.mark.parametrize("figure", FIGURES)
def test_tables_are_those_of_the_committed_results(
    figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tabulate")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    render = runpy.run_path(str(ROOT / "benchmarks" / "render.py"))
    shown = (ROOT / "docs" / "figures" / f"{figure}.rst").read_text("utf-8")
    assert shown == render[figure]()
