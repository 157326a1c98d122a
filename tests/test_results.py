"""Every table in the documentation is what its script makes of the committed results."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


FIGURES = ["defaults", "real_data", "memory", "methods", "methods_choice", "artefacts", "attention"]
FIGURES += ["bank", "compiling", "fused", "lengths", "plan", "scale", "speed"]


@pytest.mark.parametrize("figure", FIGURES)
def test_tables_are_those_of_the_committed_results(
    figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tabulate")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    render = runpy.run_path(str(ROOT / "benchmarks" / "render.py"))
    shown = (ROOT / "docs" / "figures" / f"{figure}.rst").read_text("utf-8")
    assert shown == render[figure]()


def test_speed_is_judged_by_medians_of_the_last_finished_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    figures = runpy.run_path(str(ROOT / "benchmarks" / "speed_figures.py"))
    file = tmp_path / "speed.jsonl"
    about = {"cpu": "C", "device": "cpu", "threads": 2, "native_bfloat16": True, "others": 0.0}
    about |= {"mode": "short", "date": "2026-01-01", "versions": {"torch": "2"}}

    def fit(run: str, who: str, turn: int, seconds: float) -> dict[str, object]:
        key = {"part": "fit", "workload": "trec", "rows": 9, "tokens": 90, "gflop": 5.0}
        key |= {"accuracy": 0.5 if turn == 0 else None}
        return about | key | {"run": run, "who": who, "turn": turn, "seconds": seconds}

    records = [about | {"run": "1", "part": "peak", "rows": 32, "length": 32, "peak": 10.0}]
    records += [fit("1", "ours", turn, seconds) for turn, seconds in enumerate((1.0, 9.0, 2.0))]
    records += [fit("1", "peft + Trainer", turn, 7.2) for turn in range(3)]
    records += [fit("1", "full + Trainer", 0, 7.0), about | {"run": "1", "part": "finished"}]
    records += [fit("2", "ours", 0, 100.0)]  # cut off
    file.write_text("\n".join(json.dumps(record) for record in records), "utf-8")

    (run,) = figures["load"](file)
    judged = figures["targets"](run).set_index("figure")
    assert judged.loc["fit, peft + Trainer / ours, trec, 9 rows", ["here", "met"]].tolist() == [
        3.6,
        "met",
    ]
    assert judged.loc["fit, full + Trainer / ours, trec, 9 rows", ["here", "met"]].tolist() == [
        3.5,
        "missed",
    ]
    fits = figures["fits"](run).set_index("contestant")
    assert fits.loc["ours", "seconds"] == "2 (1 to 9)"
    assert fits.loc["ours", "share of peak, %"] == 25


def test_an_interrupted_run_goes_on_and_a_finished_one_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("psutil")
    record = runpy.run_path(str(ROOT / "benchmarks" / "speed" / "record.py"))
    file = tmp_path / "speed.jsonl"
    made: list[int] = []

    def measure() -> dict[str, int]:
        made.append(len(made))
        return {"value": made[-1]}

    first = record["Run"]("short", file)
    assert first.kept({"part": "fit", "who": "a"}, measure)["value"] == 0
    second = record["Run"]("short", file)  # as after an interrupt
    assert second.name == first.name
    assert second.kept({"part": "fit", "who": "a"}, measure)["value"] == 0
    assert second.kept({"part": "fit", "who": "b"}, measure)["value"] == 1
    assert record["Run"]("full", file).frame().empty
    second.kept({"part": "finished"}, dict)
    assert record["Run"]("short", file).frame().empty
    assert len(file.read_text("utf-8").splitlines()) == 3
