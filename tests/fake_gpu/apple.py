"""An Apple GPU that is not there: it has no float64, no pinned memory, and copies when it likes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fake_gpu.conftest import ALL, TARGETS, Watch, assert_same
from fake_gpu.device import MPS
from sklearn.model_selection import GridSearchCV

from sklearn_lntune import fused_fits
from sklearn_lntune.backbone import placement
from sklearn_lntune.backbone.where import Where

Make = Callable[..., Any]


@pytest.fixture
def gpu() -> torch.device:
    return MPS


@pytest.mark.parametrize("target", TARGETS if ALL else ["numbers"])
def test_fitted(target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    params = {"dropout": 0.1, "early_stopping": True, "validation_fraction": 0.25}
    fitted = [
        TARGETS[target].fit(make(device, target, precision="float32", **params), texts)
        for device in ("mps", "cpu")
    ]
    assert_same(*fitted, texts, target, "float32")


@pytest.mark.parametrize("tuning", ["layernorm+lora+adapter", "full"] if ALL else ["full"])
def test_in_bfloat16(tuning: str, watch: Watch, make: Make, texts: list[str]) -> None:
    fitted = [
        TARGETS["labels"].fit(make(device, tuning=tuning, precision="bfloat16"), texts)
        for device in ("mps", "cpu")
    ]
    assert_same(*fitted, texts, precision="bfloat16")


@pytest.mark.parametrize("target", TARGETS if ALL else ["tags"])
def test_fused(target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    grid, found = {"lr": [1e-3, 1e-2], "batch_size": [8, 5]}, []
    for device in ("mps", "cpu"):
        search = GridSearchCV(make(device, target, precision="float32"), grid, cv=2, n_jobs=-1)
        with fused_fits():
            found.append(TARGETS[target].fit(search, texts).best_estimator_)
    assert_same(*found, texts, target, "float32")


def test_auto(watch: Watch, make: Make, texts: list[str]) -> None:
    """Without a GPU of CUDA, "auto" is that of Apple, in float32; its fit predicts on a CPU."""
    clf = TARGETS["labels"].fit(make("auto", precision="auto"), texts)
    place = placement.place_fit(Where.from_params(vars(clf)), torch.bfloat16)
    assert (place.device.type, place.train_type, place.predict_type) == (
        "mps",
        torch.float32,
        torch.float32,
    )
    on_cpu = pickle.loads(pickle.dumps(clf)).set_params(device="cpu")
    assert_same(clf, on_cpu, texts, precision="float32")


def test_float64_is_an_error(watch: Watch, make: Make, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="precision='float64' is not possible on device 'mps'"):
        TARGETS["labels"].fit(make("mps"), texts)
