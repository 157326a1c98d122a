"""Predictions on a GPU that is not there: the answers of the CPU, at one wait a batch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import moved
from fake_gpu.conftest import ALL, CLOSE, FAMILIES, TARGETS, Watch, ours, with_targets
from vision import FAMILIES as IMAGE_FAMILIES

from sklearn_lntune import DeltaBank, clear_backbones, fused_fits, load
from sklearn_lntune.backbone.placement import PREDICT_TOKENS
from sklearn_lntune.inspection import explain

Make = Callable[..., Any]
#: The one line at which a prediction waits.
ANSWERS = "a copy to the host at network/computing.py"


@pytest.fixture(autouse=True)
def _several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PREDICT_TOKENS, "cuda", 32)


#: By default another target for each family.
CASES = with_targets(
    {
        "bert": "tags",
        "deberta-v2": "labels",
        "gemma2": "numbers",
        "modernbert": "windows",
        "t5": "several labels",
    },
    FAMILIES,
)
CASES = [case for case in CASES if case[1] != "images"]
CASES += [(family, "images") for family in (IMAGE_FAMILIES if ALL else ["vit"])]


def fitted(make: Make, texts: list[str], target: str = "labels", **params: Any) -> Any:
    """An estimator fitted on the CPU, far from where training starts."""
    return moved(TARGETS[target].fit(make("cpu", target, **params), texts))


def on_gpu(estimator: Any) -> Any:
    return pickle.loads(pickle.dumps(estimator)).set_params(device="cuda")


@pytest.mark.parametrize("precision", CLOSE if ALL else ["bfloat16"])
@pytest.mark.parametrize(("family", "target"), CASES)
def test_predicted_and_embedded(
    family: str, precision: str, target: str, watch: Watch, make: Make, texts: list[str]
) -> None:
    kind = TARGETS[target]
    on_cpu = fitted(make, texts, target, family=family, precision=precision)
    other = on_gpu(on_cpu)
    other.predict(kind.X(texts))  # loads the backbone, and builds the network
    n_before = len(watch.gpu.waits)
    found = [kind.outputs(other, texts), other.embed(kind.X(texts))]
    waits = ours(watch.gpu.waits[n_before:])
    assert len(waits) > 2
    assert all(wait.startswith(ANSWERS) for wait in waits), waits
    expected = [kind.outputs(on_cpu, texts), on_cpu.embed(kind.X(texts))]
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, its, **CLOSE[precision])


@pytest.mark.parametrize("pooling", ["cls", "max", "last", "native"] if ALL else ["max", "native"])
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


@pytest.mark.parametrize("target", TARGETS if ALL else ["tags"])
def test_a_bank_of(target: str, watch: Watch, make: Make, texts: list[str]) -> None:
    two = [fitted(make, texts, target, random_state=seed) for seed in (0, 1)]
    bank = DeltaBank({str(i): on_gpu(each) for i, each in enumerate(two)})
    found = bank.predict(TARGETS[target].X(texts))
    for i, member in enumerate(two):
        expected = member.predict(TARGETS[target].X(texts))
        if target == "numbers":
            np.testing.assert_allclose(np.stack(found[str(i)]), expected, **CLOSE["float64"])
        else:
            assert [list(each) for each in found[str(i)]] == [list(each) for each in expected]


def test_fused_predictions(watch: Watch, make: Make, texts: list[str]) -> None:
    from joblib import Parallel, delayed

    members = [fitted(make, texts, random_state=seed) for seed in (0, 1)]
    with fused_fits():
        found = Parallel(n_jobs=-1)(
            delayed(each.predict_proba)(texts) for each in map(on_gpu, members)
        )
    expected = [each.predict_proba(texts) for each in members]
    np.testing.assert_allclose(found, expected, **CLOSE["float64"])


def test_explained(watch: Watch, make: Make, texts: list[str]) -> None:
    on_cpu = fitted(make, texts)
    found, expected = (explain(each, texts[:3]).to_frame() for each in (on_gpu(on_cpu), on_cpu))
    np.testing.assert_allclose(found["attribution"], expected["attribution"], **CLOSE["float64"])


def test_fitted_on_the_gpu_and_loaded_on_the_cpu(
    watch: Watch, make: Make, texts: list[str], tmp_path: Path
) -> None:
    clf = TARGETS["labels"].fit(make("cuda"), texts)
    clf.save(tmp_path / "saved")
    expected = clf.predict_proba(texts)
    clear_backbones()
    other = load(tmp_path / "saved").set_params(device="cpu")
    np.testing.assert_allclose(other.predict_proba(texts), expected, **CLOSE["float64"])
