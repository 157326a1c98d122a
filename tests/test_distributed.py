"""Fits over two processes, against the same fits in one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from distributed_program import run
from filelock import FileLock
from launching import ROOT, launch

from sklearn_lntune.tuning import LayerNormTuning

pytest.importorskip("accelerate")

STOPPING = {"early_stopping": True, "validation_fraction": 0.3, "patience": 1}
#: Parameters of the fits that must be the same in two processes as in one.
EQUAL: dict[str, dict[str, Any]] = {
    "plain": {"dropout": 0.3, "tuning": "layernorm+adapter"},
    "accumulate": {"dropout": 0.3, "accumulate": 3},
    "one row a batch": {"batch_size": 1, "dropout": 0.3, "max_epochs": 1},
    "early stopping": {
        **STOPPING,
        "max_epochs": 12,
        "lr": 5e-2,
        "scoring": "accuracy",
    },
    "sample weights": {"class_weight": "balanced"},
    "native head": {"pooling": "native", "dropout": 0.3, "tuning": "prefix"},
    "native head of a decoder": {"family": "gpt2", "pooling": "native", "dropout": 0.3},
    "lower blocks kept": {"tuning": LayerNormTuning(layers=1), "dropout": 0.3, "max_epochs": 4},
    "windows": {
        "long_texts": "windows",
        "max_length": 5,
        "stride": 1,
        "window_pooling": "attention",
        "dropout": 0.3,
    },
    "all weights": {"tuning": "full", "lr": 1e-3},
    "from where one left off": {"warm_start": True},
    "in parts": {"dropout": 0.3},
    "several labels": {**STOPPING, "max_epochs": 3, "scoring": "f1_micro"},
    "numbers": {**STOPPING, "max_epochs": 3, "scoring": "r2"},
    "tags": {**STOPPING, "max_epochs": 3, "max_length": 5, "dropout": 0.3},
    "interrupted, then resumed": {"dropout": 0.3, "checkpoint_every": 3},
}


@pytest.fixture(scope="module")
def cases(
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """All fits by name; 37 rows in batches of 8 leave an odd rest."""
    quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
    exact = {"precision": "float64", "device": "cpu"}
    args = {"X": texts[:37], "y": labels[:37]}
    made: dict[str, dict[str, Any]] = {}

    def add(name: str, params: dict[str, Any], **rest: Any) -> None:
        params = {"backbone": tiny_backbone("bert"), **quick, **exact, **params}
        made[name] = {"params": params, "args": args, **rest}

    # First, so that all others show that the processes fit together as before.
    add("a callback fails", {}, spoil={"deed": "fail", "rank": 1, "at": 4})
    add("the main process fails", STOPPING, spoil={"deed": "fail", "rank": 0, "at": 4})
    add("stopped in an epoch", {}, spoil={"deed": "stop in an epoch", "rank": 1, "at": 4})
    add("labels missing", {}, other_args={1: args | {"y": None}})
    add("no such backbone", {}, other_params={1: {"backbone": "/no/such"}})
    for name, own in EQUAL.items():
        params = dict(own)
        family = params.pop("family", "bert")
        add(name, {"backbone": tiny_backbone(family), **params})
    weights = np.random.default_rng(0).uniform(0.1, 5, 37)
    made["sample weights"]["args"] = args | {"sample_weight": weights}
    numbers = np.arange(37.0)
    made["several labels"]["args"] = args | {"y": np.stack([numbers % 2, numbers % 3 > 0], 1)}
    made["numbers"] |= {"args": args | {"y": np.stack([numbers, -numbers], 1)}, "numbers": True}
    tags = [[["O", "B-a"]["o" in word] for word in text.split()] for text in texts[:37]]
    made["tags"] |= {"args": {"X": texts[:37], "y": tags}, "tags": True}
    made["from where one left off"]["calls"] = ["fit", "fit"]
    made["in parts"]["calls"] = ["partial_fit", "partial_fit"]
    made["in parts"]["args"] = args | {"classes": ["blue", "green", "red"]}
    resumed = made["interrupted, then resumed"]
    resumed |= {"calls": ["fit", "fit"], "goes_on": True}
    resumed["spoil"] = {"deed": "Ctrl-C", "rank": 1, "at": 8}
    resumed["params"]["checkpoint"] = str(tmp_path_factory.mktemp("resumed") / "checkpoint")
    add("no seed", {"random_state": None, "dropout": 0.3})
    add("float32", {"precision": "float32"})
    add("NaN in one process", {}, spoil={"deed": "NaN", "rank": 1, "at": 4})
    add("Ctrl-C in one process", {}, spoil={"deed": "Ctrl-C", "rank": 1, "at": 4})
    add("the main process stops", {}, spoil={"deed": "stop", "rank": 0, "at": 1})
    add("another process would stop", {}, spoil={"deed": "stop", "rank": 1, "at": 1})
    add("scores differ", {**STOPPING, "scoring": "of rank"})
    add("other texts", {}, other_args={1: args | {"X": texts[3:40]}})
    add("other labels", {}, other_args={1: args | {"y": labels[1:38]}})
    add("other weights", {}, other_args={1: args | {"sample_weight": weights}})
    add("other rate", {}, other_params={1: {"lr": 1e-4}})
    add("fewer rows", {}, other_args={1: {"X": texts[:36], "y": labels[:36]}})
    return made


@pytest.fixture(scope="module")
def found(
    cases: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two processes found, by case; launched once, however many workers test it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "launched"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "done").exists():
            joblib.dump(cases, folder / "cases")
            program = ROOT / "tests" / "distributed_program.py"
            done = launch(program, folder / "cases", folder, folder=folder)
            assert done.returncode == 0, done.stderr[-4000:]
            (folder / "done").touch()
    return joblib.load(folder / "rank0"), joblib.load(folder / "rank1")


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one(name: str, cases: dict[str, Any], found: Any) -> None:
    alone = run(cases[name])
    main, other = (each[name] for each in found)
    assert main["error"] is other["error"] is alone["error"] is None
    assert main["n_steps"] == alone["n_steps"]
    assert other["delta"].keys() == main["delta"].keys() == alone["delta"].keys()
    for key, value in alone["delta"].items():
        assert np.abs(main["delta"][key] - value).max() < 1e-9, key
        np.testing.assert_array_equal(other["delta"][key], main["delta"][key])
    np.testing.assert_allclose(main["logits"], alone["logits"], atol=1e-9)
    for mine, its in zip(alone["log"], main["log"], strict=True):
        assert its.pop("bytes_a_step") > 0
        assert its.keys() == mine.keys()
        for key in its.keys() - {"dur"}:
            assert its[key] == pytest.approx(mine[key], abs=1e-9), key


def test_the_delta_has_moved(cases: dict[str, Any], found: Any) -> None:
    """What equals is not just what a fit starts from."""
    delta = found[0]["plain"]["delta"]
    start = run({**cases["plain"], "params": cases["plain"]["params"] | {"lr": 1e-9}})["delta"]
    moved = [np.abs(delta[key] - start[key]).max() for key in delta]
    assert min(moved) > 1e-5


def test_processes_share_the_main_ones_seed(found: Any) -> None:
    main, other = (each["no seed"]["delta"] for each in found)
    assert all(np.array_equal(main[key], other[key]) for key in main)


def test_an_estimator_pickles_as_any_other(cases: dict[str, Any], found: Any) -> None:
    """The program has pickled it, and predicted with what came back."""
    alone = run(cases["plain"])
    for each in found:
        assert each["plain"]["pickle"] == pytest.approx(alone["pickle"], rel=0.02)


def test_bytes_a_step_are_those_of_what_is_learnt(found: Any) -> None:
    case = found[0]["float32"]
    learnt = sum(4 * value.size for value in case["delta"].values())
    loss = 4
    *sizes, last = case["sizes"]
    assert sizes == [learnt + loss] * case["n_steps"]
    assert last == loss  # of the check of the last step
    assert {row["bytes_a_step"] for row in case["log"]} == {learnt + loss}


def test_batches_without_a_step_reduce_their_loss_alone(found: Any) -> None:
    case = found[0]["accumulate"]
    assert len(case["sizes"]) == 10 + 1  # and the check of the last step
    loss = 8
    assert min(case["sizes"]) == loss
    assert sum(size > loss for size in case["sizes"]) == case["n_steps"] == 4


def test_weights_that_are_not_finite_in_one_process_stop_all(found: Any) -> None:
    for each in found:
        case = each["NaN in one process"]
        assert case["error"].startswith("TrainingDivergedError: the loss is nan in epoch 1, step 4")
        assert case["n_steps"] == 3
        assert all(np.isfinite(value).all() for value in case["delta"].values())


def test_an_interrupt_of_one_process_stops_all_at_one_batch(found: Any) -> None:
    cases = [each["Ctrl-C in one process"] for each in found]
    for case in cases:
        assert case["error"].startswith("KeyboardInterrupt")
        assert case["n_steps"] == 3
    for key, value in cases[0]["delta"].items():
        np.testing.assert_array_equal(cases[1]["delta"][key], value)


def test_the_main_process_decides_when_to_stop(found: Any) -> None:
    for each in found:
        assert each["the main process stops"]["n_steps"] == 5
        assert each["another process would stop"]["n_steps"] == 10
        log = each["scores differ"]["log"]
        assert len(log) == 2  # out of patience after one epoch, had the other process decided
        scores = [row["valid_score"] for row in log]
        assert scores == found[0]["scores differ"]["scores"]
        assert scores[0] < scores[1]


@pytest.mark.parametrize(
    ("name", "rank", "told"),
    [
        ("a callback fails", 1, "LookupError: spoilt"),
        ("the main process fails", 0, "LookupError: spoilt"),
        ("labels missing", 1, "ValueError: "),
        ("no such backbone", 1, "ValueError: "),
    ],
)
def test_one_process_that_fails_stops_all(name: str, rank: int, told: str, found: Any) -> None:
    failed, other = found[rank][name]["error"], found[1 - rank][name]["error"]
    assert failed.startswith(told)
    assert other.startswith(f"OtherProcessError: process {rank} of distributed=True failed")
    assert other.endswith(failed)


def test_one_process_that_stops_alone_in_an_epoch_stops_all(found: Any) -> None:
    for rank, each in enumerate(found):
        error = each["stopped in an epoch"]["error"]
        assert error.startswith("OtherProcessError: the processes of distributed=True have parted")
        assert f"process {rank} is at" in error


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("other texts", "X"),
        ("other labels", "y"),
        ("other weights", "sample_weight or class_weight"),
        ("other rate", "lr"),
        ("fewer rows", "X, y, sample_weight or class_weight"),
    ],
)
def test_processes_that_differ_are_told_so(name: str, what: str, found: Any) -> None:
    for each in found:
        case = each[name]
        assert case["error"].startswith("ValueError: distributed=True needs the same call in every")
        assert f"processes 0 and 1 differ in {what}. Load" in case["error"]
        assert case["delta"] is None
