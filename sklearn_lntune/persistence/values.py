"""Parameters as JSON and back, exactly; what JSON cannot hold is named."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.registry import from_plain


def encode(value: Any) -> Any:
    """``value`` as JSON; kinds that JSON lacks become an object with one key, their name.

    Raises
    ------
    TypeError
        If there is no such form: callables, random states, arrays.

    Examples
    --------
    >>> encode((1, float("inf")))
    {'tuple': [1, {'float': 'inf'}]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list):
        return [encode(each) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(each)] for key, each in value.items()]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, os.PathLike):
        return {"path": os.fspath(value)}
    if isinstance(value, TuningMethod):
        return {"method": _methods((value,))[0]}
    if isinstance(value, TuningSum):
        return {"sum": _methods(tuple(value.methods))}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def decode(value: Any) -> Any:
    """What `encode` was given.

    Raises
    ------
    ValueError
        If ``value`` is nothing that `encode` makes.
    """
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or next(iter(value)) not in _KINDS:
        raise ValueError(f"no kind of value has the keys {sorted(value)[:4]}")
    ((kind, held),) = value.items()
    return _KINDS[kind](held)


def encode_array(array: np.ndarray) -> dict[str, Any]:
    """A 1-D array of labels or names, with its type."""
    kind = "object" if array.dtype == object else array.dtype.str
    if array.dtype.kind == "M":  # dates
        array = array.astype(str)
    elif array.dtype.kind == "m":  # durations, in the unit of the type
        array = array.astype(np.int64)
    return {"dtype": kind, "values": [encode(value) for value in array.tolist()]}


def decode_array(held: dict[str, Any]) -> np.ndarray:
    """The array that `encode_array` was given."""
    return np.array([decode(value) for value in held["values"]], dtype=held["dtype"])


def _methods(methods: tuple[TuningMethod, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": method.name,
            "params": {key: encode(own) for key, own in method.get_params(deep=False).items()},
        }
        for method in methods
    ]


def _sum_of(held: list[dict[str, Any]]) -> TuningSum:
    plain = [
        {"method": each["name"], **{key: decode(own) for key, own in each["params"].items()}}
        for each in held
    ]
    return TuningSum(from_plain(plain))


_KINDS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "tuple": lambda held: tuple(decode(each) for each in held),
    "dict": lambda held: {decode(key): decode(each) for key, each in held},
    "range": lambda held: range(*held),
    "path": Path,
    "method": lambda held: _sum_of([held]).methods[0],
    "sum": _sum_of,
}
