"""The estimator's own behaviour, on a tiny backbone."""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import save_backbone
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping, EpochScoring

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier, TrainingDivergedError
from sklearn_lntune.tuning import FullTuning, LayerNormTuning

Clf = Callable[..., LNTunedTransformerClassifier]


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


# -- parameters ------------------------------------------------------------------------


def test_arguments_are_stored_untouched() -> None:
    tuning, layers = "layernorm+head", object()
    clf = LNTunedTransformerClassifier("nowhere", tuning=tuning, callbacks=layers, lr="anything")
    assert clf.tuning is tuning
    assert clf.callbacks is layers
    assert clf.lr == "anything"
    assert clone(LNTunedTransformerClassifier(lr=3)).lr == 3


def test_all_but_backbone_are_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        LNTunedTransformerClassifier("bert", "layernorm")  # type: ignore[misc]


def test_nested_parameters_of_a_string_and_of_an_object() -> None:
    clf = LNTunedTransformerClassifier()
    assert clf.get_params()["tuning__layernorm__terms"] == "both"
    assert "tuning__layernorm__terms" not in clf.get_params(deep=False)
    clf.set_params(tuning__layernorm__terms="bias")
    assert isinstance(clf.tuning, LayerNormTuning)
    assert clf.tuning.terms == "bias"
    mine = LayerNormTuning()
    other = LNTunedTransformerClassifier(tuning=mine).set_params(tuning__layernorm__layers=2)
    assert mine.layers == "all"
    assert other.tuning.layers == 2


def test_all_parameters_can_be_set_back() -> None:
    clf = LNTunedTransformerClassifier(tuning=LayerNormTuning(layers=range(2)))
    assert clf.set_params(**clf.get_params(deep=True)).tuning.layers == range(2)
    untouched = LNTunedTransformerClassifier()
    assert untouched.set_params(**untouched.get_params(deep=True)).tuning == "layernorm"


@pytest.mark.parametrize("key", ["tuning__prefix__length", "tuning__layernorm__colour", "colour"])
def test_unknown_parameters_are_an_error(key: str) -> None:
    with pytest.raises(ValueError, match="Invalid parameter"):
        LNTunedTransformerClassifier().set_params(**{key: 1})


