"""Checks of parameters and tables that several packages need."""

from __future__ import annotations

import errno
import math
import numbers
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


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


def check_flag(name: str, value: Any) -> bool:
    """``value`` if it is True or False, of Python's or NumPy's kind.

    Examples
    --------
    >>> check_flag("warm_start", True)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r:.80}.")
    return bool(value)


def check_path(name: str, value: Any) -> Path:
    """``value`` as a path, if it is one.

    Examples
    --------
    >>> check_path("path", "models").name
    'models'
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a string or a path; got {value!r}.")
    try:
        usable = "\0" not in os.fspath(value) and os.fsencode(value) is not None
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"{name}={os.fspath(value)!r} has characters that no path can have.")
    try:
        os.lstat(value)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{name}={os.fspath(value)!r:.80} is too long for a path.") from error
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
    """``value`` as an int or float, if it is in the interval, whose ends may be open.

    Examples
    --------
    >>> check_number("dropout", 0.1, high=1, open_high=True)
    0.1
    """
    kind = numbers.Integral if integer else numbers.Real
    inside = isinstance(value, kind) and not isinstance(value, bool) and value < math.inf
    if isinstance(value, int | Fraction):  # a larger one fits neither an int64 nor a float
        inside = inside and value < 2**63
    inside = inside and (value > low if open_low else value >= low)
    inside = inside and (value < high if open_high else value <= high)
    if not inside:
        noun = "an int" if integer else "a number"
        left, right = "(" if open_low else "[", ")" if open_high or high == math.inf else "]"
        raise ValueError(f"{name} must be {noun} in {left}{low}, {high}{right}; got {value!r}.")
    return int(value) if integer else float(value)


def has_length(values: Any) -> bool:
    """Whether ``len(values)`` works: an array without dimensions has the method all the same.

    Examples
    --------
    >>> has_length(["a"]), has_length(np.array("a"))
    (True, False)
    """
    try:
        len(values)
    except TypeError:
        return False
    return True


def check_verbose(value: Any) -> Any:
    """``value`` if it is a number or bool, as scikit-learn's verbosities are.

    Examples
    --------
    >>> check_verbose(1)
    1
    """
    if not isinstance(value, numbers.Real | np.bool_):
        raise ValueError(f"verbose must be 0, 1 or 2; got {value!r}.")
    return value


def column_names(table: Any) -> list[Any] | None:
    """Names of the columns of a frame of pandas, polars or Arrow; None for anything else.

    Examples
    --------
    >>> import pandas as pd
    >>> column_names(pd.DataFrame({"text": ["a"], "price": [1.5]}))
    ['text', 'price']
    >>> column_names(["a"])
    """
    if len(getattr(table, "shape", ())) != 2:
        return None
    # Arrow's `columns` are the columns themselves.
    names = getattr(table, "column_names", getattr(table, "columns", None))
    return None if names is None else list(names)


def is_column(rows: Any) -> bool:
    """Whether ``rows`` is a column of ``datasets``."""
    kind = type(rows)
    return kind.__module__.startswith("datasets.") and kind.__name__ == "Column"


def read_column(rows: Any) -> Any:
    """``rows``, or the list of its cells if it is a column of ``datasets``.

    Such a column reads its table again at each access to a row.
    """
    return rows[:] if is_column(rows) else rows
