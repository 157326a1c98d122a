from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers

from sklearn_lntune.checks import check_number
from sklearn_lntune.training.settings import HEAD_LR, Settings
from sklearn_lntune.tuning import FullTuning, LayerNormTuning, TuningMethod

PARAMS: dict[str, Any] = {
    "lr": 1e-2,
    "head_lr": 1e-3,
    "batch_size": 32,
    "max_epochs": 5,
    "min_steps": 0,
    "accumulate": 1,
    "warmup": 0.1,
    "schedule": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "dropout": 0.1,
    "early_stopping": False,
    "patience": 3,
    "scoring": "loss",
}
LAYERNORM = (LayerNormTuning(),)


def check(methods: tuple[TuningMethod, ...] = LAYERNORM, **params: Any) -> Settings:
    return Settings.check(methods, PARAMS | params)


def test_values_are_kept_and_other_parameters_passed_over() -> None:
    checked = check(tuning="layernorm", verbose=3)
    own = {name: value for name, value in PARAMS.items() if name not in ("lr", "head_lr")}
    assert {name: getattr(checked, name) for name in own} == own
    assert not hasattr(checked, "verbose")


BAD_COUNTS: list[Any] = [0, -1, 2.0, 1.5, "8", None, True, math.nan]
BAD_RATES: list[Any] = [0, 0.0, -1e-3, math.nan, math.inf, None, True, [1e-3]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("batch_size", value) for value in BAD_COUNTS],
        *[("max_epochs", value) for value in BAD_COUNTS],
        *[("accumulate", value) for value in BAD_COUNTS],
        *[("patience", value) for value in BAD_COUNTS],
        *[("min_steps", value) for value in BAD_COUNTS if value != 0],
        *[("warmup", value) for value in (-0.1, 1.1, math.nan, "0.1", None, True)],
        *[("weight_decay", value) for value in (-0.1, math.nan, math.inf, "0", None, False)],
        *[("dropout", value) for value in (-0.1, 1, 1.0, math.nan, "0.1", None, False)],
        *[("max_grad_norm", value) for value in (0, -1, math.nan, "1", True)],
        *[("lr", value) for value in (*BAD_RATES, "fast")],
        *[("head_lr", value) for value in (*BAD_RATES, "fast")],
        *[("schedule", value) for value in ("step", "", None, 1, ["linear"])],
        *[("early_stopping", value) for value in (None, 1, 0, "yes")],
        *[("scoring", value) for value in ("nonsense", None, 3)],
    ],
)
def test_a_value_out_of_range_is_an_error_that_repeats_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be ") as error:
        check(**{name: value})
    assert f"got {value!r}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 1),
        ("batch_size", np.int64(8)),
        ("max_epochs", 1),
        ("accumulate", 1),
        ("patience", 1),
        ("min_steps", 0),
        ("warmup", 0),
        ("warmup", 1),
        ("weight_decay", 0),
        ("weight_decay", np.float32(0.5)),
        ("dropout", 0),
        ("dropout", 0.99),
        ("max_grad_norm", None),
        ("max_grad_norm", 1e-9),
        ("schedule", "cosine"),
        ("schedule", "constant"),
        ("early_stopping", np.True_),
        ("scoring", "f1_macro"),
        ("scoring", len),
    ],
)
def test_a_value_at_the_edge_is_taken(name: str, value: Any) -> None:
    found = getattr(check(**{name: value}), name)
    assert found == value
    assert not isinstance(found, np.number)


def test_auto_rates_are_each_methods_own() -> None:
    checked = check(lr="auto", head_lr="auto")
    assert checked.rates == {"layernorm": LayerNormTuning.default_lr, "head": HEAD_LR}
    assert check((FullTuning(),), lr="auto").rates["full"] == FullTuning.default_lr
    assert LayerNormTuning.default_lr != FullTuning.default_lr


def test_a_given_rate_is_every_methods() -> None:
    class Other(TuningMethod):
        name = "other"
        default_lr = 7.0

    checked = check((LayerNormTuning(), Other()), lr=3, head_lr="auto")
    assert checked.rates == {"layernorm": 3.0, "other": 3.0, "head": HEAD_LR}
    assert check((), lr="auto").rates == {"head": 1e-3}


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulate", "steps"),
    [(1, 8, 1, 1), (8, 8, 1, 1), (9, 8, 1, 2), (80, 8, 4, 3), (64, 8, 4, 2), (3, 8, 4, 1)],
)
def test_steps_an_epoch(rows: int, batch_size: int, accumulate: int, steps: int) -> None:
    assert check(batch_size=batch_size, accumulate=accumulate).steps_an_epoch(rows) == steps


@pytest.mark.parametrize(
    ("rows", "params", "n_epochs"),
    [
        (100, {"max_epochs": 5}, 5),
        (100, {"max_epochs": 5, "min_steps": 50}, 5),
        (100, {"max_epochs": 5, "min_steps": 51}, 6),
        (10, {"max_epochs": 5, "min_steps": 51}, 51),
        (100, {"max_epochs": 5, "min_steps": 50, "accumulate": 2}, 10),
        (100, {"max_epochs": 5, "min_steps": 50, "accumulate": 3}, 13),
        (10**6, {"max_epochs": 1, "min_steps": 2000}, 1),
    ],
)
def test_epochs_make_up_for_a_lack_of_steps(
    rows: int, params: dict[str, int], n_epochs: int
) -> None:
    assert check(batch_size=10, **params).n_epochs(rows) == n_epochs


@given(
    rows=integers(1, 10_000),
    batch_size=integers(1, 64),
    accumulate=integers(1, 8),
    max_epochs=integers(1, 20),
    min_steps=integers(0, 3000),
)
def test_epochs_are_no_more_than_needed(
    rows: int, batch_size: int, accumulate: int, max_epochs: int, min_steps: int
) -> None:
    checked = check(
        batch_size=batch_size, accumulate=accumulate, max_epochs=max_epochs, min_steps=min_steps
    )
    n_epochs, steps = checked.n_epochs(rows), checked.steps_an_epoch(rows)
    assert n_epochs >= max_epochs
    assert n_epochs * steps >= min_steps
    assert n_epochs == max_epochs or (n_epochs - 1) * steps < min_steps


@pytest.mark.parametrize(
    ("bounds", "interval"),
    [
        ({}, r"a number in \[0, inf\)"),
        ({"open_low": True}, r"a number in \(0, inf\)"),
        ({"high": 1}, r"a number in \[0, 1\]"),
        ({"high": 1, "open_high": True}, r"a number in \[0, 1\)"),
        ({"integer": True, "low": 1}, r"an int in \[1, inf\)"),
    ],
)
def test_the_error_tells_the_interval(bounds: dict[str, Any], interval: str) -> None:
    with pytest.raises(ValueError, match=rf"size must be {interval}; got -3\."):
        check_number("size", -3, **bounds)
