"""Numbers are standardised, weighted and turned back; losses beside plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from sklearn_lntune.inputs.stream import LabelColumn, LabelTable
from sklearn_lntune.task import Numbers

Y = np.array([[1.0, -2e9], [4.0, 3e9], [9.0, 1e9], [2.0, 0.0]])


@pytest.mark.parametrize("weights", [None, np.array([0.0, 1.0, 2.0, 0.5])])
def test_targets_are_standardised_as_by_scikit_learn(weights: Any) -> None:
    task = Numbers.from_targets(Y, weights)
    scaler = StandardScaler().fit(Y, sample_weight=weights)
    np.testing.assert_allclose(task.encode(Y), scaler.transform(Y))
    np.testing.assert_allclose(task.predict(task.encode(Y)), Y)
    np.testing.assert_allclose(task.decode(task.encode(Y)), Y)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1e-310])
def test_a_constant_has_scale_one(value: float) -> None:
    task = Numbers.from_targets([value] * 7)
    assert task.target_scale.tolist() == [1.0]
    np.testing.assert_allclose(task.predict(np.zeros((2, 1))), [value] * 2)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("squared_error", np.square),
        ("absolute_error", np.abs),
        ("huber", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
    ],
)
def test_losses(loss: str, formula: Any) -> None:
    task = Numbers.from_targets(Y, loss=loss)
    outputs = np.array([[0.1, 3.0], [-2.0, 0.5], [0.0, 0.0], [1.5, -1.0]])
    targets = task.encode(Y)
    expected = formula(outputs - targets).mean(axis=1)
    found = task.loss(torch.from_numpy(outputs), torch.from_numpy(targets))
    np.testing.assert_allclose(found, expected)
    assert task.score(outputs, targets, np.ones(4), "loss") == pytest.approx(-expected.mean())
    assert task.loss_options == loss


def test_columns_of_a_table() -> None:
    columns = (
        LabelColumn("a", [2.5, 1.0], np.array([0, 1, 0])),
        LabelColumn("b", [7], np.zeros(3, int)),
    )
    assert Numbers.from_targets(columns[0]).target_mean.tolist() == [2.0]
    both = LabelTable(columns)
    task = Numbers.from_targets(both)
    np.testing.assert_allclose(task.decode(task.encode(both)), [[2.5, 7], [1, 7], [2.5, 7]])
    with pytest.raises(ValueError, match="c must be numbers.* row 0 is 'x'. Labels are for"):
        Numbers.from_targets(LabelColumn("c", ["x"], np.zeros(3, int)))


def test_validation_targets_beyond_what_can_be_scaled() -> None:
    with pytest.raises(ValueError, match="y_val holds a number too large .* row 1"):
        Numbers.from_targets([0.0, 1e-9]).encode([0.0, 1e308], "y_val")
