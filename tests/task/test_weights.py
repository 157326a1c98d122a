"""Weights of rows: forms, errors, and sizes that would overflow."""

from __future__ import annotations

import decimal
import re
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sklearn_lntune.task.one_label import OneLabel
from sklearn_lntune.task.weights import check_sample_weight, row_weights

THREE = OneLabel.from_targets(["a", "b", "c"])
CODES = np.array([0, 1, 2, 1, 0, 2, 2, 2, 0, 1])
NAN = float("nan")


def test_without_class_weight_rows_keep_their_weights() -> None:
    assert row_weights(THREE.classes, CODES, None, None).tolist() == [1.0] * 10
    assert row_weights(THREE.classes, CODES, np.arange(10), None).tolist() == list(range(10))


def test_balanced_is_as_in_scikit_learn() -> None:
    factors = compute_class_weight("balanced", classes=np.arange(3), y=CODES)
    weights = row_weights(THREE.classes, CODES, None, "balanced")
    np.testing.assert_allclose(weights, factors[CODES], rtol=1e-15)


def test_balanced_with_sample_weights_equals_repeated_rows() -> None:
    times = np.array([1, 3, 2, 1, 1, 4, 1, 2, 5, 1])
    weighted = row_weights(THREE.classes, CODES, times, "balanced")
    repeated = row_weights(THREE.classes, np.repeat(CODES, times), None, "balanced")
    np.testing.assert_allclose(np.repeat(weighted / times, times), repeated, rtol=1e-15)
    np.testing.assert_allclose(np.bincount(CODES, weighted), times.sum() / 3, rtol=1e-15)


def test_balanced_leaves_out_a_class_of_no_weight() -> None:
    codes = np.array([0, 0, 1])
    assert row_weights(THREE.classes, codes, None, "balanced").tolist() == [0.75, 0.75, 1.5]
    silent = np.array([1.0, 1.0, 0.0])
    assert row_weights(THREE.classes, codes, silent, "balanced").tolist() == [1.0, 1.0, 0.0]


def test_class_weights_multiply_sample_weights() -> None:
    weights = row_weights(
        THREE.classes, np.array([0, 1, 2]), np.array([1.0, 2.0, 3.0]), {"b": 10, "c": 0.5}
    )
    assert weights.tolist() == [1.0, 20.0, 1.5]


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({"a": 1, "nobody": 2}, r"class_weight names labels .*\['nobody'\].*\['a', 'b', 'c'\]"),
        ({("a", "b", "c"): 1}, "class_weight names labels"),
        ({None: 1}, "class_weight names labels .*None"),
        ("even", "class_weight must be .*'even'"),
        (3, "class_weight must be .*3"),
        ([1, 2, 3], r"class_weight must be .*\[1, 2, 3\].*dict\(zip\(classes, weights\)\)"),
        ([{"a": 1}], r"class_weight must be .*dict\(zip"),
        (MappingProxyType({"a": 1}), r"class_weight must be .*pass dict\(class_weight\)"),
        (pd.Series({"a": 1.0}), r"(?s)class_weight must be .*pass dict\(class_weight\)"),
        *(
            ({"a": 1, "b": wrong}, rf"0 or more; that of 'b' is {re.escape(repr(wrong))}")
            for wrong in (-1, -1e-300, NAN, np.inf, -np.inf, "2", b"2", None, 1j)
        ),
        ({"b": 10**400}, "that of 'b' is 1000"),
        ({"b": pd.NA}, "that of 'b' is <NA>"),
        ({"b": [2.0]}, r"that of 'b' is \[2.0\]"),
        ({"b": np.ones(1)}, "that of 'b' is array"),
        ({"b": [1, [2]]}, "that of 'b' is "),
        ({"b": {"b": 1}}, "that of 'b' is "),
        ({"b": np.complex128(1)}, "that of 'b' is "),
    ],
)
def test_a_wrong_class_weight_is_an_error(class_weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row_weights(THREE.classes, CODES, None, class_weight)


def test_the_array_of_compute_class_weight_says_what_to_pass() -> None:
    array = compute_class_weight("balanced", classes=np.arange(3), y=CODES)
    with pytest.raises(ValueError, match=r"got array.*dict\(zip\(classes, weights\)\)"):
        row_weights(THREE.classes, CODES, None, array)
    found = row_weights(THREE.classes, CODES, None, dict(zip(THREE.classes, array, strict=True)))
    np.testing.assert_allclose(
        found, row_weights(THREE.classes, CODES, None, "balanced"), rtol=1e-15
    )


@pytest.mark.parametrize(
    "two", [2, np.float32(2), decimal.Decimal(2), np.array(2), np.int8(2)], ids=repr
)
def test_any_number_is_a_class_weight(two: Any) -> None:
    weights = row_weights(THREE.classes, np.arange(3), None, {"b": two, np.str_("c"): True})
    assert weights.tolist() == [1, 2, 1]


@pytest.mark.parametrize("keys", [(1, 2), (1.0, 2.0), (True, 2), (np.int8(1), np.float64(2))])
def test_equal_numbers_name_the_same_class(keys: tuple[Any, Any]) -> None:
    task = OneLabel.from_targets([1, 2])
    assert row_weights(task.classes, np.array([0, 1]), None, {keys[0]: 3, keys[1]: 4}).tolist() == [
        3,
        4,
    ]


def test_days_name_their_class() -> None:
    days = np.array(["2020", "2021"], "M8[ns]")
    weights = row_weights(np.unique(days), np.array([0, 1]), None, {days[1]: 4})
    assert weights.tolist() == [1, 4]


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.0])
@pytest.mark.parametrize("class_size", [1e300, 1e-300, 1.0])
def test_enormous_and_tiny_weights_have_the_ratios_of_ordinary_ones(
    size: float, class_size: float
) -> None:
    weights = np.linspace(1, 3, len(CODES))
    class_weight = {"a": 3.0, "b": 0.5, "c": 1.0}
    expected = row_weights(THREE.classes, CODES, weights, class_weight)
    scaled = {label: class_size * weight for label, weight in class_weight.items()}
    found = row_weights(THREE.classes, CODES, size * weights, scaled)
    assert np.isfinite(found.sum())
    np.testing.assert_allclose(found / found.mean(), expected / expected.mean(), rtol=1e-12)
    balanced = row_weights(THREE.classes, CODES, size * weights, "balanced")
    expected = row_weights(THREE.classes, CODES, weights, "balanced")
    np.testing.assert_allclose(balanced / balanced.mean(), expected / expected.mean(), rtol=1e-12)


