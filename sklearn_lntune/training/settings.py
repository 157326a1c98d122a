"""The numbers of a fit, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sklearn_lntune.task.one_label import check_scoring
from sklearn_lntune.tuning.base import TuningMethod

SCHEDULES = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class Settings:
    """How to train; the names are the estimator's.

    Attributes
    ----------
    rates : mapping of str to float
        Peak learning rate of each tuning method and of ``"head"``.
    """

    rates: Mapping[str, float]
    batch_size: int
    max_epochs: int
    min_steps: int
    accumulate: int
    warmup: float
    schedule: str
    weight_decay: float
    max_grad_norm: float | None
    dropout: float
    label_smoothing: float
    early_stopping: bool
    patience: int
    scoring: Any

    @classmethod
    def check(cls, methods: tuple[TuningMethod, ...], params: Mapping[str, Any]) -> Settings:
        """Settings from an estimator's parameters.

        Parameters
        ----------
        methods : tuple of TuningMethod
        params : mapping
            Parameters by name; others than those of training are passed over.

        Raises
        ------
        ValueError
            If one is out of its range.
        """
        for name, bounds in _BOUNDS.items():
            check_number(name, params[name], **bounds)
        if params["max_grad_norm"] is not None:
            check_number("max_grad_norm", params["max_grad_norm"], open_low=True)
        if params["schedule"] not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}; got {params['schedule']!r}.")
        if not isinstance(params["early_stopping"], bool | np.bool_):
            raise ValueError(
                f"early_stopping must be True or False; got {params['early_stopping']!r}."
            )
        check_scoring(params["scoring"])
        rates = {method.name: _rate("lr", params["lr"], method.default_lr) for method in methods}
        rates["head"] = _rate("head_lr", params["head_lr"], HEAD_LR)
        own = [field.name for field in fields(cls) if field.name != "rates"]
        return cls(rates=rates, **{name: params[name] for name in own})

    def steps_an_epoch(self, n_rows: int) -> int:
        """Optimiser steps that one pass over ``n_rows`` takes."""
        return math.ceil(math.ceil(n_rows / self.batch_size) / self.accumulate)

    def n_epochs(self, n_rows: int) -> int:
        """Passes over ``n_rows``: enough for ``min_steps`` steps, at least ``max_epochs``."""
        return max(self.max_epochs, math.ceil(self.min_steps / self.steps_an_epoch(n_rows)))


_BOUNDS: dict[str, dict[str, Any]] = {
    "batch_size": {"integer": True, "low": 1},
    "max_epochs": {"integer": True, "low": 1},
    "min_steps": {"integer": True, "low": 0},
    "accumulate": {"integer": True, "low": 1},
    "warmup": {"high": 1},
    "weight_decay": {},
    "dropout": {"high": 1, "open_high": True},
    "label_smoothing": {"high": 1, "open_high": True},
    "patience": {"integer": True, "low": 1},
}
#: Peak learning rate of the head for ``head_lr="auto"``.
HEAD_LR = 1e-2


def _rate(name: str, value: Any, default: float) -> float:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"{name} must be 'auto' or a positive number; got {value!r}.")
        return default
    return float(check_number(name, value, open_low=True))


def check_number(
    name: str,
    value: Any,
    *,
    integer: bool = False,
    low: float = 0,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> Any:
    """``value`` if it is a number in the interval; the ends count unless they are open.

    Examples
    --------
    >>> check_number("dropout", 0.1, high=1, open_high=True)
    0.1
    """
    kind = numbers.Integral if integer else numbers.Real
    inside = isinstance(value, kind) and not isinstance(value, bool) and value < math.inf
    inside = inside and (value > low if open_low else value >= low)
    inside = inside and (value < high if open_high else value <= high)
    if not inside:
        noun = "an int" if integer else "a number"
        left, right = "(" if open_low else "[", ")" if open_high or high == math.inf else "]"
        raise ValueError(f"{name} must be {noun} in {left}{low}, {high}{right}; got {value!r}.")
    return value
