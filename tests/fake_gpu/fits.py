"""Fits on a GPU that is not there: they learn what they learn on the CPU, at one wait a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.conftest import ALL, CLOSE, FAMILIES, TARGETS, Watch, assert_same, with_targets
from networks import built_in_methods
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_lntune import fused_fits
from sklearn_lntune.tuning import LayerNormTuning
from sklearn_lntune.tuning.registry import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore:tuning adds adapters:UserWarning")

Make = Callable[..., Any]
#: Every method alone, the sums of the paper, and one of everything that stacks.
TUNINGS = [*built_in_methods(), "head", *PRESETS, "layernorm+scale+adapter+prefix+lora+bias"]
KINDS_OF_FITS: dict[str, dict[str, Any]] = {
    "accumulated": {"accumulate": 2, "batch_size": 4, "dropout": 0.1},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25, "dropout": 0.1},
    "native head": {"pooling": "native"},
    "activation cache": {"tuning": LayerNormTuning(layers=1)},
}
GRIDS: dict[str, dict[str, Any]] = {
    "of different sizes": {"lr": [1e-3, 1e-2], "batch_size": [8, 5], "dropout": [0.1]},
    "early stopping": {
        "lr": [1e-3, 1e-2],
        "early_stopping": [True],
        "validation_fraction": [0.25],
    },
    "activation cache": {"tuning": ["head"], "lr": [1e-3, 1e-2]},
}


def fit(estimator: Any, texts: list[str]) -> Any:
    return TARGETS["labels"].fit(estimator, texts)


@pytest.mark.parametrize("precision", CLOSE if ALL else ["bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, precision: str, watch: Watch, make: Make, texts: list[str]) -> None:
    params = {"family": family, "precision": precision, "dropout": 0.1}
    on_gpu = fit(make("cuda", **params), texts)
    watch.check()
    assert_same(on_gpu, fit(make("cpu", **params), texts), texts, precision=precision)


@pytest.mark.parametrize("family", FAMILIES if ALL else ["bert"])
@pytest.mark.parametrize("precision", CLOSE if ALL else ["bfloat16"])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_tunings(
    tuning: str,
    family: str,
    precision: str,
    watch: Watch,
    make: Make,
    texts: list[str],
) -> None:
    params = {"family": family, "tuning": tuning, "precision": precision}
    try:
        on_cpu = fit(make("cpu", **params), texts)
    except ValueError as error:
        pytest.skip(str(error))
    on_gpu = fit(make("cuda", **params), texts)
    watch.check()
    assert_same(on_gpu, on_cpu, texts, precision=precision)


@pytest.mark.parametrize(
    ("kind", "target"),
    with_targets(
        {
            "accumulated": "tags",
            "early stopping": "numbers",
            "native head": "several labels",
            "activation cache": "windows",
        }
    ),
)
def test_kinds_of_fits(kind: str, target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    if kind == "native head" and not TARGETS[target].has_native_head:
        pytest.skip("models have no such head")
    weights, fitted = np.linspace(0.5, 2.0, len(texts)), []
    for device in ("cuda", "cpu"):
        estimator = make(device, target, **KINDS_OF_FITS[kind])
        fitted.append(TARGETS[target].fit(estimator, texts, sample_weight=weights))
    watch.check()
    assert_same(*fitted, texts, target)


def test_activations_are_copied_batch_by_batch(watch: Watch, make: Make, texts: list[str]) -> None:
    fit(make("cuda", tuning="head"), texts)
    places = [wait for wait in watch.gpu.waits if "backbone/activation_cache.py" in wait]
    assert len([wait for wait in places if wait.startswith("a copy to the host")]) == 1


@pytest.mark.parametrize("target", TARGETS if ALL else ["images"])
def test_continued_fits(target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    fitted = [TARGETS[target].fit(make(device, target), texts) for device in ("cuda", "cpu")]
    for each in fitted:
        TARGETS[target].fit(each.set_params(warm_start=True), texts)
    watch.check()
    assert_same(*fitted, texts, target)


def test_a_fit_in_parts(watch: Watch, make: Make, texts: list[str]) -> None:
    """The state of the optimiser goes to the host and back."""
    fitted = [make(device) for device in ("cuda", "cpu")]
    for each in fitted:
        for _ in range(2):
            each.partial_fit(texts, TARGETS["labels"].y(texts), ["blue", "green", "red"])
        each.net().predict_proba(texts)
    watch.check()
    assert_same(*fitted, texts)


class _Stop(Callback):
    """Ends a fit in its second epoch."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) > 1:
            raise InterruptedError


def test_a_resumed_fit(watch: Watch, make: Make, texts: list[str], tmp_path: Path) -> None:
    params = {"dropout": 0.1, "early_stopping": True, "validation_fraction": 0.25}
    folder = tmp_path / "checkpoint"
    stopped = make("cuda", **params, checkpoint=folder, callbacks=[_Stop()])
    with pytest.raises(InterruptedError):
        fit(stopped, texts)
    resumed = fit(make("cuda", **params, checkpoint=folder), texts)
    watch.check()
    assert_same(resumed, fit(make("cpu", **params), texts), texts)


@pytest.mark.parametrize(
    ("grid", "target"),
    with_targets(
        {
            "of different sizes": "tags",
            "early stopping": "several labels",
            "activation cache": "windows",
        }
    ),
)
def test_fused_fits(grid: str, target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    found = {}
    for device in ("cuda", "cpu"):
        search = GridSearchCV(make(device, target), GRIDS[grid], cv=2, n_jobs=-1)
        with fused_fits():
            found[device] = TARGETS[target].fit(search, texts)
    watch.check()
    assert_same(found["cuda"].best_estimator_, found["cpu"].best_estimator_, texts, target)
    scores = [each.cv_results_["mean_test_score"] for each in found.values()]
    np.testing.assert_allclose(*scores, rtol=1e-7)
