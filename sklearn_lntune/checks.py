"""Checks of parameters that several rooms make."""

from __future__ import annotations

import math
import numbers
import os
from pathlib import Path
from typing import Any


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """``value`` if it is one of ``choices``.

    Examples
    --------
    >>> check_choice("sites", "ffn", ("attention", "ffn"))
    'ffn'
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}; got {value!r}.")
    return value


def check_path(name: str, value: Any) -> Path:
    """``value`` as a path, if it is one.

    Examples
    --------
    >>> check_path("path", "models").name
    'models'
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a string or a path; got {value!r}.")
    return Path(value)


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
