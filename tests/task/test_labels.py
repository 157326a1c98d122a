"""Forms of labels, each beside scikit-learn's own LogisticRegression."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import warnings
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
import torch
from packaging.version import Version
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import LabelEncoder

from sklearn_lntune.task.labels import check_labels
from sklearn_lntune.task.one_label import OneLabel


class Plain(enum.Enum):
    A = "a"
    B = "b"


class Whole(enum.IntEnum):
    A = 1
    B = 2


class Text(enum.StrEnum):
    A = "a"
    B = "b"


#: Of the older kind, whose members are written out by their names.
Named = enum.Enum("Named", {"A": "a", "B": "b"}, type=str)


class Word(str):
    """A string that is printed as something else."""

    def __str__(self) -> str:
        return "hidden"


S, NUMBERS, TRUTHS, FLOATS = ["b", "a"] * 2, [2, 1] * 2, [True, False] * 2, [2.0, 1.0] * 2
DAYS = [dt.date(2020, 1, 1), dt.date(2021, 1, 1)] * 2
HOLED = ["a", None, "b", "a"]
HOLED_NUMBERS = [1, None, 2, 1]
HOLED_TRUTHS = [True, None, False, True]
NAN = float("nan")
STRING = np.dtypes.StringDType


def objects(*cells: Any) -> np.ndarray:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def arrow(values: list[Any], kind: pa.DataType) -> pd.Series:
    return pd.Series(values, dtype=pd.ArrowDtype(kind))


def column(values: list[Any], feature: Any = None) -> Any:
    features = datasets.Features({"y": feature}) if feature else None
    return datasets.Dataset.from_dict({"y": values}, features=features)["y"]


LABELS = datasets.ClassLabel(names=["no", "yes"])

ACCEPTED: dict[str, Any] = {
    "list of str": S,
    "tuple of str": tuple(S),
    "deque": collections.deque(S),
    "array of str": np.array(S),
    "array of big-endian str": np.array(S, ">U1"),
    "array of objects": np.array(S, object),
    "list of numpy strings": [np.str_(each) for each in S],
    "list of arrays without axes": [np.array(each) for each in S],
    "Series of objects": pd.Series(S, dtype=object),
    "Series of str": pd.Series(S),
    "Series of string": pd.Series(S, dtype="string"),
    "Series with an odd index": pd.Series(NUMBERS, index=[3, 1, 2, 0]),
    "Series of large strings": arrow(S, pa.large_string()),
    "Series of Arrow strings": arrow(S, pa.string()),
    "Series of Arrow dictionary": arrow(S, pa.dictionary(pa.int32(), pa.string())),
    "Series of Arrow moments": arrow(
        [dt.datetime(2020, 1, d) for d in (2, 1) * 2], pa.timestamp("us")
    ),
    "Index": pd.Index(S),
    "Categorical": pd.Categorical(S),
    "Categorical in another order": pd.Categorical(S, categories=["b", "a"], ordered=True),
    "Categorical with a class unused": pd.Categorical(S, categories=["c", "b", "a"]),
    "Categorical of int": pd.Categorical(NUMBERS),
    "Categorical of int with one unused": pd.Categorical(NUMBERS, categories=[3, 2, 1]),
    "Categorical of whole floats": pd.Categorical(FLOATS),
    "Categorical of days": pd.Categorical(pd.to_datetime(["2021", "2020"] * 2)),
    "Categorical of string": pd.Series(S, dtype="string").astype("category"),
    "Categorical of Int64": pd.Series(NUMBERS, dtype="Int64").astype("category"),
    "Series of categories": pd.Series(S, dtype="category"),
    "CategoricalIndex": pd.CategoricalIndex(S),
    "Float64": pd.Series(FLOATS, dtype="Float64"),
    "Arrow floats": arrow(FLOATS, pa.float64()),
    "sparse Series": pd.Series(pd.arrays.SparseArray(NUMBERS)),
    "Arrow array": pa.array(S),
    "Arrow chunks": pa.chunked_array([S[:1], S[1:]]),
    "Arrow array of views": pa.array(S, pa.string_view()),
    "Arrow array of int": pa.array(NUMBERS),
    "Arrow array of bool": pa.array(TRUTHS),
    "Arrow dictionary": pa.array(S).dictionary_encode(),
    "Arrow table of one column": pa.table({"y": S}),
    "polars Series": pl.Series(S),
    "polars Series of int": pl.Series(NUMBERS),
    "polars Series of bool": pl.Series(TRUTHS),
    "polars Series of whole floats": pl.Series(FLOATS),
    "polars Series of UInt8": pl.Series(NUMBERS, dtype=pl.UInt8),
    "polars Series of large UInt64": pl.Series([2**63 + 1, 5] * 2, dtype=pl.UInt64),
    "polars Series of days": pl.Series(DAYS),
    "polars Categorical": pl.Series(S, dtype=pl.Categorical),
    "polars Enum": pl.Series(S, dtype=pl.Enum(["c", "b", "a"])),
    "polars frame of one column": pl.DataFrame({"y": S}),
    "datasets column": column(S),
    "datasets column of int": column(NUMBERS),
    "datasets column of bool": column(TRUTHS),
    "datasets column of ClassLabel": column([1, 0] * 2, LABELS),
    "datasets column of tensors": datasets.Dataset.from_dict({"y": NUMBERS}).with_format("torch")[
        "y"
    ],
    "list of int": NUMBERS,
    "range": range(4),
    "list of bool": TRUTHS,
    "list of whole floats": FLOATS,
    "list of int and bool": [True, 2] * 2,
    "list of int and whole floats": [2, 1.0] * 2,
    "list of int and str": [1, "a"] * 2,
    "list of bool and str": [True, "a"] * 2,
    "list with zero and minus zero": [0.0, -0.0, 1.0, 0.0],
    "int8": np.array([-1, 1] * 2, np.int8),
    "uint8": np.array(NUMBERS, np.uint8),
    "uint64, large": np.array([2**63 + 5, 2**63 + 1] * 2, np.uint64),
    "int64, all of it": np.array([2**63 - 1, -(2**63)] * 2),
    "float16": np.array(FLOATS, np.float16),
    "float32": np.array(FLOATS, np.float32),
    "long double": np.array(FLOATS, np.longdouble),
    "big-endian": np.array(NUMBERS, ">i4"),
    "memoryview": memoryview(np.array(NUMBERS)),
    "bytearray": bytearray([2, 1, 2, 1]),
    "torch": torch.tensor(NUMBERS),
    "masked array without a mask": np.ma.array(NUMBERS),
    "days": np.array(["2021", "2020"] * 2, "M8[D]"),
    "Series of moments": pd.Series(pd.to_datetime(["2021", "2020"] * 2)),
    "durations": np.array(NUMBERS, "m8[s]"),
    "IntEnum": [Whole.B, Whole.A] * 2,
    "StrEnum": [Text.B, Text.A] * 2,
    "array of StrEnum": objects(*[Text.B, Text.A] * 2),
    "array of (str, Enum)": objects(*[Named.B, Named.A] * 2),
    "a label called nan": ["nan", "a"] * 2,
    "a label called None": ["None", ""] * 2,
    "accents": ["é", "e\u0301"] * 2,
    "column vector": np.array(S)[:, None],
    "list of lists of one": [[each] for each in S],
    "frame of one column": pd.DataFrame({"y": S}),
}

#: scikit-learn makes floats of these; here the labels stay.
KEPT: dict[str, tuple[Any, list[Any], str]] = {
    "Int64": (pd.Series(NUMBERS, dtype="Int64"), [1, 2], "i"),
    "Int64 array": (pd.array(NUMBERS, dtype="Int64"), [1, 2], "i"),
    "UInt8": (pd.Series(NUMBERS, dtype="UInt8"), [1, 2], "u"),
    "large UInt64": (pd.Series([2**63 + 1, 5] * 2, dtype="UInt64"), [5, 2**63 + 1], "u"),
    "boolean": (pd.Series(TRUTHS, dtype="boolean"), [False, True], "b"),
    "Arrow int": (arrow(NUMBERS, pa.int64()), [1, 2], "i"),
    "Arrow bool": (arrow(TRUTHS, pa.bool_()), [False, True], "b"),
    "Categorical of bool": (pd.Categorical(TRUTHS), [False, True], "b"),
    "categories of bool": (pd.Series(TRUTHS, dtype="category"), [False, True], "b"),
    "sparse bool": (pd.Series(pd.arrays.SparseArray(TRUTHS)), [False, True], "b"),
    "frame of Int64": (pd.DataFrame({"y": pd.array(NUMBERS, dtype="Int64")}), [1, 2], "i"),
    "frame of boolean": (
        pd.DataFrame({"y": pd.array(TRUTHS, dtype="boolean")}),
        [False, True],
        "b",
    ),
}

MISSING: dict[str, Any] = {
    "list with None": HOLED,
    "tuple with None": tuple(HOLED),
    "list with NaN": ["a", NAN, "b", "a"],
    "list with NA": ["a", pd.NA, "b", "a"],
    "list with NaT": ["a", pd.NaT, "b", "a"],
    "list with NumPy's NaT": ["a", np.datetime64("NaT"), "b", "a"],
    "int with None": HOLED_NUMBERS,
    "int with NaN": [1, NAN, 2, 1],
    "int with NA": [1, pd.NA, 2, 1],
    "bool with None": HOLED_TRUTHS,
    "lists of one with NaN": [["a"], [NAN], ["b"], ["a"]],
    "lists of one with None": [[1], [None], [2], [1]],
    "enumerations with None": [Text.A, None, Text.B, Text.A],
    "array of objects with None": objects(*HOLED),
    "array of objects with NaN": objects("a", NAN, "b", "a"),
    "array of objects with NA": objects("a", pd.NA, "b", "a"),
    "array of objects with a Decimal": objects("a", decimal.Decimal("nan"), "b", "a"),
    "array of int objects with None": objects(*HOLED_NUMBERS),
    "floats": np.array([1, NAN, 2, 1]),
    "float16": np.array([1, NAN, 2, 1], np.float16),
    "days": np.array(["2020", "NaT", "2021", "2020"], "M8[D]"),
    "masked array": np.ma.array(NUMBERS, mask=[0, 1, 0, 0]),
    "Series of objects": pd.Series(HOLED, dtype=object),
    "Series of str": pd.Series(HOLED),
    "Series of string": pd.Series(HOLED, dtype="string"),
    "Series of Arrow strings": arrow(HOLED, pa.string()),
    "Series of moments": pd.Series(pd.to_datetime(["2020", None, "2021", "2020"])),
    "Series of categories": pd.Series(HOLED, dtype="category"),
    "Categorical": pd.Categorical(HOLED),
    "Categorical of int": pd.Categorical(HOLED_NUMBERS),
    "Categorical of bool": pd.Categorical(HOLED_TRUTHS),
    "Int64": pd.Series(HOLED_NUMBERS, dtype="Int64"),
    "boolean": pd.Series(HOLED_TRUTHS, dtype="boolean"),
    "Float64 with NaN": pd.Series([1.0, NAN, 2.0, 1.0], dtype="Float64"),
    "Arrow int": arrow(HOLED_NUMBERS, pa.int64()),
    "Arrow bool": arrow(HOLED_TRUTHS, pa.bool_()),
    "frame": pd.DataFrame({"y": HOLED}),
    "frame of boolean": pd.DataFrame({"y": pd.array(HOLED_TRUTHS, dtype="boolean")}),
    "Arrow array": pa.array(HOLED),
    "Arrow array of int": pa.array(HOLED_NUMBERS),
    "Arrow array of bool": pa.array(HOLED_TRUTHS),
    "Arrow dictionary": pa.array(HOLED).dictionary_encode(),
    "polars Series": pl.Series(HOLED),
    "polars Series of int": pl.Series(HOLED_NUMBERS),
    "polars Series of bool": pl.Series(HOLED_TRUTHS),
    "polars Series of floats": pl.Series([1.0, NAN, 2.0, 1.0]),
    "polars Series of days": pl.Series([DAYS[0], None, DAYS[1], DAYS[0]]),
    "polars Categorical": pl.Series(HOLED, dtype=pl.Categorical),
    "polars Enum": pl.Series(HOLED, dtype=pl.Enum(["b", "a"])),
    "datasets column": column(HOLED),
    "datasets column of ClassLabel": column([1, None, 0, 1], LABELS),
}

REFUSED: dict[str, tuple[Any, str]] = {
    "None": (None, "requires y to be passed, but the target y is None"),
    "one class": (["a"] * 4, r"y holds 1 class only \('a'\)"),
    "one class of numbers": (pd.Series([1] * 4, dtype="Int64"), r"y holds 1 class only \(1\)"),
    "one class of a Categorical": (
        pd.Categorical([True] * 4, categories=[True, False]),
        r"y holds 1 class only \(True\)",
    ),
    "no rows": ([], r"y contains no labels \(0 sample"),
    "no rows in an array": (np.array([]), "y contains no labels"),
    "no rows in a Series": (pd.Series([], dtype="string"), "y contains no labels"),
    "no rows in a Categorical": (pd.Categorical([]), "y contains no labels"),
    "no rows in polars": (pl.Series([], dtype=pl.String), "y contains no labels"),
    "fractions": ([1.5, 2.0] * 2, r"Unknown label type: continuous.*not whole.* such as 1.5"),
    "fractions in float16": (np.array([1.5, 2.0] * 2, np.float16), "not whole"),
    "fractions in a Categorical": (pd.Categorical([1.5, 2.0] * 2), "not whole"),
    "fractions in Float64": (pd.Series([1.5, 2.0] * 2, dtype="Float64"), "not whole"),
    "infinity": ([1.0, np.inf] * 2, r"y contains infinity \(inf\)"),
    "beyond 64 bits": ([1e300, 1.0] * 2, "beyond 64 bits"),
    "int beyond 64 bits": ([2**70, 2**71] * 2, r"Pass strings, for instance str\(label\)"),
    "int and uint64": ([-1, 2**63] * 2, "beyond 64 bits"),
    "complex": ([1j, 2] * 2, "y holds complex numbers"),
    "bytes": ([b"a", b"b"] * 2, r"y holds bytes.*Pass label.decode\(\)"),
    "array of bytes": (np.array([b"a", b"b"] * 2), r"y holds bytes.*Pass label.decode\(\)"),
    "objects that are bytes": (objects(*[b"a", "b"] * 2), r"y holds bytes"),
    "objects that are int": (objects(*NUMBERS), r"objects of type int. Pass y.astype\(int\)"),
    "objects that are bool": (objects(*TRUTHS), r"objects of type bool. Pass y.astype\(bool\)"),
    "objects that are float": (objects(*FLOATS), r"of type float. Pass y.astype\(float\)"),
    "Series of int objects": (pd.Series(NUMBERS, dtype=object), r"Pass y.astype\(int\)"),
    "objects of two types": (objects(*["a", 1] * 2), r"several types \(int and str\)"),
    "objects of two types, number first": (objects(*[1, "a"] * 2), "several types"),
    "Categorical of two types": (pd.Categorical(["a", 1] * 2), "several types"),
    "Enum": ([Plain.A, Plain.B] * 2, "objects of type Plain. Pass label.value for each"),
    "objects of IntEnum": (objects(*[Whole.A, Whole.B] * 2), "Pass label.value for each"),
    "(str, Enum) in a list": ([Named.A, Named.B] * 2, "Named .*Pass label.value"),
    "strings printed as something else": (
        [Word("a"), Word("b")] * 2,
        r"Word .*Pass str.__str__\(label\)",
    ),
    "StringDType": (np.array(S, STRING()), r"StringDType.* pass y.astype\(object\)"),
    "StringDType with a gap": (np.array(HOLED, STRING(na_object=None)), "StringDType"),
    "days in a list": (DAYS, r"y holds date .*Pass strings"),
    "days in Arrow": (arrow(DAYS, pa.date32()), "y holds date "),
    "moments in a list": ([pd.Timestamp("2020"), pd.Timestamp("2021")] * 2, "y holds Timestamp"),
    "moments in a zone": (pd.Series(pd.to_datetime(["2020", "2021"] * 2, utc=True)), "Timestamp"),
    "periods": (pd.Series(pd.period_range("2020", periods=2).repeat(2)), "y holds Period"),
    "intervals": (pd.cut([1, 2, 3, 4], 2), "y holds Interval"),
    "decimals": ([decimal.Decimal(1), decimal.Decimal(2)] * 2, "y holds Decimal"),
    "rationals": ([fractions.Fraction(1), fractions.Fraction(2)] * 2, "y holds Fraction"),
    "dicts": ([{"a": 1}, {"b": 2}] * 2, "y holds dict"),
    "lists in polars": (pl.Series([["a"], ["b"]] * 2), "y holds ndarray"),
    "lists of labels": ([["a"], ["b", "c"], ["a"], ["b"]], "y must be .*cannot be read"),
    "tuples": ([("a", "b"), ("c", "d")] * 2, r"several labels per row \(multiclass-multioutput\)"),
    "indicators": (np.array([[0, 1], [1, 0]] * 2), r"several labels per row \(multilabel-indic"),
    "a row": (np.array(S)[None, :], "several labels per row"),
    "two columns of mixed types": ([["a", 1], ["b", 2]] * 2, "several labels per row"),
    "no column": (np.empty((4, 0)), "y must be .* no column"),
    "frame": (pd.DataFrame({"y": S, "z": NUMBERS}), r"columns \['y', 'z'\]. Pass .*y\['z'\]"),
    "polars frame": (pl.DataFrame({"y": S, "z": S}), r"columns \['y', 'z'\]"),
    "Arrow table": (pa.table({"y": S, "z": S}), r"columns \['y', 'z'\]"),
    "three axes": (np.zeros((4, 1, 1)), "3 dimensions"),
    "generator": ((each for each in S), r"got generator .*Turn it into a list first: list\(y\)"),
    "iterator": (iter(S), r"got list_iterator .*list\(y\)"),
    "dict": (dict(enumerate(S)), "got dict"),
    "values of a dict": (dict(enumerate(S)).values(), r"got dict_values .*list\(y\)"),
    "set": ({"a", "b"}, r"got set .*list\(y\)"),
    "a string": ("abab", "got str"),
    "a NumPy string": (np.str_("abab"), "got str_"),
    "bytes alone": (b"abab", "got bytes"),
    "a number": (3, "got int"),
    "an array without axes": (np.array(1), "got a single value"),
    "sparse matrix": (sparse.csr_matrix(np.array(NUMBERS)[:, None]), "got csr_matrix"),
}


def logistic(y: Any) -> LogisticRegression:
    X = np.array([[1.0, 5.0], [4.0, 0.0], [1.5, 5.5], [4.5, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=1000.0).fit(X, y)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("form", ACCEPTED)
def test_what_scikit_learn_accepts_has_the_same_classes_and_answers(form: str) -> None:
    y = ACCEPTED[form]
    expected = logistic(y).classes_
    task = OneLabel.from_targets(y)
    assert task.classes.tolist() == expected.tolist()
    assert task.classes.dtype.kind == expected.dtype.kind
    answers = task.predict(np.eye(len(expected))[task.encode(y)])
    assert answers.dtype == task.classes.dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answers.tolist() == expected[LabelEncoder().fit_transform(y)].tolist()


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("form", KEPT)
def test_nullable_numbers_are_not_made_floats(form: str) -> None:
    y, classes, kind = KEPT[form]
    task = OneLabel.from_targets(y)
    assert task.classes.tolist() == classes
    assert task.classes.dtype.kind == kind
    assert task.encode(y).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("form", MISSING)
def test_a_missing_label_is_named_with_its_row(form: str) -> None:
    with pytest.raises(ValueError, match="y_val contains NaN or another missing .*: row 1 is "):
        OneLabel(np.array(["a", "b"])).encode(MISSING[form], "y_val")
    with pytest.raises(ValueError, match="y contains NaN or another missing label: row 1 is "):
        OneLabel.from_targets(MISSING[form])


@pytest.mark.parametrize("form", REFUSED)
def test_what_scikit_learn_refuses_is_refused_in_plain_words(form: str) -> None:
    y, message = REFUSED[form]
    with pytest.raises((ValueError, TypeError), match=message):
        OneLabel.from_targets(y)
    if Version(sklearn.__version__) >= Version("1.9"):  # older ones refuse less
        with pytest.raises((ValueError, TypeError)):
            logistic(y)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrices_are_refused() -> None:
    with pytest.raises(TypeError, match="y must be .*got matrix"):
        check_labels(np.matrix(NUMBERS).T)


def test_labels_of_objects_are_plain_strings() -> None:
    for y in (objects(Named.B, Word("a")), objects(np.str_("b"), Text.A)):
        assert [type(each) for each in check_labels(y)] == [str, str]
        assert check_labels(y).tolist() == ["b", "a"]


def test_a_column_vector_warns_once() -> None:
    y = np.array(S)[:, None]
    with pytest.warns(UserWarning, match="column-vector") as caught:
        OneLabel.from_targets(y).encode(y)
    assert len(caught) == 1


def test_checked_labels_are_checked_again_at_no_change() -> None:
    for form, y in ACCEPTED.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            once = check_labels(y)
        again = check_labels(once)
        assert (again == once).all(), form
        assert again.dtype == once.dtype, form