# -- bad input, before any training ----------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tuning": "layernrom"}, "'layernrom' is not a tuning method.*'head', 'layern"),
        ({"tuning": 3}, "tuning must be"),
        ({"tuning": "layernorm+layernorm"}, "twice"),
        ({"tuning": "layernorm+full"}, "'full' trains every weight"),
        ({"tuning": LayerNormTuning(layers=3)}, "layers=3 .* between 1 and 2"),
        ({"tuning": LayerNormTuning(layers=[5])}, r"layers=\[5\]"),
        ({"tuning": LayerNormTuning(layers="top")}, "layers must be 'all'"),
        ({"tuning": LayerNormTuning(layers=True)}, "layers must be 'all'"),
        ({"tuning": LayerNormTuning(layers=())}, "layers must be 'all'"),
        ({"tuning": LayerNormTuning(layers=np.array(1.0))}, "layers must be 'all'"),
        ({"tuning": LayerNormTuning(sites="attn")}, "sites must be 'all'"),
        ({"tuning": LayerNormTuning(sites=range(10**15))}, "sites must be 'all'"),
        ({"callbacks": range(1, 10**15)}, "callbacks holds 1, which is not"),
        ({"tuning": LayerNormTuning(sites=("qk",))}, "selects no norm"),
        ({"tuning": LayerNormTuning(terms="weight")}, "terms must be"),
        ({"pooling": "average"}, "pooling must be"),
        ({"max_length": 65}, "max_length=65 is beyond the 64 positions"),
        ({"max_length": 3}, "leaves no room"),
        ({"max_length": 10.5}, "max_length must be"),
        ({"max_length": np.array([10, 12])}, "max_length must be"),
        ({"lr": -1.0}, "lr must be a number in .*got -1.0"),
        ({"lr": "fast"}, "lr must be 'auto'"),
        ({"head_lr": 0}, "head_lr must be"),
        ({"batch_size": 0}, "batch_size must be an int"),
        ({"max_epochs": 0}, "max_epochs must be"),
        ({"min_steps": -1}, "min_steps must be"),
        ({"accumulate": 0.5}, "accumulate must be"),
        ({"warmup": 1.5}, "warmup must be"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"weight_decay": -0.1}, "weight_decay must be"),
        ({"max_grad_norm": 0}, "max_grad_norm must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"label_smoothing": float("nan")}, "label_smoothing must be"),
        ({"class_weight": "even"}, "class_weight must be"),
        ({"class_weight": {"purple": 2.0}}, "class_weight names labels .*purple"),
        ({"class_weight": np.ones(3)}, r"class_weight must be .*dict\(zip\(classes, weights\)\)"),
        ({"class_weight": {"red": -0.5}}, "class_weight must hold .* 'red' is -0.5"),
        ({"class_weight": dict.fromkeys(("blue", "green", "red"), 0)}, "weight zero, by .*class_w"),
        ({"early_stopping": "yes"}, "early_stopping must be"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction must be"),
        ({"early_stopping": True, "validation_fraction": 0.99}, "0.99 of .* none to train on"),
        ({"patience": 0}, "patience must be"),
        ({"scoring": "acuracy"}, "scoring must be"),
        ({"device": "tpu9"}, "device must be"),
        ({"device": 10**400}, "device must be"),
        ({"precision": "half"}, "precision must be"),
        ({"precision": np.array([1, 2])}, "precision must be"),
        ({"checkpoint": "x" * 5000}, "checkpoint=.* is too long"),
        ({"tuning": LayerNormTuning(sites=torch.tensor(1.0))}, "sites must be"),
        ({"backbone": "no/such-backbone"}, "either|pip install"),
    ],
)
def test_bad_parameters(
    params: dict[str, Any], message: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().set_params(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(texts, labels)
    assert not hasattr(clf, "delta_")


@pytest.mark.parametrize(
    ("X", "y", "weight", "message"),
    [
        (["a"] * 4, ["x", "y"], None, "X and y have inconsistent numbers of samples: 4 and 2"),
        (["a"] * 4, [], None, "y contains no labels"),
        (["a"] * 4, ["x", "y", None, "x"], None, "y contains NaN or another missing .* row 2"),
        (["a"] * 4, ["x", "y", float("nan"), "x"], None, "y contains NaN or another .* row 2"),
        (["a"] * 4, {0: "x", 1: "y"}.values(), None, "y must be .*dict_values"),
        ({0: "a", 1: "b"}.values(), ["x", "y"], None, "X must be .*dict_values"),
        (["a", "b \ud83d"] * 2, ["x", "y"] * 2, None, "row 1 of X holds half of a UTF-16 pair"),
        (["a"] * 4, [0.5, 1.5, 2.5, 3.5], None, "continuous"),
        (["a"] * 4, [[0, 1], [1, 0], [1, 2], [0, 0]], None, "several labels per row"),
        (["a"] * 4, None, None, "requires y"),
        (["a"] * 4, ["x"] * 4, None, "1 class only"),
        (["a", None, "b", "c"], ["x", "y"] * 2, None, "missing text in row 1"),
        (["a", float("nan"), "b", "c"], ["x", "y"] * 2, None, "missing text in row 1"),
        (["a", 3, "b", "c"], ["x", "y"] * 2, None, "row 1 of X is int"),
        ([], [], None, "contains no texts"),
        (["a"] * 4, ["x", "y"] * 2, [1, 1, -1, 1], "[Nn]egative"),
        (["a"] * 4, ["x", "y"] * 2, [1, 1, np.nan, 1], "NaN"),
        (["a"] * 4, ["x", "y"] * 2, [np.inf, 1, -np.inf, 1], "infinity"),
        (["a"] * 4, ["x", "y"] * 2, [1, 1], "inconsistent|sample_weight.shape"),
        (["a"] * 4, ["x", "y"] * 2, [0, 0, 0, 0], "weight"),
    ],
)
def test_bad_data(X: Any, y: Any, weight: Any, message: str, tiny_clf: Clf) -> None:
    clf = tiny_clf()
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(X, y, sample_weight=weight)
    assert not hasattr(clf, "delta_")


@pytest.mark.parametrize(
    ("y_val", "weight", "message"),
    [
        ([None, "red"], None, "y_val contains NaN or another missing label: row 0 is None"),
        (["red", "pink"], None, r"y_val holds labels that are not among the classes: \['pink'\]"),
        ([1, 2], None, r"y_val holds labels that are not among the classes: \[1, 2\]"),
        (["red"], None, "X_val and y_val have inconsistent numbers of samples: 2 and 1"),
        (iter(["red", "blue"]), None, "y_val must be .*list_iterator"),
        (["red", "blue"], [1, -1], "sample_weight_val must hold .* 2 rows: Negative"),
        (["red", "blue"], [1], "sample_weight_val must hold"),
    ],
)
def test_bad_validation_data(
    y_val: Any, weight: Any, message: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        tiny_clf().fit(texts, labels, X_val=texts[:2], y_val=y_val, sample_weight_val=weight)


def test_bad_classes(tiny_clf: Clf) -> None:
    for classes, message in (
        (["x", None], "classes contains NaN or another missing label: row 1 is None"),
        (["x"], "classes holds 1 class only"),
        ([0.5, 1.5], "classes holds numbers that are not whole"),
        (iter("xy"), "classes must be .*str_"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            tiny_clf().partial_fit(["a", "b"], ["x", "y"], classes)
    with pytest.raises(ValueError, match="y contains NaN or another missing label: row 1"):
        tiny_clf().partial_fit(["a", "b"], ["x", None], ["x", "y"])


def test_score_checks_labels_before_it_predicts(tiny_clf: Clf, monkeypatch: Any) -> None:
    clf = tiny_clf().fit(["good", "bad"], [1, 2])
    answers = clf.predict(["good", "bad", "cat"])
    for y in (pd.Series(answers, dtype="Int64"), pd.Series(answers, dtype="category"), answers):
        assert clf.score(["good", "bad", "cat"], y) == 1.0
    assert clf.score(["good", "bad", "cat"], [*answers[:2], 7]) == pytest.approx(2 / 3)
    assert clf.score(["good", "bad"], [answers[0], 7], sample_weight=[3, 1]) == 0.75
    monkeypatch.delattr(type(clf), "predict")
    for y, message in (
        ([1, None], "y contains NaN or another missing label: row 1"),
        (pd.Series([1, None], dtype="Int64"), "y contains NaN"),
        ([1.5, 2.0], "not whole"),
        (np.array([1, 2], object), "objects of type int"),
        (None, "requires y to be passed"),
        (iter([1, 2]), "y must be"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            clf.score(["good", "bad"], y)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_enormous_weights_train_as_ordinary_ones(
    precision: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    weights, class_weight = np.linspace(1, 2, 40), {"red": 2.0, "blue": 1.0, "green": 0.5}
    params = {"precision": precision, "early_stopping": True}
    plain = tiny_clf(class_weight=class_weight, **params).fit(texts, labels, weights)
    class_weight = {label: 1e300 * weight for label, weight in class_weight.items()}
    large = tiny_clf(class_weight=class_weight, **params).fit(texts, labels, 1e300 * weights)
    assert np.isfinite(large.history_[["train_loss", "valid_loss"]].to_numpy()).all()
    np.testing.assert_allclose(
        large.predict_proba(texts), plain.predict_proba(texts), rtol=0, atol=1e-6
    )


def test_a_member_of_a_str_enumeration_is_the_text_of_its_value(tiny_clf: Clf) -> None:
    text = Enum("Words", {"GOOD": "good cat", "BAD": "bad dog"}, type=str)
    clf = tiny_clf().fit(list(text), ["x", "y"])
    assert (clf.predict_proba(list(text)) == clf.predict_proba(["good cat", "bad dog"])).all()


def test_a_fit_that_fails_early_loses_nothing(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(pd.DataFrame({"text": texts}), labels)
    before = clf.predict_proba(texts)
    for X, params in (
        (list(zip(texts, texts, strict=True)), {"lr": -1.0}),
        (pd.DataFrame({"other": texts}), {"max_length": 1000}),
    ):
        with pytest.raises(ValueError, match="lr must be|max_length=1000"):
            clf.set_params(**params).fit(X, labels)
        assert (clf.predict_proba(pd.DataFrame({"text": texts})) == before).all()


def test_a_backbone_without_norms(tmp_path: Path, texts: list[str], labels: list[str]) -> None:
    from sklearn_lntune.backbone.inspect_model import anatomy_of

    with pytest.raises(ValueError, match="no normalisation layer"):
        anatomy_of(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    lonely = torch.nn.Sequential(torch.nn.LayerNorm(4))
    with pytest.raises(ValueError, match=r"layout of Sequential is unknown.*\(0"):
        anatomy_of(lonely)


def test_empty_and_very_long_texts_are_legal(tiny_clf: Clf) -> None:
    X = ["", "good " * 500, "bad", " "] * 3
    with pytest.warns(UserWarning, match="3 of 12 texts are longer than max_length=64"):
        clf = tiny_clf().fit(X, ["x", "y", "x", "y"] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(clf.predict_proba(X)).all()


# -- training --------------------------------------------------------------------------


def test_steps_and_epochs(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(max_epochs=2, min_steps=17).fit(texts, labels)  # 5 batches an epoch
    assert (clf.n_epochs_, clf.n_steps_) == (4, 20)
    assert clf.history_["n_steps"].tolist() == [5, 10, 15, 20]
    clf = tiny_clf(max_epochs=2, accumulate=2).fit(texts, labels)
    assert (clf.n_epochs_, clf.n_steps_) == (2, 6)


def test_accumulated_batches_equal_one_large_batch(tiny_clf: Clf, labels: list[str]) -> None:
    X = ["good bad"] * 20 + ["sun rain"] * 20  # of one length, so that batches hold what they hold
    fixed = {"dropout": 0.0, "max_epochs": 1, "max_grad_norm": None}
    small = tiny_clf(batch_size=10, accumulate=4, **fixed).fit(X, labels)
    large = tiny_clf(batch_size=40, **fixed).fit(X, labels)
    for name, values in small.delta_.items():
        np.testing.assert_allclose(values, large.delta_[name], rtol=0, atol=1e-9)


def test_sample_weights_equal_repetitions(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    counts = np.arange(40) % 3
    full = {"dropout": 0.0, "batch_size": 100}
    weighted = tiny_clf(**full).fit(texts, labels, sample_weight=counts)
    repeated = tiny_clf(**full).fit(np.repeat(texts, counts), np.repeat(labels, counts))
    np.testing.assert_allclose(
        weighted.predict_proba(texts), repeated.predict_proba(texts), rtol=0, atol=1e-9
    )


def test_class_weight_balanced_helps_the_rare_class(tiny_clf: Clf, texts: list[str]) -> None:
    y = ["rare" if i % 10 == 0 else "common" for i in range(40)]
    slow = {"tuning": "head", "max_epochs": 30}
    plain = tiny_clf(**slow).fit(texts, y).predict_proba(texts)[:, 1]
    balanced = tiny_clf(class_weight="balanced", **slow).fit(texts, y).predict_proba(texts)[:, 1]
    assert balanced.mean() > plain.mean() + 0.1


def test_only_the_head_is_trained_by_head(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning="head").fit(texts, labels)
    assert clf.delta_.keys() == {"head/weight", "head/bias"}
    assert clf.delta_["head/weight"].shape == (3, 16)


def test_full_tuning_moves_every_weight_and_spares_the_backbone(
    tiny_clf: Clf, tiny_backbone: Any, texts: list[str], labels: list[str]
) -> None:
    from sklearn_lntune.backbone.pool import get_backbone

    model = get_backbone(tiny_backbone()).model(torch.float64, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    clf = tiny_clf(tuning=FullTuning(), max_epochs=4).fit(texts, labels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    moved = clf.delta_["full/encoder.layer.0.attention.self.query/weight"]
    assert (moved != before["encoder.layer.0.attention.self.query.weight"].numpy()).any()
    assert clf.log_[-1]["train_loss"] < clf.log_[0]["train_loss"]
    assert not any("pooler" in name for name in clf.delta_)  # nothing reads it


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules(schedule: str, tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    rates: list[float] = []

    class Recorder(Callback):
        def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
            rates.append(net.optimizer_.param_groups[0]["lr"])

    tiny_clf(schedule=schedule, warmup=0.3, lr=1.0, callbacks=[Recorder()]).fit(texts, labels)
    assert len(rates) == 10  # each seen before its step, so one behind
    assert rates[1:4] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert (rates[-1] == 1.0) == (schedule == "constant")


def test_weight_decay_spares_gains_and_biases(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    groups: list[Any] = []

    class Recorder(Callback):
        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            groups.extend(net.optimizer_.param_groups)

    tiny_clf(weight_decay=0.5, tuning="full", callbacks=[Recorder()]).fit(texts, labels)
    decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
    spared = [p for group in groups if not group["weight_decay"] for p in group["params"]]
    assert min(p.dim() for p in decayed) == 2
    assert {p.dim() for p in spared} == {1, 2}  # the head's bias is stacked: (1, 3)
    assert max(p.shape[0] for p in spared if p.dim() == 2) == 1


def test_early_stopping_restores_the_best_epoch(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    deltas: list[dict[str, np.ndarray]] = []

    class Recorder(Callback):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            deltas.append(net.module_.delta())

    clf = tiny_clf(
        max_epochs=40,
        lr=0.3,
        early_stopping=True,
        patience=3,
        scoring="neg_log_loss",
        callbacks=[Recorder()],
    ).fit(texts, labels)
    scores = clf.history_["valid_score"]
    best = int(scores.argmax())
    assert clf.n_epochs_ == len(scores) == best + 1 + 3 < 40
    assert same(clf.delta_, deltas[best])


def test_own_validation_set(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(early_stopping=True, scoring="accuracy", patience=50)
    clf.fit(texts, labels, X_val=texts[:15], y_val=labels[:15], sample_weight_val=[1.0] * 15)
    best = clf.history_["valid_score"].max()
    assert best == pytest.approx(clf.score(texts[:15], labels[:15]))
    observed = tiny_clf().fit(texts, labels, X_val=texts[:15], y_val=labels[:15])
    assert {"valid_loss", "valid_score"} <= set(observed.history_)
    assert same(observed.delta_, tiny_clf().fit(texts, labels).delta_)
    with pytest.raises(ValueError, match="X_val and y_val"):
        tiny_clf().fit(texts, labels, X_val=texts)
    with pytest.raises(ValueError, match="y_val holds labels .*purple"):
        tiny_clf().fit(texts, labels, X_val=texts[:1], y_val=["purple"])


def test_validation_split_without_enough_of_a_class(tiny_clf: Clf, texts: list[str]) -> None:
    y = ["once"] + ["a", "b", "c"] * 13
    with pytest.warns(UserWarning, match="not stratified"):
        tiny_clf(early_stopping=True).fit(texts, y)


def test_partial_fit_goes_on(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(lr=3e-3)
    with pytest.raises(ValueError, match="classes must be passed"):
        clf.partial_fit(texts, labels)
    clf.partial_fit(texts[:20], labels[:20], classes=["blue", "green", "red", "unseen"])
    first = {name: values.copy() for name, values in clf.delta_.items()}
    assert clf.predict_proba(texts).shape == (40, 4)
    for _ in range(20):
        clf.partial_fit(texts, labels)
    assert not same(clf.delta_, first)
    assert clf.n_epochs_ == 21
    assert clf.n_steps_ == clf.log_[-1]["n_steps"] == 3 + 20 * 5
    assert clf.history_["epoch"].tolist() == list(range(1, 22))
    assert clf.history_["lr"].nunique() == 1
    losses = clf.history_["train_loss"]
    assert losses.iloc[-1] < losses.iloc[1]
    with pytest.raises(ValueError, match="not among the classes: .*purple"):
        clf.partial_fit(texts[:1], ["purple"])
    with pytest.raises(ValueError, match="differ from those of the first call"):
        clf.partial_fit(texts, labels, classes=["blue", "red"])
    assert "moments_" not in vars(clf.fit(texts, labels))


BAD_PARTS: dict[str, Any] = {
    "labels": lambda X, y: {"y": ["purple"] * len(y)},
    "lengths": lambda X, y: {"y": y[:-1]},
    "weights": lambda X, y: {"sample_weight": [-1.0] * len(y)},
    "pairs": lambda X, y: {"X": [(text, None) for text in X]},
    "array": lambda X, y: {"X": np.array([X, X]).T, "y": y[:-1]},
    "rate": lambda X, y: {},
}


@pytest.mark.parametrize("bad", BAD_PARTS)
def test_a_failed_partial_fit_leaves_no_trace(
    bad: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    classes = ["blue", "green", "red"]
    call = {"X": texts, "y": labels, "classes": classes} | BAD_PARTS[bad](texts, labels)
    clf = tiny_clf(lr=-1 if bad == "rate" else "auto")
    before = dict(vars(clf))
    with pytest.raises((ValueError, TypeError)):
        clf.partial_fit(**call)
    assert vars(clf) == before
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
    clf.set_params(lr="auto").partial_fit(texts, labels, classes=classes)
    before = dict(vars(clf))
    if bad == "rate":
        before = vars(clf.set_params(lr=-1)).copy()
    with pytest.raises((ValueError, TypeError)):
        clf.partial_fit(**call)
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[name] is value for name, value in before.items())


def test_warm_start_goes_on(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(warm_start=True, lr=1e-9, head_lr=1e-9).fit(texts, labels)
    before = clf.delta_
    clf.fit(texts, labels)
    for name, values in clf.delta_.items():
        np.testing.assert_allclose(values, before[name], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="warm_start"):
        clf.fit(texts, [label.upper() for label in labels])
    cold = tiny_clf(lr=1e-9, head_lr=1e-9, random_state=1)
    assert not np.allclose(
        cold.fit(texts, labels).delta_["head/weight"], before["head/weight"], atol=1e-3
    )


def test_callbacks_see_real_epochs_and_batches(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    class Counter(Callback):
        def __init__(self) -> None:
            self.rows, self.epochs = 0, 0

        def on_batch_end(self, net: Any, batch: Any, training: bool, **kwargs: Any) -> None:
            inputs, codes = batch
            self.rows += len(codes) if training else 0
            assert inputs["input_ids"].shape[0] == len(codes)

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.epochs += 1

    counter = Counter()
    scoring = EpochScoring("accuracy", lower_is_better=False, name="mine", on_train=True)
    tiny_clf(max_epochs=3, callbacks=[counter, scoring]).fit(texts, labels)
    assert (counter.rows, counter.epochs) == (120, 3)


def test_a_callback_may_end_the_fit(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=100.0, sink=lambda _: None)
    clf = tiny_clf(max_epochs=20, callbacks=[stop]).fit(texts, labels)
    assert clf.n_epochs_ < 20
    assert len(clf.predict(texts)) == 40


def test_divergence_keeps_the_last_good_delta(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    class Poison(Callback):
        def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
            if len(net.history) == 2:
                with torch.no_grad():
                    net.module_.learnt["head/bias"].fill_(float("nan"))

    clf = tiny_clf(max_epochs=3, callbacks=[Poison()])
    with pytest.raises(TrainingDivergedError, match=r"epoch 2, step 6, at a learning rate of"):
        clf.fit(texts, labels)
    assert clf.n_epochs_ == 1
    assert np.isfinite(clf.predict_proba(texts)).all()
    assert issubclass(TrainingDivergedError, ValueError)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_not_finite_leaves_the_values_before_its_step(
    accumulate: int, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    before: list[dict[str, np.ndarray]] = []

    class Poison(Callback):
        def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
            before.append(net.module_.delta())
            if len(before) == 4:
                net.module_.learnt["head/bias"].grad.fill_(float("inf"))

    clf = tiny_clf(max_epochs=9, accumulate=accumulate, callbacks=[Poison()])
    with pytest.raises(TrainingDivergedError, match=r"the gradient is not finite in .* step 4,"):
        clf.fit(texts, labels)
    # A step is good once the next has been found so: the last good values are one back.
    for name, values in clf.delta_.items():
        np.testing.assert_array_equal(values, before[-2][name])
    assert clf.n_steps_ == 3


def test_an_interrupt_keeps_the_best_delta_and_goes_on(
    tiny_clf: Clf, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.training.net import DeltaNet

    step, calls = DeltaNet.train_step, []

    def interrupted(self: Any, batch: Any, **kwargs: Any) -> Any:
        calls.append(batch)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return step(self, batch, **kwargs)

    monkeypatch.setattr(DeltaNet, "train_step", interrupted)
    clf = tiny_clf(max_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, labels)
    assert (clf.n_steps_, clf.n_epochs_) == (7, 1)
    assert len(clf.history_) == 1
    assert len(clf.predict(texts)) == 40

    calls.clear()
    calls.extend(range(2))  # now in the second epoch of 36 rows
    best = tiny_clf(max_epochs=3, early_stopping=True)
    with pytest.raises(KeyboardInterrupt):
        best.fit(texts, labels)
    monkeypatch.undo()
    one = tiny_clf(max_epochs=3, early_stopping=True, callbacks=[_StopAfter(1)])
    assert same(best.delta_, one.fit(texts, labels).delta_)


class _StopAfter(Callback):  # type: ignore[misc]
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) >= self.epochs:
            raise KeyboardInterrupt  # skorch's way to say: enough


# -- answers ---------------------------------------------------------------------------


def test_answers_agree_with_each_other(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf().fit(texts, labels)
    probabilities = clf.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(texts)), probabilities, atol=1e-12)
    assert (clf.classes_[clf.decision_function(texts).argmax(axis=1)] == clf.predict(texts)).all()
    vectors = clf.embed(texts)
    assert vectors.shape == (40, clf.embedding_size_)
    logits = vectors @ clf.delta_["head/weight"].T + clf.delta_["head/bias"]
    np.testing.assert_allclose(logits, clf.decision_function(texts), atol=1e-12)
    assert (clf.transform(texts) == vectors).all()


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_poolings_from_their_definition(
    pooling: str, tiny_clf: Clf, tiny_backbone: Any, texts: list[str], labels: list[str]
) -> None:
    from transformers import AutoModel, AutoTokenizer

    clf = tiny_clf(pooling=pooling, lr=1e-12).fit(texts, labels)  # the backbone all but untouched
    model = AutoModel.from_pretrained(tiny_backbone(), dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone())
    for text in texts[:7]:
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt")
            states = model(**{k: inputs[k] for k in ("input_ids", "attention_mask")})[0][0]
        expected = {
            "cls": states[0],
            "mean": states.mean(0),
            "max": states.amax(0),
            "last": states[-1],
        }[pooling]
        np.testing.assert_allclose(clf.embed([text])[0], expected.numpy(), rtol=0, atol=1e-9)


def test_repeated_texts_are_computed_once(
    tiny_clf: Clf, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.prediction import predictor

    clf = tiny_clf().fit(texts, labels)
    expected = clf.predict_proba(texts)
    seen: list[int] = []
    compute = predictor.compute

    def counted(network: Any, table: Any, *rest: Any) -> Any:
        seen.append(len(table))
        return compute(network, table, *rest)

    monkeypatch.setattr(predictor, "compute", counted)
    assert (clf.predict_proba(texts * 3) == np.tile(expected, (3, 1))).all()
    assert seen == [len(set(texts))]


def test_net_is_a_skorch_net_with_the_history(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    from skorch import NeuralNetClassifier

    clf = tiny_clf().fit(texts, labels)
    net = clf.net()
    assert isinstance(net, NeuralNetClassifier)
    assert len(net.history) == 2
    assert same(net.module_.delta(), clf.delta_)
    assert "net" not in vars(clf)


def test_history_is_a_frame_and_the_attributes_are_plain(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    import json

    clf = tiny_clf(tuning=LayerNormTuning(layers=range(1))).fit(texts, labels)
    assert isinstance(clf.history_, pd.DataFrame)
    assert clf.history_["epoch"].tolist() == [1, 2]
    fitted = {k: v for k, v in vars(clf).items() if k.endswith("_")}
    arrays = {"classes_", "delta_"}
    json.dumps({k: v for k, v in fitted.items() if k not in arrays})  # numbers, strings, lists
    assert all(type(values) is np.ndarray for values in clf.delta_.values())
    assert all(re.fullmatch(r"(layernorm|head)(/[\w.]+)?/\w+", name) for name in clf.delta_)


# -- precision and randomness ----------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "delta"),
    [("bfloat16", np.float32), ("float32", np.float32), ("float64", np.float64)],
)
def test_delta_type(
    precision: str, delta: type, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(precision=precision).fit(texts, labels)
    assert {values.dtype for values in clf.delta_.values()} == {np.dtype(delta)}
    assert clf.predict_proba(texts).dtype == delta


def test_auto_precision_predicts_in_float32(
    tiny_clf: Clf, tmp_path: Path, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(precision="auto").fit(texts, labels)
    exact = clone(clf).set_params(precision="float64")
    for name, value in vars(clf).items():
        if name.endswith("_"):
            setattr(exact, name, value)
    np.testing.assert_allclose(
        clf.predict_proba(texts), exact.predict_proba(texts), rtol=0, atol=1e-5
    )


def test_a_checkpoint_in_16_bits_predicts_in_them(
    tmp_path: Path, texts: list[str], labels: list[str]
) -> None:
    from transformers import AutoModel

    folder = save_backbone(tmp_path)
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    clf = LNTunedTransformerClassifier(folder, max_epochs=1, min_steps=0, device="cpu")
    clf.fit(texts, labels)
    assert next(clf.net().module_.body.parameters()).dtype == torch.bfloat16
    assert clf.predict_proba(texts).dtype == np.float32


def test_the_global_random_state_is_left_alone(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    import random

    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy state is what must stay
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    clf = tiny_clf(dropout=0.3, early_stopping=True, random_state=None, pooling="native")
    clf.fit(texts, labels).predict(texts)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


def test_seeds_differ_and_none_is_fresh(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    zero = tiny_clf(random_state=0).fit(texts, labels)
    assert not same(zero.delta_, tiny_clf(random_state=1).fit(texts, labels).delta_)
    fresh = [tiny_clf(random_state=None).fit(texts, labels).delta_ for _ in range(2)]
    assert not same(*fresh)
    state = tiny_clf(random_state=np.random.RandomState(0)).fit(texts, labels)
    assert same(zero.delta_, state.delta_)


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose(
    verbose: int, tiny_clf: Clf, texts: list[str], labels: list[str], capfd: Any
) -> None:
    from sklearn_lntune import clear_backbones

    clear_backbones()  # transformers' own bars would show on loading
    tiny_clf(verbose=verbose, early_stopping=True).fit(texts, labels).predict(texts)
    out, err = capfd.readouterr()
    if verbose == 0:
        assert out == err == ""
    if verbose == 1:
        assert "fit" in err
        assert "loss=" in err
        assert "valid=" in err
    if verbose == 2:
        lines = out.splitlines()
        assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
        assert all("train_loss" in line and "valid_score" in line for line in lines)


# -- memory ----------------------------------------------------------------------------


def test_a_batch_too_large_for_the_gpu_is_halved_in_predict(
    tiny_clf: Clf, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.network import computing

    clf = tiny_clf().fit(texts, labels)
    expected = clf.predict_proba(texts)
    budgets: list[int] = []
    compute = computing._compute

    def short_of_memory(net: Any, table: Any, *rest: Any) -> Any:
        budgets.append(rest[-1])
        if rest[-1] > 600:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(net, table, *rest)

    monkeypatch.setattr(computing, "_compute", short_of_memory)
    np.testing.assert_allclose(clf.predict_proba(texts), expected, rtol=0, atol=1e-12)
    most = computing.PREDICT_TOKENS["cpu"]
    assert budgets == [most // 2**halved for halved in range(len(budgets))]
    assert budgets[-1] <= 600 < budgets[-2]
    n_before = len(budgets)
    clf.predict_proba(texts)  # does not start from the size that was too large
    assert budgets[n_before:] == [budgets[n_before - 1]]
    monkeypatch.setattr(computing, "_compute", lambda *_: (_ for _ in ()).throw(_full()))
    with pytest.raises(torch.OutOfMemoryError):
        clf.predict(texts)


def _full() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    "full", [_full(), RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")]
)
def test_a_batch_too_large_for_the_gpu_is_named_in_fit(
    full: Exception,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sklearn_lntune.network import Network

    def short_of_memory(self: Any, batch: Any) -> Any:
        raise full

    monkeypatch.setattr(Network, "forward", short_of_memory)
    with pytest.raises(ValueError, match=r"batch_size=8 \(accumulate=1\)") as raised:
        tiny_clf().fit(texts, labels)
    # Whoever keeps the error does not keep the network and what its backward pass needs.
    assert raised.value.__cause__ is not None
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__cause__.__traceback__)]
    held = [value for frame in frames for value in frame.f_locals.values()]
    assert not any(isinstance(value, Network | torch.Tensor) for value in held)


def test_nothing_below_the_lowest_trained_norm_is_differentiated(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    tracked: dict[str, bool] = {}

    class Watch(Callback):
        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            body = net.module_.body
            for path in ("embeddings", "encoder.layer.0", "encoder.layer.1"):
                body.get_submodule(path).register_forward_hook(
                    lambda module, inputs, output, path=path: tracked.update(
                        {path: (output[0] if isinstance(output, tuple) else output).requires_grad}
                    )
                )

    top = LayerNormTuning(layers=1)
    clf = tiny_clf(tuning=top, callbacks=[Watch()]).fit(texts, labels)
    assert tracked == {"embeddings": False, "encoder.layer.0": False, "encoder.layer.1": True}
    assert {name.split("/")[1] for name in clf.delta_ if name.startswith("layernorm")} == {
        "encoder.layer.1.attention.output.LayerNorm",
        "encoder.layer.1.output.LayerNorm",
    }


def test_parameters_after_the_backbone_go_by_name() -> None:
    parameters = inspect.signature(LNTunedTransformerClassifier).parameters
    first, *others = parameters.values()
    assert (first.name, first.kind) == ("backbone", first.POSITIONAL_OR_KEYWORD)
    assert {each.kind for each in others} == {first.KEYWORD_ONLY}
    assert set(parameters) == set(LNTunedTransformerClassifier().get_params(deep=False))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_no_answer(
    value: float, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    clf.delta_ = {name: array.copy() for name, array in clf.delta_.items()}
    clf.delta_["layernorm/encoder.layer.1.output.LayerNorm/gain"][0] = value
    for predict in (clf.predict, clf.predict_proba, clf.embed):
        with pytest.raises(ValueError, match="values that are NaN or infinite"):
            predict(texts)
    with pytest.raises(ValueError, match="values that are NaN or infinite"):
        DeltaBank({"one": clf}).predict(texts)


def test_any_real_number_is_a_rate(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    """PyTorch takes neither fractions nor decimals of other libraries."""
    given = {"dropout": 0.5, "label_smoothing": 0.25, "lr": 0.5**8, "warmup": 0.125}
    plain = tiny_clf(**given).fit(texts, labels)
    exact = tiny_clf(**{name: Fraction(value) for name, value in given.items()})
    np.testing.assert_array_equal(exact.fit(texts, labels).embed(texts), plain.embed(texts))
