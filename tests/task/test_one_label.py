from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats
from packaging.version import Version
from sklearn.metrics import accuracy_score, f1_score, log_loss, make_scorer, roc_auc_score

from sklearn_lntune.inputs.stream import LabelColumn
from sklearn_lntune.task import OneLabel
from sklearn_lntune.task.scoring import check_scoring

RANDOM = np.random.default_rng(0)
THREE = OneLabel.from_targets(["a", "b", "c"])
TWO = OneLabel.from_targets(["no", "yes"])
CODES = np.array([0, 1, 2, 1, 0, 2, 2, 2, 0, 1])
LOGITS = RANDOM.normal(size=(10, 3)) + np.eye(3)[CODES]
EVEN = np.ones(10)
WEIGHTS = RANDOM.uniform(0.5, 2.0, 10)


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        (["spam", "ham", "spam"], ["ham", "spam"], [1, 0, 1]),
        ([3, 1, 2, 1], [1, 2, 3], [2, 0, 1, 0]),
        ([100, -7, 100, 12], [-7, 12, 100], [2, 0, 2, 1]),
        ([True, False, True], [False, True], [1, 0, 1]),
        ([1.0, 0.0, 1.0], [0.0, 1.0], [1, 0, 1]),
        (np.array(["b", "a"], dtype=object), ["a", "b"], [1, 0]),
        (pd.Series(["b", "a", "b"], dtype="string"), ["a", "b"], [1, 0, 1]),
        (pd.Series(["b", "a", "b"], dtype="category"), ["a", "b"], [1, 0, 1]),
    ],
)
def test_labels_are_encoded_and_come_back(y: Any, classes: list[Any], codes: list[int]) -> None:
    task = OneLabel.from_targets(y)
    assert task.classes.tolist() == classes
    assert task.n_outputs == len(classes)
    assert task.encode(y).tolist() == codes
    assert task.predict(np.eye(len(classes))[codes]).tolist() == list(y)


def test_some_of_the_classes_are_encoded_as_with_all() -> None:
    assert THREE.encode(["c", "c"]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("y", "named"), [(["a", "z", "y"], r"\['y', 'z'\]"), (["a", "a longer one"], "a longer one")]
)
def test_unknown_labels_are_named(y: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=rf"y_val holds labels .*{named}.*\['a', 'b', 'c'\]"):
        THREE.encode(y, "y_val")


def test_unknown_numbers_are_named_too() -> None:
    with pytest.raises(ValueError, match=r"y holds labels .*\[4\]"):
        OneLabel.from_targets([1, 5]).encode([1, 4, 5])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", "a"], r"y holds .* class .*'a'"),
        ([0.5, 1.5, 2.5], "continuous"),
        (np.array([[0, 1], [1, 1]]), r"y has several labels per row \(multilabel-indicator\)"),
        (np.array([[1, 2], [3, 1]]), r"y has several labels per row \(multiclass-multioutput\)"),
        (None, "requires y to be passed"),
        ([1.0, float("nan")], "y contains NaN"),
    ],
)
def test_targets_that_are_no_labels_are_errors(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneLabel.from_targets(y)


@given(logits=arrays(float, (4, 3), elements=floats(-1e4, 1e4)))
def test_probabilities_sum_to_one(logits: np.ndarray) -> None:
    probabilities = OneLabel.probabilities(logits)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        np.exp(OneLabel.log_probabilities(logits)), probabilities, rtol=1e-9, atol=1e-300
    )


def test_log_probabilities_are_exact_where_probabilities_vanish() -> None:
    logits = np.array([[0.0, 2000.0]])
    assert OneLabel.probabilities(logits)[0, 0] == 0
    assert OneLabel.log_probabilities(logits).tolist() == [[-2000.0, 0.0]]


def test_decision_of_two_classes_is_one_number_a_row() -> None:
    logits = np.array([[1.0, 3.0], [2.0, -1.0]])
    assert TWO.decision_function(logits).tolist() == [2.0, -3.0]
    assert (
        TWO.classes[(TWO.decision_function(logits) > 0).astype(int)] == TWO.predict(logits)
    ).all()


def test_decision_of_three_classes_is_their_logits() -> None:
    assert (THREE.decision_function(LOGITS) == LOGITS).all()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_loss_is_the_cross_entropy_of_each_row(label_smoothing: float) -> None:
    loss = OneLabel(THREE.classes, label_smoothing=label_smoothing).loss(
        torch.tensor(LOGITS), torch.tensor(CODES)
    )
    wanted = np.eye(3)[CODES] * (1 - label_smoothing) + label_smoothing / 3
    expected = -(wanted * OneLabel.log_probabilities(LOGITS)).sum(1)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("weights", [EVEN, WEIGHTS])
def test_score_by_loss_is_the_negative_log_loss(weights: np.ndarray) -> None:
    expected = log_loss(CODES, OneLabel.probabilities(LOGITS), sample_weight=weights)
    assert THREE.score(LOGITS, CODES, weights, "loss") == pytest.approx(-expected, rel=1e-12)


@pytest.mark.parametrize("weights", [EVEN, WEIGHTS])
def test_score_by_name_is_scikit_learns(weights: np.ndarray) -> None:
    truth, answers = THREE.classes[CODES], THREE.predict(LOGITS)
    for scoring, expected in (
        ("accuracy", accuracy_score(truth, answers, sample_weight=weights)),
        ("f1_macro", f1_score(truth, answers, average="macro", sample_weight=weights)),
        (
            make_scorer(f1_score, average="weighted", pos_label=None),
            f1_score(truth, answers, average="weighted", sample_weight=weights),
        ),
    ):
        assert THREE.score(LOGITS, CODES, weights, scoring) == pytest.approx(expected, rel=1e-12)


