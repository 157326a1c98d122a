"""Every table in the documentation is what its script makes of the committed results."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("psutil")
pytest.importorskip("tabulate")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FIGURES = ["arena", "artefacts", "bank", "compiling", "defaults", "fused", "images", "int8"]
FIGURES += ["long_texts", "memory", "methods", "real_data", "recipe", "scale", "serving", "speed"]
FIGURES += ["tags", "targets", "trust"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script by its name, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


@pytest.mark.parametrize("figure", FIGURES)
def test_tables_are_those_of_the_committed_results(figure: str, script: Any) -> None:
    figures = script("render").FIGURES
    assert sorted(figures) == FIGURES
    shown = (BENCHMARKS.parent / "docs" / "figures" / f"{figure}.rst").read_text("utf-8")
    assert shown == figures[figure]()


def fit(run: str, who: str, turn: int, seconds: float, accuracy: float = 0.5) -> dict[str, Any]:
    key = {"part": "fit", "workload": "trec", "rows": 9, "tokens": 90, "others": 0.0}
    key |= {"cpu": "C", "device": "cpu", "threads": 2, "native_bfloat16": True}
    key |= {"mode": "short", "date": "2026-01-01", "versions": {"torch": "2"}}
    key |= {"accuracy": accuracy if turn == 0 else None}
    return key | {"run": run, "who": who, "turn": turn, "seconds": seconds}


def test_speed_is_judged_by_medians_of_the_last_finished_run(script: Any, tmp_path: Path) -> None:
    records = [fit("1", "ours", turn, seconds) for turn, seconds in enumerate((1.0, 9.0, 2.0))]
    records += [fit("1", "peft + Trainer", turn, 7.2) for turn in range(3)]
    records += [fit("1", "finished", 0, 0.0) | {"part": "finished"}]
    records += [fit("2", "ours", 0, 100.0)]  # cut off
    file = tmp_path / "speed.jsonl"
    file.write_text("\n".join(map(json.dumps, records)), "utf-8")

    tables = script("speed_tables")
    (run,) = tables.load(file)
    fits = tables.fits(run).set_index("contestant")
    assert fits.loc["ours", "seconds"] == "2 (1 to 9)"
    assert fits.loc["peft + Trainer", ["seconds / ours", "aim"]].tolist() == [3.6, 3.5]


@pytest.mark.parametrize(("accuracy", "compared"), [(0.79, True), (0.77, False)])
def test_a_setting_that_does_not_learn_is_not_the_best_of_a_peer(
    accuracy: float, compared: bool, script: Any
) -> None:
    tables = script("speed_tables")
    records = [fit("1", "ours", 0, 1.0), fit("1", "peft + Trainer", 0, 7.0, 0.8)]
    options = {"number_type": "float32", "attention": "sdpa", "grouped": True}
    records += [fit("1", tables.BEST, 0, 2.0, accuracy) | {"options": options}]

    text = tables.text(records)
    assert ("peft + Trainer, at its best" in text) is compared
    assert ("is not compared" in text) is not compared


def test_the_best_setting_of_a_peer_is_the_fastest_that_learns(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("peft", "sentence_transformers", "setfit"):
        pytest.importorskip(name, reason="needs bench")
    speed = script("speed")
    rows = speed.Task("trec", 256, ["a", "b"] * 40, ["x", "y"] * 40, ["a"], ["x"])
    fast = {"number_type": "float32", "attention": "sdpa", "grouped": True}
    fastest = fast | {"attention": "eager"}  # learns nothing

    def scored(fit: Any, rows: Any, score: bool = True) -> dict[str, float]:
        seconds = {str(fastest): 1.0, str(fast): 2.0}.get(str(fit.keywords), 3.0)
        return {"seconds": seconds, "accuracy": 0.1 if fit.keywords == fastest else 0.79}

    monkeypatch.setattr(speed, "scored", scored)
    monkeypatch.setattr(speed, "task", lambda workload, n_rows: rows)
    records = speed.Records(tmp_path / "speed.jsonl")
    default = {"part": "fit", "workload": "trec", "rows": 80, "who": speed.PEFT, "turn": 0}
    records.once(default, lambda: {"accuracy": 0.8})
    assert speed.best_options(records, rows) == fast


def test_an_interrupted_run_goes_on_and_a_finished_one_does_not(
    script: Any, tmp_path: Path
) -> None:
    open_run, file = script("harness").open_run, tmp_path / "speed.jsonl"
    made: list[int] = []

    def measure() -> dict[str, int]:
        made.append(len(made))
        return {"value": made[-1]}

    first = open_run(file, {"mode": "short"}, {})
    assert first.once({"part": "fit", "who": "a"}, measure)["value"] == 0
    second = open_run(file, {"mode": "short"}, {})  # as after an interrupt
    assert second.about == first.about
    assert second.once({"part": "fit", "who": "a"}, measure)["value"] == 0
    assert second.once({"part": "fit", "who": "b"}, measure)["value"] == 1
    assert not list(open_run(file, {"mode": "full"}, {}))
    second.once({"part": "finished"}, dict)
    assert not list(open_run(file, {"mode": "short"}, {}))
    assert len(file.read_text("utf-8").splitlines()) == 3


def test_measures_of_trust(script: Any) -> None:
    trust = script("trust")
    confidence = np.array([0.95, 0.95, 0.5, 0.5])
    right = np.array([True, True, True, False])
    assert trust.calibration_error(confidence, right) == pytest.approx(0.025)
    assert trust.calibration_error(np.ones(4), right) == pytest.approx(0.25)
    assert trust.accuracies(confidence, right)[-1] == pytest.approx(0.75)
    assert trust.accuracies(confidence, right)[0] == 1.0  # 30 %: one row, the surest

    scores = np.arange(1, 10) / 10  # nine scores: the ninth of ten places for 90 %
    assert trust.threshold_of_sets(scores, 0.9) == 0.9
    assert trust.threshold_of_sets(scores, 0.95) == np.inf
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(4), size=4000)
    truth = (proba.cumsum(axis=1) < random.random((4000, 1))).sum(axis=1)
    found = trust.prediction_sets(proba, truth, 0.9)
    assert np.mean(found["covered"]) == pytest.approx(0.9, abs=0.02)
    assert 1 < found["size"] < 4


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    text = (BENCHMARKS.parent / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (BENCHMARKS.parent / link).exists()] == []
