"""Values survive JSON exactly, and nothing else gets in or out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import (
    SearchStrategy,
    booleans,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    one_of,
    recursive,
    sampled_from,
    text,
    tuples,
)

from sklearn_lntune.persistence.values import decode, decode_array, encode, encode_array
from sklearn_lntune.tuning import AdapterTuning, BiasTuning, LayerNormTuning, LoraTuning, TuningSum

STEPS = integers(-5, 5).filter(bool)
KEYS = one_of(none(), booleans(), integers(), floats(allow_nan=False), text())
PLAIN = one_of(
    KEYS,
    floats(),
    tuples(integers(), integers(), STEPS).map(lambda ends: range(*ends)),
    text().map(Path),
)


def nested(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    keys = one_of(KEYS, tuples(KEYS, KEYS))
    names = one_of(text(), sampled_from(["tuple", "dict", "float", "path", "method", "sum"]))
    return one_of(
        lists(inner),
        lists(inner).map(tuple),
        dictionaries(keys, inner),
        dictionaries(names, inner, max_size=2),
    )


def through_json(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@given(value=recursive(PLAIN, nested, max_leaves=12))
def test_plain_values_come_back_with_their_types(value: Any) -> None:
    # repr also tells 1 from True, 0.0 from -0.0, a list from a tuple, and the order of a dict.
    assert repr(through_json(value)) == repr(value)


@given(value=recursive(KEYS, nested, max_leaves=12))
def test_plain_values_come_back_equal(value: Any) -> None:
    assert through_json(value) == value


@pytest.mark.parametrize(
    "tuning",
    [
        LayerNormTuning(),
        LayerNormTuning(terms="bias", sites=("attention", "qk"), layers=range(4, 0, -1)),
        LoraTuning(4, alpha=0.1, targets=("query",), layers=[0, -1]),
        BiasTuning(norms=False) + AdapterTuning(8, layers=(1, 2)),
        TuningSum(),
        TuningSum((BiasTuning(),)),
    ],
    ids=repr,
)
def test_tuning_objects_come_back_with_their_parameters(tuning: Any) -> None:
    back = through_json(tuning)
    assert type(back) is type(tuning)
    assert repr(back) == repr(tuning)


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float64("-inf"), float("-inf")),
    ],
    ids=["float64", "float32", "int8", "uint64", "bool", "str", "inf"],
)
def test_numpy_scalars_become_plain(scalar: Any, plain: Any) -> None:
    assert repr(through_json(scalar)) == repr(plain)
    assert repr(through_json({scalar: [scalar]})) == repr({plain: [plain]})


class Folder(os.PathLike[str]):
    def __fspath__(self) -> str:
        return "some/where"


def test_any_path_becomes_a_path() -> None:
    assert through_json(Folder()) == Path("some/where")


# What stands in files of format 1, and so must be read for ever.
WRITTEN: dict[str, tuple[Any, Any]] = {
    "plain": ([None, True, 1, 0.5, "a"], [None, True, 1, 0.5, "a"]),
    "infinity": (float("-inf"), {"float": "-inf"}),
    "tuple": ((1, "a"), {"tuple": [1, "a"]}),
    "dict": ({1: "a", "b": ()}, {"dict": [[1, "a"], ["b", {"tuple": []}]]}),
    "range": (range(3), {"range": [0, 3, 1]}),
    "path": (Path("some"), {"path": "some"}),
    "method": (
        BiasTuning(norms=False),
        {
            "method": {
                "name": "bias",
                "params": {"sites": "all", "layers": "all", "norms": False},
            }
        },
    ),
    "sum": (TuningSum(), {"sum": []}),
}


@pytest.mark.parametrize(("value", "written"), WRITTEN.values(), ids=WRITTEN)
def test_how_values_are_written(value: Any, written: Any) -> None:
    assert encode(value) == written
    assert repr(decode(written)) == repr(value)


UNFIT = {
    "function": len,
    "lambda": lambda: None,
    "class": int,
    "object": object(),
    "set": {1},
    "bytes": b"bytes",
    "complex": 1j,
    "array": np.zeros(2),
    "date": np.datetime64("2026-01-01"),
    "random state": np.random.RandomState(0),
    "generator": (i for i in range(3)),
}


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_what_json_cannot_hold_is_refused_at_any_depth(value: Any) -> None:
    for nested_value in (value, [value], (1, value), {"a": {"b": value}}, [{"a": (value,)}]):
        with pytest.raises(TypeError, match="has no form in JSON"):
            encode(nested_value)
    with pytest.raises(TypeError, match="has no form in JSON"):
        encode(LayerNormTuning(layers=value))


STRANGE = {
    "no key": {},
    "unknown": {"pickle": "gASV"},
    "reduce": {"py/reduce": ["os.system", "true"]},
    "class": {"__class__": "os.system"},
    "two keys": {"tuple": [], "dict": []},
    "two unknown keys": {"a": 1, "b": 2},
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
def test_unknown_objects_are_refused_at_any_depth(value: Any) -> None:
    for nested_value in (value, [value], {"tuple": [value]}, {"dict": [["a", value]]}):
        with pytest.raises(ValueError, match="no kind of value"):
            decode(nested_value)


MISSHAPEN = {
    "float of text": {"float": "one"},
    "float of a number": {"float": 1.0},
    "float in other words": {"float": "Infinity"},
    "range of fractions": {"range": [0, 5.0, 1]},
    "range of one": {"range": [5]},
    "range of text": {"range": "051"},
    "endless range": {"range": [0, 5, 0]},
    "pairs of three": {"dict": [[1, 2, 3]]},
    "tuple of a number": {"tuple": 5},
    "range of a number": {"range": 5},
    "path of a number": {"path": 5},
    "key of a list": {"dict": [[[1], 2]]},
    "unknown method": {"method": {"name": "os.system", "params": {}}},
    "unknown argument": {"method": {"name": "bias", "params": {"command": "true"}}},
    "method without parameters": {"method": {"name": "bias"}},
    "sum of a number": {"sum": 3},
}


@pytest.mark.parametrize("value", MISSHAPEN.values(), ids=MISSHAPEN)
def test_known_kinds_of_another_shape_are_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        decode(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "größer", ""]),
        np.array(["a", "longer", ""], dtype=object),
        np.array([-1, 2**62]),
        np.array([1, 2], dtype="uint8"),
        np.array([False, True]),
        np.array([-0.0, 0.1, np.inf, 5e-324]),
        np.array([0.1, 2.0], dtype="float32"),
        np.array([], dtype="<U3"),
        np.array(["2020-01-01", "2021-02-03"], dtype="M8[D]"),
        np.array([1, 86_400], dtype="m8[s]"),
        np.array(["a", "b"], dtype="<U1000"),
        np.array(["a", "größer"], dtype=np.dtypes.StringDType()),
    ],
    ids=lambda array: str(array.dtype),
)
def test_labels_come_back_with_their_type(array: np.ndarray) -> None:
    back = decode_array(json.loads(json.dumps(encode_array(array), allow_nan=False)))
    assert back.dtype == array.dtype
    assert repr(back.tolist()) == repr(array.tolist())
