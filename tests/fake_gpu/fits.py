"""Fits on a GPU that is not there: they learn what they learn on the CPU, at one wait a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.conftest import ALL, CLOSE, FAMILIES, TARGETS, Watch, assert_same
from networks import built_in_methods
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_lntune import fused_fits
from sklearn_lntune.tuning import LayerNormTuning
from sklearn_lntune.tuning.registry import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore:tuning adds adapters:UserWarning")

Make = Callable[..., Any]
EACH_TARGET = pytest.mark.parametrize("target", TARGETS)
#: Every method alone, the sums of the paper, and one of everything that stacks.
TUNINGS = [*built_in_methods(), "head", *PRESETS, "layernorm+scale+adapter+prefix+lora+bias"]


def targets(target: str, texts: list[str]) -> Any:
    return TARGETS[target][1](texts)


@pytest.mark.parametrize("precision", CLOSE if ALL else ["bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, precision: str, watch: Watch, make: Make, texts: list[str]) -> None:
    params = {"family": family, "precision": precision, "dropout": 0.1}
    on_gpu = make("cuda", **params).fit(texts, targets("labels", texts))
    watch.check()
    assert_same(
        on_gpu, make("cpu", **params).fit(texts, targets("labels", texts)), texts, precision
    )


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
        on_cpu = make("cpu", **params).fit(texts, targets("labels", texts))
    except ValueError as error:
        pytest.skip(str(error))
    on_gpu = make("cuda", **params).fit(texts, targets("labels", texts))
    watch.check()
    assert_same(on_gpu, on_cpu, texts, precision)


@EACH_TARGET
@pytest.mark.parametrize(
    "params",
    [
        {"accumulate": 2, "batch_size": 4, "dropout": 0.1},
        {"early_stopping": True, "validation_fraction": 0.25, "dropout": 0.1},
        {"pooling": "native"},
        {"tuning": LayerNormTuning(layers=1)},
    ],
    ids=["accumulated", "early stopping", "native head", "activation cache"],
)
def test_kinds_of_fits(
    params: dict[str, Any], target: str, watch: Watch, make: Make, texts: list[str]
) -> None:
    y, weights = targets(target, texts), np.linspace(0.5, 2.0, len(texts))
    on_gpu = make("cuda", target=target, **params).fit(texts, y, sample_weight=weights)
    watch.check()
    on_cpu = make("cpu", target=target, **params).fit(texts, y, sample_weight=weights)
    assert_same(on_gpu, on_cpu, texts)


def test_activations_are_copied_batch_by_batch(watch: Watch, make: Make, texts: list[str]) -> None:
    make("cuda", tuning="head").fit(texts, targets("labels", texts))
    places = [wait for wait in watch.gpu.waits if "backbone/activation_cache.py" in wait]
    assert len([wait for wait in places if wait.startswith("a copy to the host")]) == 1


@EACH_TARGET
def test_continued_fits(target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    y = targets(target, texts)
    fitted = [make(device, target=target).fit(texts, y) for device in ("cuda", "cpu")]
    for each in fitted:
        each.set_params(warm_start=True).fit(texts, y)
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
        stopped.fit(texts, targets("labels", texts))
    resumed = make("cuda", **params, checkpoint=folder).fit(texts, targets("labels", texts))
    watch.check()
    assert_same(resumed, make("cpu", **params).fit(texts, targets("labels", texts)), texts)


@EACH_TARGET
@pytest.mark.parametrize(
    "grid",
    [
        {"lr": [1e-3, 1e-2], "batch_size": [8, 5], "dropout": [0.1]},
        {"lr": [1e-3, 1e-2], "early_stopping": [True], "validation_fraction": [0.25]},
        {"tuning": ["head"], "lr": [1e-3, 1e-2]},
    ],
    ids=["of different sizes", "early stopping", "activation cache"],
)
def test_fused_fits(
    grid: dict[str, Any], target: str, watch: Watch, make: Make, texts: list[str]
) -> None:
    y, found = targets(target, texts), {}
    for device in ("cuda", "cpu"):
        search = GridSearchCV(make(device, target=target), grid, cv=2, n_jobs=-1)
        with fused_fits():
            found[device] = search.fit(texts, y)
    watch.check()
    assert_same(found["cuda"].best_estimator_, found["cpu"].best_estimator_, texts)
    scores = [each.cv_results_["mean_test_score"] for each in found.values()]
    np.testing.assert_allclose(*scores, rtol=1e-7)
