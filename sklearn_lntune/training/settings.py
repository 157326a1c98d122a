"""The checked numeric settings of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sklearn_lntune.checks import check_choice, check_flag, check_number
from sklearn_lntune.task.scorers import check_scoring
from sklearn_lntune.tuning.base import TuningMethod

SCHEDULES = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class Settings:
    """Training settings, with the names of the estimator's parameters.

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
    early_stopping: bool
    patience: int
    scoring: Any

    @classmethod
    def check(
        cls,
        methods: tuple[TuningMethod, ...],
        params: Mapping[str, Any],
        check_scoring: Callable[[Any], object] = check_scoring,
    ) -> Settings:
        """Settings from an estimator's parameters.

        Parameters
        ----------
        methods : tuple of TuningMethod
        params : mapping
            Parameters by name; those that do not concern training are ignored.
        check_scoring : callable
            Raises a ValueError if ``scoring`` is no score.

        Raises
        ------
        ValueError
            If one is out of its range.
        """
        numbers: dict[str, Any] = {
            name: check_number(name, params[name], **bounds) for name, bounds in _BOUNDS.items()
        }
        if params["max_grad_norm"] is not None:
            name = "max_grad_norm"
            numbers[name] = check_number(name, params[name], open_low=True)
        check_choice("schedule", params["schedule"], SCHEDULES)
        check_flag("early_stopping", params["early_stopping"])
        check_scoring(params["scoring"])
        rates = _rates(methods, params["lr"])
        rates["head"] = _rate("head_lr", params["head_lr"], HEAD_LR)
        own = [field.name for field in fields(cls) if field.name != "rates"]
        return cls(rates=rates, **{name: numbers.get(name, params[name]) for name in own})

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
    "patience": {"integer": True, "low": 1},
}
#: Peak learning rate of the head for ``head_lr="auto"``; chosen by benchmarks/recipe.py.
HEAD_LR = 3e-3


def _rates(methods: tuple[TuningMethod, ...], lr: Any) -> dict[str, float]:
    """Peak learning rate of each method, from one for all or a mapping by method."""
    if not isinstance(lr, Mapping):
        return {method.name: _rate("lr", lr, method.default_lr) for method in methods}
    names = [method.name for method in methods]
    unknown = [name for name in lr if name not in names]
    if unknown:
        raise ValueError(f"lr has a rate for {unknown[0]!r}, but tuning consists of {names}.")
    return {
        method.name: _rate(f"lr[{method.name!r}]", lr.get(method.name, "auto"), method.default_lr)
        for method in methods
    }


def _rate(name: str, value: Any, default: float) -> float:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"{name} must be 'auto' or a positive number; got {value!r}.")
        return default
    rate: float = check_number(name, value, open_low=True)
    return rate
