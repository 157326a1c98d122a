"""Predictions in int8: close to float32, the same in a bank, one backbone for all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
import vision
from conftest import moved
from families import known_families
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

import sklearn_lntune
from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.backbone import checking, placement
from sklearn_lntune.backbone.int8 import Int8Linear, has_exact_int8
from sklearn_lntune.backbone.placement import Placement, place_fit, place_prediction
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.where import Where
from sklearn_lntune.inspection import explain
from sklearn_lntune.prediction.predictor import predictor_for

Clf = LNTunedTransformerClassifier
Make = Callable[..., Path]
CPU = torch.device("cpu")
F32, INT8 = torch.float32, torch.int8
#: Sums of floats differ in their last bits, and now and then a value is then rounded the other way.
ROUNDING = 5e-3
MANY_METHODS = "layernorm+lora+prefix+scale+adapter"

pytestmark = pytest.mark.skipif(not has_exact_int8(), reason="needs exact products of integers")


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The least cosine between rows."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / norms).min())


def network_of(clf: Clf, precision: str = "int8") -> Any:
    """The network with which ``clf`` predicts."""
    placed = place_prediction(Where("cpu", precision), F32)
    return predictor_for(clf, clf._state(), get_backbone(clf.backbone), placed).network


def in_precision(clf: Clf, precision: str) -> Clf:
    return copy.copy(clf).set_params(precision=precision)


@pytest.fixture(scope="module")
def make_clf(lively_backbone: Make, texts: list[str], labels: list[str]) -> Callable[..., Clf]:
    """Fits with a delta far from where it began."""

    def make(**params: Any) -> Clf:
        quick: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "batch_size": 40}
        quick |= {"random_state": 0, "precision": "int8", "device": "cpu"}
        quick |= {"backbone": lively_backbone()}
        return moved(Clf(**quick | params).fit(texts, labels))

    return make


@pytest.fixture(scope="module")
def clf(make_clf: Callable[..., Clf]) -> Clf:
    return make_clf()


# -- the layer -------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_close_to_that_in_float32(bias: bool) -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        layer, x = nn.Linear(48, 32, bias), torch.randn(3, 5, 48)
        expected, rounded = layer(x), Int8Linear(layer)
        found = rounded(x)
    assert rounded.weight.dtype == INT8
    assert rounded.bias is layer.bias
    assert found.shape == expected.shape
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()


def test_a_row_does_not_depend_on_the_others() -> None:
    with torch.no_grad():
        layer = Int8Linear(nn.Linear(16, 8))
        x = torch.linspace(-1, 2, 96).view(6, 16) * torch.logspace(-3, 3, 6)[:, None]
        assert torch.equal(layer(x)[2:4], layer(x[2:4]))


@pytest.mark.parametrize("value", [0.0, 1e-42, 5.0, 1e30, torch.nan, torch.inf])
def test_what_is_not_finite_stays_so_and_all_else_is_finite(value: float) -> None:
    x = torch.tensor([[value, 1.0, -1.0, 0.0], [value] * 4])
    with torch.no_grad():
        found = Int8Linear(nn.Linear(4, 2))(x)
    assert found.isfinite().all() == np.isfinite(value)
    assert found.isfinite().any() == np.isfinite(value)


# -- backbones -------------------------------------------------------------------------


@pytest.mark.parametrize("family", known_families())
def test_families(family: str, lively_backbone: Make) -> None:
    exact, rounded = (
        networks.build(lively_backbone(family), MANY_METHODS, dtype=dtype).body
        for dtype in (F32, INT8)
    )
    paths = {path for path, each in rounded.named_modules() if isinstance(each, Int8Linear)}
    linears = get_backbone(lively_backbone(family)).anatomy.linears
    assert paths == {linear.path for linear in linears if linear.block is not None}
    expected, found = networks.states(exact), networks.states(rounded)
    assert 0 < (found - expected).norm() < 0.06 * (expected - expected.mean(0)).norm()


@pytest.mark.parametrize("family", vision.FAMILIES)
def test_families_of_images(family: str, image_backbone: Make) -> None:
    clf = vision.image_clf(image_backbone(family), precision="float32", max_epochs=1)
    clf.fit(vision.pictures(), vision.kinds())
    rounded = in_precision(clf, "int8")
    found, expected = (each.transform(vision.pictures()) for each in (rounded, clf))
    assert 0.99 < cosine(found, expected) < 1
    assert any(isinstance(each, Int8Linear) for each in network_of(rounded).modules())


def test_the_default_backbone(default_backbone: str, texts: list[str]) -> None:
    clf = Clf(default_backbone, max_epochs=1, min_steps=0, tuning="head", precision="int8")
    clf.fit(texts, [len(text) % 2 for text in texts])
    exact = in_precision(clf, "float32")
    assert 0.99 < cosine(clf.transform(texts), exact.transform(texts)) < 1


def test_a_model_that_computes_something_else_is_refused(
    clf: Clf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = get_backbone(clf.backbone)
    monkeypatch.setattr(checking, "_MAX_ROUNDING", 0.0)
    with pytest.raises(ValueError, match=r"BertModel cannot .*int8.*by \d+%.*precision='auto'"):
        backbone._int8_model(CPU)

    def failing(layer: Int8Linear, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("expected float")

    monkeypatch.setattr(Int8Linear, "forward", failing)
    with pytest.raises(ValueError, match=r"BertModel cannot .*int8.*rounded products"):
        backbone._int8_model(CPU)


def test_one_copy_for_all_that_is_smaller(make_clf: Callable[..., Clf], clf: Clf) -> None:
    networks_of_two = [network_of(each) for each in (clf, make_clf(tuning="lora"))]
    one, other = (
        {weight.data_ptr() for weight in network.body.parameters() if weight.dtype == INT8}
        for network in networks_of_two
    )
    assert len(one) == 12
    assert one == other
    shells = [network_of(clf, precision).body for precision in ("int8", "float32")]
    linears = get_backbone(clf.backbone).anatomy.linears
    rounded, exact = (
        sum(shell.get_submodule(linear.path).weight.nbytes for linear in linears)
        for shell in shells
    )
    assert 4 * rounded == exact


# -- classifiers -----------------------------------------------------------------------


def test_predictions_are_close_to_those_in_float32(clf: Clf, texts: list[str]) -> None:
    exact = in_precision(clf, "float32")
    found, expected = (each.decision_function(texts) for each in (clf, exact))
    assert 0 < np.abs(found - expected).max() < 0.1 * np.ptp(expected)
    assert 0.99 < cosine(clf.transform(texts), exact.transform(texts)) < 1


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_bank_answers_as_its_members(
    family: str, lively_backbone: Make, make_clf: Callable[..., Clf], texts: list[str]
) -> None:
    tuning = MANY_METHODS + ("+bias" if family == "bert" else "")
    params = {"backbone": lively_backbone(family), "tuning": tuning}
    members = {str(seed): make_clf(**params, random_state=seed) for seed in range(3)}
    found = DeltaBank(members).predict_proba(texts)
    for name, member in members.items():
        np.testing.assert_allclose(found[name], member.predict_proba(texts), atol=ROUNDING)


def test_a_fit_trains_as_with_auto(
    clf: Clf, make_clf: Callable[..., Clf], texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    like = make_clf(precision="auto")
    assert clf.delta_.keys() == like.delta_.keys()
    assert all(np.array_equal(clf.delta_[name], like.delta_[name]) for name in like.delta_)


def test_the_parameter_goes_where_the_classifier_goes(
    clf: Clf, texts: list[str], tmp_path: Path
) -> None:
    expected = clf.predict_proba(texts)
    file = tmp_path / "clf.zip"
    clf.save(file)
    back = sklearn_lntune.load(file)
    assert back.precision == clone(clf).precision == "int8"
    np.testing.assert_array_equal(back.predict_proba(texts), expected)
    steps = make_pipeline(FunctionTransformer(), clf).set_params(
        lntunedtransformerclassifier__precision="float32"
    )
    assert np.abs(steps.predict_proba(texts) - expected).max() > 0
    clf.set_params(precision="int8")
    np.testing.assert_array_equal(steps.predict_proba(texts), expected)


def test_an_explanation_is_in_float32(clf: Clf, texts: list[str]) -> None:
    found, expected = (
        explain(each, texts[3:4], n_steps=8, tolerance=1.0)[0]
        for each in (clf, in_precision(clf, "float32"))
    )
    np.testing.assert_array_equal(found.attributions, expected.attributions)
    assert found.output == expected.output


# -- what cannot be --------------------------------------------------------------------


def test_full_tuning_is_refused_before_weights_are_loaded(
    make_clf: Callable[..., Clf], texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = r"precision='int8' .*FullTuning\(\).*another precision, or another tuning"
    full = make_clf(tuning="full", precision="float32").set_params(precision="int8")
    for method in (full.predict, full.transform):
        with pytest.raises(ValueError, match=refused):
            method(texts)
    with pytest.raises(ValueError, match=refused):
        DeltaBank({"full": full})
    for name in ("private", "model"):
        monkeypatch.setattr(Backbone, name, None)
    with pytest.raises(ValueError, match=refused):
        make_clf(tuning="full")


@pytest.mark.parametrize("requested", ["auto", "cuda"])
def test_other_devices_are_refused_in_fit_and_warned_of_in_prediction(
    requested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_device", lambda device, own: torch.device("cuda", 0))
    monkeypatch.setattr(placement, "_has_native_bfloat16", lambda device: True)
    where = Where(requested, "int8")
    with pytest.raises(ValueError, match=rf"'int8' .*not on 'cuda'.*device='{requested}'"):
        place_fit(where, F32)
    with pytest.warns(UserWarning, match="Predicting with 'auto'"):
        placed = place_prediction(where, F32)
    assert placed == Placement(torch.device("cuda", 0), torch.bfloat16, F32)


def test_a_cpu_without_exact_products_is_refused_in_fit_and_warned_of_in_prediction(
    clf: Clf, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "has_exact_int8", lambda: False)
    with pytest.raises(ValueError, match=r"precision='int8' needs a CPU .*precision='auto'"):
        clone(clf).fit(texts, ["a", "b"] * (len(texts) // 2))
    with pytest.warns(UserWarning, match="Predicting with 'auto'"):
        found = clf.predict_proba(texts)
    np.testing.assert_array_equal(found, in_precision(clf, "float32").predict_proba(texts))


@pytest.mark.parametrize("broken", [lambda a, b: (a.float() @ b.float()).clamp(-32768), None])
def test_sums_that_overflow_are_found_out(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "_int_mm", broken) if broken else monkeypatch.delattr(
        torch, "_int_mm"
    )
    assert not has_exact_int8.__wrapped__()
