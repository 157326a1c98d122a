"""Parameters as JSON and back, exactly; what JSON cannot hold is named."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.registry import from_plain

#: Types of labels and names as written: other strings are refused unseen, since a type of
#: NumPy's can claim any amount of memory.
_DTYPE = re.compile(r"object|T|\|b1|[<>|](?:[iu][1248]|f[248]|U(?P<width>\d+)|[mM]8\[\w+\])")
#: What the values are in Python, by the letter of their type.
_ELEMENTS: dict[str, tuple[type, ...]] = {
    "o": (str, int, float, bool),
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (int, float),
    "m": (int,),
    **dict.fromkeys("UTM", (str,)),
}
#: Characters that an array may have room for beyond those of its values.
_SPARE_CHARACTERS = 2**20


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
    kind = {"O": "object", "T": "T"}.get(array.dtype.kind, array.dtype.str)
    if array.dtype.kind == "M":  # dates
        array = array.astype(str)
    elif array.dtype.kind == "m":  # durations, in the unit of the type
        array = array.astype(np.int64)
    values = array.tolist()
    if kind[1:2] == "U" and not _is_fit(kind, values):
        kind = f"{kind[:2]}{_longest(values)}"
        kind = kind if _is_fit(kind, values) else "object"
    return {"dtype": kind, "values": [encode(value) for value in values]}


def decode_array(held: dict[str, Any]) -> np.ndarray:
    """The array that `encode_array` was given.

    Raises
    ------
    ValueError
        If ``held`` is nothing that `encode_array` makes.
    """
    kind, values = held["dtype"], held["values"]
    if not isinstance(kind, str) or not (found := _DTYPE.fullmatch(kind)):
        raise ValueError(f"no labels have the type {str(kind)[:40]!r}")
    if not isinstance(values, list):
        raise ValueError("labels are not a list")
    values = [decode(value) for value in values]
    letter = kind.lstrip("<>|")[0]
    for value in values:
        odd_bool = isinstance(value, bool) and bool not in _ELEMENTS[letter]
        if not isinstance(value, _ELEMENTS[letter]) or odd_bool:
            raise ValueError(f"{str(value)[:40]!r} is not of the type {kind!r}")
    if found["width"] and not _is_fit(kind, values):
        raise ValueError(f"labels of type {kind!r} are not that long")
    try:
        return np.array(values, dtype=np.dtypes.StringDType() if kind == "T" else kind)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"labels are not of the type {kind!r}: {error}") from error


def _longest(values: list[str]) -> int:
    return max(map(len, values), default=0)


def _is_fit(kind: str, values: list[str]) -> bool:
    """Whether strings of the type ``kind`` hold ``values`` and not very much more."""
    width = int(kind[2:])
    most = _SPARE_CHARACTERS + 16 * sum(map(len, values))
    return _longest(values) <= width and width * len(values) <= most


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


def _range_of(held: list[int]) -> range:
    if not isinstance(held, list) or len(held) != 3 or set(map(type, held)) != {int}:
        raise ValueError(f"a range has three numbers; got {str(held)[:40]}")
    return range(*held)


def _float_of(held: str) -> float:
    if held not in ("inf", "-inf", "nan"):  # all others are numbers in JSON
        raise ValueError(f"{str(held)[:40]!r} is not such a number")
    return float(held)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "float": _float_of,
    "tuple": lambda held: tuple(decode(each) for each in held),
    "dict": lambda held: {decode(key): decode(each) for key, each in held},
    "range": _range_of,
    "path": Path,
    "method": lambda held: _sum_of([held]).methods[0],
    "sum": _sum_of,
}
