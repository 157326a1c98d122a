"""Predictions on a GPU that is not there: the answers of the CPU, at one wait a batch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import moved
from fake_gpu.conftest import ALL, CLOSE, FAMILIES, TARGETS, Watch

from sklearn_lntune import DeltaBank, clear_backbones, fused_fits, load
from sklearn_lntune.backbone.placement import PREDICT_TOKENS

Make = Callable[..., Any]
EACH_TARGET = pytest.mark.parametrize("target", TARGETS)
#: The one line at which a prediction waits.
ANSWERS = "a copy to the host at network/computing.py"


@pytest.fixture(autouse=True)
def _several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PREDICT_TOKENS, "cuda", 32)


def fitted(make: Make, texts: list[str], target: str = "labels", **params: Any) -> Any:
    """An estimator fitted on the CPU, far from where training starts."""
    return moved(make("cpu", target=target, **params).fit(texts, TARGETS[target][1](texts)))


def on_gpu(estimator: Any) -> Any:
    return pickle.loads(pickle.dumps(estimator)).set_params(device="cuda")


@EACH_TARGET
@pytest.mark.parametrize("precision", CLOSE if ALL else ["bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_predicted_and_embedded(
    family: str, precision: str, target: str, watch: Watch, make: Make, texts: list[str]
) -> None:
    on_cpu = fitted(make, texts, target, family=family, precision=precision)
    other = on_gpu(on_cpu)
    other.predict(texts)  # loads the backbone, and builds the network
    for method in ("decision_function", "embed"):
        n_before = len(watch.gpu.waits)
        found = getattr(other, method)(texts)
        waits = [wait for wait in watch.gpu.waits[n_before:] if "deberta_v2" not in wait]
        assert len(waits) > 1
        assert all(wait.startswith(ANSWERS) for wait in waits), waits
        expected = getattr(on_cpu, method)(texts)
        np.testing.assert_allclose(found, expected, err_msg=method, **CLOSE[precision])


@pytest.mark.parametrize("pooling", ["cls", "max", "last", "native"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_poolings(pooling: str, family: str, watch: Watch, make: Make, texts: list[str]) -> None:
    on_cpu = fitted(make, texts, family=family, pooling=pooling)
    for method in ("decision_function", "embed"):
        found, expected = (getattr(each, method)(texts) for each in (on_gpu(on_cpu), on_cpu))
        np.testing.assert_allclose(found, expected, err_msg=method, **CLOSE["float64"])


@pytest.mark.parametrize("precision", CLOSE)
def test_a_bank(precision: str, watch: Watch, make: Make, texts: list[str]) -> None:
    params = {"precision": precision, "tuning": "layernorm+prefix+lora+adapter+bias+scale"}
    two = [fitted(make, texts, **params, random_state=seed) for seed in (0, 1)]
    alone = fitted(make, texts, **params, pooling="native")
    members = {"one": two[0], "two": two[1], "native": alone}
    bank = DeltaBank({name: on_gpu(each) for name, each in members.items()})
    bank.remove("one")
    bank.add("again", on_gpu(two[0]))
    found = bank.predict_proba(texts)
    for name, member in (("again", two[0]), ("two", two[1]), ("native", alone)):
        expected = member.predict_proba(texts)
        np.testing.assert_allclose(found[name], expected, err_msg=name, **CLOSE[precision])


def test_fused_predictions(watch: Watch, make: Make, texts: list[str]) -> None:
    from joblib import Parallel, delayed

    members = [fitted(make, texts, random_state=seed) for seed in (0, 1)]
    with fused_fits():
        found = Parallel(n_jobs=-1)(
            delayed(each.predict_proba)(texts) for each in map(on_gpu, members)
        )
    expected = [each.predict_proba(texts) for each in members]
    np.testing.assert_allclose(found, expected, **CLOSE["float64"])


def test_fitted_on_the_gpu_and_loaded_on_the_cpu(
    watch: Watch, make: Make, texts: list[str], tmp_path: Path
) -> None:
    clf = make("cuda").fit(texts, TARGETS["labels"][1](texts))
    clf.save(tmp_path / "saved")
    expected = clf.predict_proba(texts)
    clear_backbones()
    other = load(tmp_path / "saved").set_params(device="cpu")
    np.testing.assert_allclose(other.predict_proba(texts), expected, **CLOSE["float64"])
