"""Indicators, their loss and their weights, beside scikit-learn and plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.utils.class_weight import compute_class_weight

from sklearn_lntune.inputs.stream import LabelColumn, LabelTable
from sklearn_lntune.task import ManyLabels
from sklearn_lntune.task.weights import label_weights

MARKS = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
LOGITS = np.array([[0.3, -2.0, 1.0], [4.0, 0.0, -1.0], [-0.5, 0.1, 0.2], [1.0, 2.0, 3.0]])


def losses(task: ManyLabels, training: bool = True) -> np.ndarray:
    targets = torch.from_numpy(task.encode(MARKS))
    return task.loss(torch.from_numpy(LOGITS), targets, training=training).numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weight", [None, {0: 5.0, 2: 0.0}, [{0: 2.0}, {1: 3.0}, {}]])
def test_the_loss_is_a_mean_of_binary_cross_entropies(smoothing: float, class_weight: Any) -> None:
    task = ManyLabels.from_targets(MARKS, label_smoothing=smoothing, class_weight=class_weight)
    weights = np.ones((2, 3)) if task.label_weights is None else task.label_weights
    each = np.where(MARKS == 1, weights[1], weights[0])
    odds = expit(LOGITS)

    def expected(wanted: Any) -> np.ndarray:
        terms = each * -(wanted * np.log(odds) + (1 - wanted) * np.log(1 - odds))
        return np.asarray(terms.mean(axis=1))

    np.testing.assert_allclose(losses(task), expected(MARKS * (1 - smoothing) + smoothing / 2))
    np.testing.assert_allclose(losses(task, training=False), expected(MARKS))
    score = task.score(LOGITS, task.encode(MARKS), np.arange(4.0), "loss")
    assert score == pytest.approx(-np.average(expected(MARKS), weights=np.arange(4.0)))


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [
        ({1: 4}, [[1, 1, 1], [1, 4, 1]]),
        ([{0: 2, 1: 3}, {}, {1: 0}], [[2, 1, 1], [3, 1, 0]]),
    ],
)
def test_weights_of_labels(class_weight: Any, expected: Any) -> None:
    assert label_weights(MARKS, None, class_weight).tolist() == expected


@pytest.mark.parametrize("weights", [None, np.array([1, 2, 3, 0])])
def test_balanced_weights_are_those_of_scikit_learn_for_each_label(weights: Any) -> None:
    found = label_weights(MARKS, weights, "balanced")
    repeated = MARKS if weights is None else np.repeat(MARKS, weights, axis=0)
    for column in range(2):
        expected = compute_class_weight("balanced", classes=np.arange(2), y=repeated[:, column])
        np.testing.assert_allclose(found[:, column], expected)
    assert found[:, 2].tolist() == [1, 1]  # a label that no row has


def test_tasks_whose_losses_differ_say_so() -> None:
    options = [
        ManyLabels.from_targets(MARKS, class_weight=weight, label_smoothing=smoothing).loss_options
        for weight in (None, {0: 2.0}, {1: 2.0})
        for smoothing in (0.0, 0.1)
    ]
    assert len(set(options)) == 6


def test_columns_of_a_table() -> None:
    columns = [
        LabelColumn("a", [False, True], np.array([0, 1, 1])),
        LabelColumn("b", [1.0], np.zeros(3, int)),
    ]
    task = ManyLabels.from_targets(LabelTable(tuple(columns)))
    assert task.encode(LabelTable(tuple(columns))).tolist() == [[0, 1], [1, 1], [1, 1]]
    odd = LabelTable((*columns, LabelColumn("column 'c'", ["x"], np.zeros(3, int))))
    with pytest.raises(ValueError, match="column 'c' must be an indicator.* row 0 is"):
        ManyLabels.from_targets(odd)


def test_names_of_labels() -> None:
    named = pd.DataFrame(MARKS, columns=["blue", "green", "red"])
    task = ManyLabels.from_targets(named)
    assert task.labels == task.output_names == ["blue", "green", "red"]
    assert "blue, green, red" in task.card()["targets"]
    ManyLabels.check_state(task.state())
    assert ManyLabels(**task.state()).labels == task.labels
    columns = (
        LabelColumn("column 'a' of X", [0, 1], np.array([0, 1]), "a"),
        LabelColumn("column 'b' of X", [0, 1], np.array([1, 1]), "b"),
    )
    assert ManyLabels.from_targets(LabelTable(columns)).labels == ["a", "b"]


@pytest.mark.parametrize(
    "y", [MARKS, pd.DataFrame(MARKS), pd.DataFrame(MARKS, columns=["a", "b", "a"])]
)
def test_labels_without_distinct_names_are_numbered(y: Any) -> None:
    task = ManyLabels.from_targets(y)
    assert task.labels == [0, 1, 2]
    assert "label_names" not in task.state()


@pytest.mark.parametrize("names", [["a", "b"], ["a", "a", "b"], [1, 2, 3]])
def test_names_that_cannot_be(names: Any) -> None:
    with pytest.raises(ValueError, match="label_names must be 3 distinct strings"):
        ManyLabels.check_state({"classes": np.arange(3), "label_names": np.array(names)})