def test_balanced_weighs_a_class_of_tiny_weights_as_any_other() -> None:
    sizes = np.array([1e300, 1e300, 1e-10, 2e-10])
    weights = row_weights(THREE.classes, np.array([0, 0, 1, 1]), sizes, "balanced")
    np.testing.assert_allclose(weights / weights.sum(), [1 / 4, 1 / 4, 1 / 6, 1 / 3], rtol=1e-12)


@pytest.mark.parametrize(
    "sample_weight",
    [
        [2, 1, 0],
        (2.0, 1.0, 0.0),
        np.array([2, 1, 0], np.uint8),
        np.array([2, 1, 0], np.float32),
        np.array([2, 1, 0], object),
        pd.Series([2, 1, 0], index=[2, 0, 1]),
        pd.Series([2, 1, 0], dtype="Int64"),
        pd.Series([2, 1, 0], dtype="double[pyarrow]"),
        pl.Series([2, 1, 0]),
        pa.array([2.0, 1.0, 0.0]),
        ["2", "1", "0"],
        [decimal.Decimal(2), 1, 0],
    ],
    ids=lambda weights: type(weights).__name__,
)
def test_forms_of_sample_weight(sample_weight: Any) -> None:
    found = check_sample_weight(sample_weight, 3)
    assert found is not None
    assert found.dtype == float
    assert found.tolist() == [2, 1, 0]


def test_one_number_is_the_weight_of_all() -> None:
    found = check_sample_weight(2, 3)
    assert found is not None
    assert found.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        (np.array([1j, 1, 2]), "complex"),
        (np.array([1, 2], complex), "complex"),
        (pd.Series([1j, 1, 2]), "complex"),
        ([1, NAN, 1], "contains NaN"),
        (pd.Series([1, None, 1], dtype="Int64"), "contains NaN"),
        (pd.Series([1, None, 1], dtype="double[pyarrow]"), "contains NaN"),
        (pl.Series([1, None, 1]), "contains NaN"),
        ([1, None, 1], "contains NaN"),
        ([1, np.inf, 1], "infinity"),
        ([1, -1, 1], "Negative values"),
        ([0, 0, 0], "non-zero"),
        ([1, 1], "shape"),
        ([], "0 sample"),
        (np.ones((3, 1)), "1D"),
        (pd.DataFrame({"w": [1, 1, 1]}), "1D"),
        (["a", "b", "c"], "'a'"),
        ("balanced", "'balanced'"),
        ([10**400, 1, 1], "too large"),
        ([1j, 1, 1], "complex"),
        ([[1], [1, 2], 1], "inhomogeneous"),
        ((each for each in [1, 1, 1]), "generator"),
        ({0: 1.0}, "dict"),
        ([object()] * 3, "object"),
        (np.array(2.0), "scalar"),
        (NAN, "got nan"),
        (np.inf, "got inf"),
        (-1.0, "Negative values"),
    ],
)
def test_a_wrong_sample_weight_is_named(sample_weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"sample_weight_val must hold .* 3 rows: .*{message}"):
        check_sample_weight(sample_weight, 3, "sample_weight_val")