def test_score_by_probabilities_is_scikit_learns() -> None:
    expected = roc_auc_score(CODES, OneLabel.probabilities(LOGITS), multi_class="ovr")
    assert 0.5 < expected < 1
    assert THREE.score(LOGITS, CODES, EVEN, "roc_auc_ovr") == pytest.approx(expected)


@pytest.mark.parametrize("weights", [EVEN, WEIGHTS])
def test_roc_auc_of_two_classes_ranks_by_the_decision(weights: np.ndarray) -> None:
    codes = CODES % 2
    logits = np.column_stack([np.zeros(10), RANDOM.normal(size=10) + codes])
    expected = roc_auc_score(codes, logits[:, 1], sample_weight=weights)
    assert 0 < expected < 1
    assert TWO.score(logits, codes, weights, "roc_auc") == pytest.approx(expected)


def test_score_by_callable_sees_answers_and_truth() -> None:
    def share_of_c(estimator: Any, X: Any, y: Any) -> float:
        assert estimator.classes_.tolist() == ["a", "b", "c"]
        assert y.tolist() == THREE.classes[CODES].tolist()
        return float(np.mean(estimator.predict(X) == "c"))

    expected = np.mean(LOGITS.argmax(1) == 2)
    assert THREE.score(LOGITS, CODES, EVEN, share_of_c) == expected
    assert 0 < expected < 1


def test_score_by_callable_without_weights_also_serves_weighted_rows() -> None:
    assert THREE.score(LOGITS, CODES, WEIGHTS, lambda estimator, X, y: 0.25) == 0.25


def test_score_by_callable_with_weights_gets_them() -> None:
    def total(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return float(np.sum(sample_weight))

    assert THREE.score(LOGITS, CODES, WEIGHTS, total) == WEIGHTS.sum()


@pytest.mark.parametrize("scoring", ["nonsense", "accurcy", None, 3, ["accuracy"]])
def test_a_wrong_scoring_is_an_error_that_repeats_it(scoring: Any) -> None:
    with pytest.raises(ValueError, match=r"scoring must be .*") as error:
        check_scoring(scoring)
    assert f"got {scoring!r}" in str(error.value)


@pytest.mark.parametrize("scoring", ["loss", len])
def test_loss_and_callables_need_no_look_up(scoring: Any) -> None:
    assert check_scoring(scoring) is scoring


@pytest.mark.parametrize(
    "labels", [["b", "a", "b"], [7, -1, 7], [f"class {i:02}" for i in range(30)], [True, False]]
)
def test_labels_held_once_are_as_labels_in_full(labels: list[Any]) -> None:
    values = list(dict.fromkeys(labels))
    column = LabelColumn("column 'y'", values, np.array([values.index(each) for each in labels]))
    plain, task = OneLabel.from_targets(labels * 3), OneLabel.from_targets(column)
    assert task.classes.tolist() == plain.classes.tolist()
    assert task.classes.dtype == plain.classes.dtype
    assert task.encode(column).tolist() == plain.encode(labels * 3)[: len(labels)].tolist()


def test_labels_held_once_may_not_be_unknown() -> None:
    column = LabelColumn("column 'y'", ["a", "c"], np.array([0, 1]))
    with pytest.raises(ValueError, match="column 'y' holds .* not among the classes: \\['c'\\]"):
        OneLabel(np.array(["a", "b"])).encode(column)


@pytest.mark.parametrize(
    ("classes", "y"),
    [([1, 2], ["1", "2"]), (["1", "2"], [1, 2]), (["True", "False"], [True, False])],
)
def test_a_number_does_not_pass_for_the_string_it_is_written_as(classes: Any, y: Any) -> None:
    with pytest.raises(ValueError, match="y_val holds labels that are not among the classes"):
        OneLabel.from_targets(classes).encode(y, "y_val")


@pytest.mark.parametrize("y", [[True, False], [1.0, 0.0], pd.Series([1, 0], dtype="Int64")])
def test_equal_numbers_of_other_types_are_the_same_labels(y: Any) -> None:
    assert OneLabel.from_targets([0, 1]).encode(y).tolist() == [1, 0]


def test_many_classes_are_not_taken_for_a_quantity() -> None:
    classes = [f"class {i:02}" for i in range(30)]
    assert OneLabel.from_classes(classes, "classes").classes.tolist() == classes
    if Version(sklearn.__version__) < Version("1.9"):  # which says nothing
        assert OneLabel.from_targets(classes).classes.tolist() == classes
        return
    with pytest.warns(UserWarning, match="number of unique classes is greater than 50%"):
        OneLabel.from_targets(classes)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", "a"], "classes holds 1 class only"),
        ([], r"classes contains no labels \(0 sample"),
        (["a", None], "classes contains NaN or another missing label: row 1 is None"),
        ([0.5, 1.5], "classes holds numbers that are not whole"),
    ],
)
def test_wrong_classes_are_errors_that_name_them(classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneLabel.from_classes(classes, "classes")


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, float("nan"), None, False])
def test_a_smoothing_out_of_range_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="label_smoothing must be"):
        OneLabel(THREE.classes, label_smoothing=value)


def test_only_training_smooths() -> None:
    smoothed = OneLabel(THREE.classes, label_smoothing=0.2)
    found = smoothed.loss(torch.tensor(LOGITS), torch.tensor(CODES), training=False)
    assert torch.equal(found, THREE.loss(torch.tensor(LOGITS), torch.tensor(CODES)))
