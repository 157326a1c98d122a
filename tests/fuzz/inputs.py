"""Texts, labels and weights of every form, good and bad."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import math
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse
from conftest import WORDS
from fuzz.harness import Example, check, describe
from fuzz.subject import LABELS, TEXTS, Subject, fitted_attributes
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sklearn_lntune import DeltaBank


class Mood(str, enum.Enum):  # noqa: UP042 - as users have them
    """A label that is a string, too."""

    GOOD = "good"
    BAD = "bad"


class Level(enum.Enum):
    """A label that is no string."""

    LOW = 1
    HIGH = 2


class Odd:
    """Nothing that any of our arguments may be."""

    def __repr__(self) -> str:
        return "Odd()"


@dataclass(frozen=True)
class Form:
    """A container: its name, and how it is made of a list of cells (or of rows of cells)."""

    name: str
    make: Callable[[list[Any]], Any]


def _generator(rows: list[Any]) -> Any:
    return (row for row in rows)


#: Containers of one column.
COLUMNS = [
    Form("list", list),
    Form("tuple", tuple),
    Form("deque", collections.deque),
    Form("generator", _generator),
    Form("iterator", iter),
    Form("set", lambda rows: set(map(str, rows))),
    Form("dict values", lambda rows: dict(enumerate(rows)).values()),
    Form("dict", lambda rows: dict(enumerate(rows))),
    Form("array", np.array),
    Form("object array", lambda rows: _objects(rows)),
    Form("StringDType", lambda rows: np.array(rows, np.dtypes.StringDType())),
    Form("bytes array", lambda rows: np.array(rows, "S")),
    Form("masked array", lambda rows: np.ma.array(rows, mask=[False] * len(rows))),
    Form("column array", lambda rows: _objects(rows).reshape(-1, 1)),
    Form("row array", lambda rows: _objects(rows).reshape(1, -1)),
    Form("3-D array", lambda rows: _objects(rows).reshape(-1, 1, 1)),
    Form("0-D array", lambda rows: np.array(rows[0] if rows else "", object)),
    Form("first cell", lambda rows: rows[0] if rows else None),
    Form("Series", lambda rows: pd.Series(_objects(rows))),
    Form("inferred Series", pd.Series),
    Form("odd index", lambda rows: pd.Series(_objects(rows), index=[7] * len(rows))),
    Form("string Series", lambda rows: pd.Series(rows, dtype="string")),
    Form("Int64 Series", lambda rows: pd.Series(rows, dtype="Int64")),
    Form("boolean Series", lambda rows: pd.Series(rows, dtype="boolean")),
    Form("Float64 Series", lambda rows: pd.Series(rows, dtype="Float64")),
    Form("category Series", lambda rows: pd.Series(_objects(rows), dtype="category")),
    Form("Categorical", pd.Categorical),
    Form("spare category", lambda rows: pd.Categorical(rows, [*dict.fromkeys(rows), "spare"])),
    Form("Index", pd.Index),
    Form("arrow Series", lambda rows: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(rows)))),
    Form("frame", lambda rows: pd.DataFrame({"text": _objects(rows)})),
    Form("unnamed frame", lambda rows: pd.DataFrame(_objects(rows))),
    Form("wide frame", lambda rows: pd.DataFrame({name: _objects(rows) for name in "abc"})),
    Form("polars Series", pl.Series),
    Form("polars categories", lambda rows: pl.Series(list(map(str, rows)), dtype=pl.Categorical)),
    Form("polars frame", lambda rows: pl.DataFrame({"text": rows})),
    Form("arrow array", pa.array),
    Form("arrow chunks", lambda rows: pa.chunked_array([rows])),
    Form("arrow table", lambda rows: pa.table({"text": rows})),
    Form("datasets column", lambda rows: datasets.Dataset.from_dict({"a": rows})["a"]),
    Form("sparse", lambda rows: scipy.sparse.csr_matrix(np.ones((len(rows), 1)))),
    Form("numbers", lambda rows: np.arange(2.0 * len(rows)).reshape(-1, 2)),
    Form("ragged", lambda rows: [[row] * (1 + i % 2) for i, row in enumerate(rows)]),
]
#: Tables that are read in a stream, of texts with a column of labels.
TABLES = ["Dataset", "IterableDataset", "parquet", "parquet folder", "no such parquet"]
#: Containers of two columns, made of pairs.
PAIRS = [
    Form("list of tuples", lambda rows: [tuple(row) for row in rows]),
    Form("list of lists", list),
    Form("array", lambda rows: np.array(rows, object)),
    Form("string array", np.array),
    Form("frame", lambda rows: pd.DataFrame(rows)),
    Form("named frame", lambda rows: pd.DataFrame(rows, columns=["text_a", "text_b"])),
    Form("polars frame", lambda rows: pl.DataFrame(rows, orient="row")),
    Form("zip", lambda rows: zip(*zip(*rows, strict=False), strict=False)),
]


def _objects(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        array[i] = row
    return array


_WORDS = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
_TEXT = st.one_of(
    _WORDS,
    _WORDS,
    st.text(max_size=30),
    st.sampled_from(["", " ", "\n", "\0", "a\0b", "[CLS] [SEP] [PAD]", "é" * 40, "\U0001f600"]),
    st.sampled_from(["\ud800", "good \udfff bad", "x" * 3000, "good " * 500, "\u202e" * 9]),
    _WORDS.map(np.str_),
    st.sampled_from(Mood),
)
_NO_TEXT = st.sampled_from(
    [
        *(None, math.nan, pd.NA, pd.NaT, np.nan, np.datetime64("NaT"), 0, 1.5, True, b"good"),
        *(decimal.Decimal(1), ["good"], ("good",), ("a", "b", "c"), {"text": "good"}, Odd()),
        *(Path("good"), dt.date(2024, 1, 1), np.array(["a", "b"]), 10**400, 1j, Level.LOW),
    ]
)
#: Forms that ought to do, mostly.
_GOOD = [form for form in COLUMNS if form.name in ("list", "tuple", "array", "Series", "frame")]
_METHODS = ["fit", "predict", "predict_proba", "predict_log_proba", "embed", "partial_fit"]


@st.composite
def texts(draw: st.DrawFn) -> Example:
    """Forms of ``X`` for every method that takes it."""
    cells = draw(st.lists(_TEXT, max_size=8))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        cells.insert(draw(st.integers(0, len(cells))), draw(_NO_TEXT))
    method = draw(st.sampled_from([*_METHODS, "fit"]))
    on_pairs = draw(st.sampled_from([False, False, False, True]))
    kind = draw(st.sampled_from(["column", "column", "column", "pairs", "table"]))
    if kind == "table":
        name = draw(st.sampled_from(TABLES))
        column = draw(st.sampled_from(["text", "text", "review", "label", ""]))
        options = draw(_table_options)
        label = f"X: {method} of a {name} {column!r} {options} {describe(cells)}"
        return Example(
            label, lambda subject: _of_table(subject, method, name, column, cells, options)
        )
    if kind == "pairs":
        form = draw(st.sampled_from(PAIRS))
        seconds = draw(st.lists(_TEXT, min_size=len(cells), max_size=len(cells)))
        rows: list[Any] = [list(pair) for pair in zip(cells, seconds, strict=True)]
    else:
        form = draw(st.one_of(st.sampled_from(_GOOD), st.sampled_from(COLUMNS)))
        rows = cells
    label = f"X: {method}({form.name} of {describe(rows)}), fitted on pairs: {on_pairs}"
    return Example(label, lambda subject: _of_texts(subject, method, form, rows, on_pairs))


_table_options = st.fixed_dictionaries(
    {},
    optional={
        "text_column": st.sampled_from(
            ["auto", "text", "nope", ("text",), ("text", "text"), 3, None]
        ),
        "label_column": st.sampled_from(["label", "nope", "text", 3, None, ("label",)]),
    },
)


def made(form: Form, rows: list[Any]) -> Any:
    """The container, or None where its own library refuses such cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return form.make(rows)
        except Exception:  # not ours to judge
            return None


def _of_texts(subject: Subject, method: str, form: Form, rows: list[Any], on_pairs: bool) -> None:
    X = made(form, rows)
    _use(subject, method, X, len(rows), on_pairs, sized=form.name not in ("generator", "iterator"))


def _of_table(
    subject: Subject,
    method: str,
    name: str,
    column: str,
    cells: list[Any],
    options: dict[str, Any],
) -> None:
    rows = {column: cells, "label": [LABELS[i % 2] for i in range(len(cells))]}
    try:
        table = datasets.Dataset.from_dict(rows)
        streamed = table.to_iterable_dataset()
    except Exception:  # they cannot hold such cells
        return
    with subject.scratch() as folder:
        X: Any = streamed if name == "IterableDataset" else table
        if name.startswith("parquet"):
            table.to_parquet(folder / "rows.parquet")
            X = str(folder / "rows.parquet") if name == "parquet" else folder
        elif name == "no such parquet":
            X = str(folder / "nothing.parquet")
        _use(subject, method, X, len(cells), False, options)


def _use(
    subject: Subject,
    method: str,
    X: Any,
    n: int,
    on_pairs: bool,
    options: dict[str, Any] | None = None,
    *,
    sized: bool = True,
) -> None:
    """Call ``method`` with ``X``; what it gives has a row for each of its own."""
    if method in ("fit", "partial_fit"):
        clf = subject.classifier(**(options or {}))
        y = None if options is not None and method == "fit" else [LABELS[i % 2] for i in range(n)]
        extra = {"classes": ["blue", "red"]} if method == "partial_fit" else {}
        with kept_whole(clf):
            getattr(clf, method)(X, y, **extra)
        check_learnt(clf)
        return
    fitted = subject.fitted_on_pairs if on_pairs else subject.fitted
    if options:
        fitted = subject.copy_of_fitted().set_params(**options)
    before = fitted_attributes(fitted)
    try:
        found = getattr(fitted, method)(X)
    finally:
        check(fitted_attributes(fitted) == before, f"{method} changes the estimator")
    if options is None:  # not a table: what has a length says how many rows there are
        n = len(X) if sized and hasattr(X, "__len__") else len(found)
    check(len(found) == n, f"{method} gives {len(found)} rows for {n}")
    if method != "predict":
        check(bool(np.isfinite(found).all()), f"{method} gives values that are not finite")


class kept_whole:  # noqa: N801 - used as a context
    """A fit that fails inside leaves ``clf`` as it was, and none changes its parameters."""

    def __init__(self, clf: Any) -> None:
        self.clf = clf
        self.params = clf.get_params(deep=False)
        self.state = fitted_attributes(clf)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        params = self.clf.get_params(deep=False)
        same = all(params[name] is value for name, value in self.params.items())
        check(same, "fitting replaces a parameter")
        if isinstance(error, Exception) and type(error).__name__ != "TrainingDivergedError":
            after = fitted_attributes(self.clf)
            changed = sorted(
                name
                for name in after.keys() | self.state.keys()
                if after.get(name) != self.state.get(name)
            )
            check(not changed, f"a fit that fails changes {changed}")


def check_learnt(clf: Any) -> None:
    """What was learnt is finite."""
    finite = all(np.isfinite(value).all() for value in clf.delta_.values())
    check(finite, "the delta is not finite")


@st.composite
def banks(draw: st.DrawFn) -> Example:
    """Texts and tasks for a bank."""
    cells = draw(st.lists(draw(st.sampled_from([_WORDS, _TEXT, _NO_TEXT])), max_size=6))
    form = draw(st.one_of(st.sampled_from(_GOOD), st.sampled_from(COLUMNS)))
    n = len(cells) + draw(st.sampled_from([0] * 6 + [1]))
    names = st.sampled_from(["colour", "length"])
    odd = st.sampled_from(["colour", "pair", "nobody", "", None, 3, ["colour"], np.nan, Odd()])
    tasks = draw(
        st.one_of(
            st.none(),
            st.lists(names, min_size=n, max_size=n),
            st.lists(odd, min_size=n, max_size=n),
            st.sampled_from(["colour", 3, {}, Odd(), np.array("colour")]),
        )
    )
    method = draw(st.sampled_from(["predict", "predict_proba"]))
    label = f"bank: {method}({form.name} of {describe(cells)}, {describe(tasks)})"

    def act(subject: Subject) -> None:
        X = made(form, cells)
        bank = subject.bank
        if tasks is None:
            bank = DeltaBank({"colour": subject.fitted})
        found = getattr(bank, method)(X, tasks)
        if tasks is None and method == "predict_proba":
            found = found["colour"]
        check(len(found) == len(X), f"{len(found)} answers for {len(X)} rows")

    return Example(label, act)


# -- labels ------------------------------------------------------------------------------

_LABELS: dict[str, list[Any]] = {
    "strings": ["a", "b", "c"],
    "odd strings": ["", " ", "a\0", "é", "\ud800", "x" * 300],
    "ints": [0, 1, 2],
    "odd ints": [-1, 2**31, 2**63 - 1, 2**63, 2**70, -(2**63)],
    "bools": [True, False],
    "numpy bools": [np.True_, np.False_],
    "floats": [0.0, 1.0, 2.0],
    "fractions": [0.5, 1.25, 2.0],
    "numpy ints": [np.int8(1), np.uint64(2), np.int64(3)],
    "string enums": list(Mood),
    "enums": list(Level),
    "bytes": [b"a", b"b"],
    "dates": [dt.date(2024, 1, 1), dt.date(2025, 1, 1)],
    "timestamps": [pd.Timestamp("2024-01-01"), pd.Timestamp("2025-01-01")],
    "numpy dates": [np.datetime64("2024-01-01"), np.datetime64("2025-01-01")],
    "tuples": [("a", "b"), ("c", "d")],
    "lists": [["a"], ["b"]],
    "decimals": [decimal.Decimal(1), decimal.Decimal(2)],
    "complex": [1j, 2j],
    "objects": [Odd(), Odd()],
    "mixed": ["a", 1, True, 2.5, None],
    "numbers and bools": [0, 1, True, 2.0],
}
_MISSING = st.sampled_from([None, math.nan, pd.NA, pd.NaT, np.datetime64("NaT")])
#: Containers from which scikit-learn gives back other labels than went in (floats for nullable
#: integers, say), or reads none. Ours may do better there.
_BETTER = {
    *("string Series", "Int64 Series", "boolean Series", "Float64 Series", "arrow Series"),
    *("polars Series", "polars categories", "arrow array", "arrow chunks", "datasets column"),
    *("category Series", "Categorical", "spare category", "deque", "StringDType"),
}


@st.composite
def labels(draw: st.DrawFn) -> Example:
    """Forms of ``y``, judged by scikit-learn's own classifier where it reads the form as we do."""
    n = draw(st.one_of(st.integers(3, 8), st.integers(0, 8)))
    usual = st.sampled_from(["strings", "ints", "bools", "numpy ints"])
    kind = draw(st.one_of(usual, st.sampled_from(sorted(_LABELS))))
    cells = draw(st.lists(st.sampled_from(_LABELS[kind]), min_size=n, max_size=n))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1]))):
        if cells:
            cells[draw(st.integers(0, n - 1))] = draw(_MISSING)
    rows = n + draw(st.sampled_from([0] * 12 + [1, -1]))
    every = st.sampled_from([form for form in COLUMNS if form.name != "set"])
    form = draw(st.one_of(st.sampled_from(_GOOD[:-1]), every))
    method = draw(st.sampled_from(["fit", "fit", "fit", "partial_fit", "classes"]))
    label = f"y: {method}({form.name} of {kind} {describe(cells)}) for {rows} rows"
    return Example(label, lambda subject: _of_labels(subject, method, form, cells, max(rows, 0)))


def _of_labels(subject: Subject, method: str, form: Form, cells: list[Any], rows: int) -> None:
    X, y = TEXTS[:rows], made(form, cells)
    clf = subject.classifier()
    if method == "classes":
        with kept_whole(clf):
            clf.partial_fit(TEXTS, LABELS, classes=y)
        return
    if method == "partial_fit":
        with kept_whole(clf):
            clf.partial_fit(X, y, classes=made(form, cells))
        check_learnt(clf)
        return
    once = form.name in ("generator", "iterator")
    theirs = None if once or form.name in _BETTER else _of_logistic_regression(y, len(X))
    try:
        with kept_whole(clf):
            clf.fit(X, y)
    except (ValueError, TypeError):
        missing = any(pd.api.types.is_scalar(cell) and pd.isna(cell) for cell in cells)
        # scikit-learn takes some dates that are missing for a class.
        better = theirs is None or not theirs[0] or missing
        check(better, "scikit-learn takes this y, and we do not")
        raise
    check(theirs is None or theirs[0], "we take this y, and scikit-learn does not")
    check_learnt(clf)
    check(set(clf.predict(X).tolist()) <= set(clf.classes_.tolist()), "predicts other labels")
    if theirs is not None:
        same = clf.classes_.dtype == theirs[1].dtype and clf.classes_.tolist() == theirs[1].tolist()
        check(same, f"classes_ are {clf.classes_.dtype}, and scikit-learn's {theirs[1].dtype}")


def _of_logistic_regression(y: Any, rows: int) -> tuple[bool, Any] | None:
    """Whether scikit-learn takes ``y``, and as which classes; None where it fails otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            judge = LogisticRegression(max_iter=1).fit(np.zeros((rows, 1)), y)
        except (ValueError, TypeError):
            return False, None
        except Exception:
            return None
    return True, judge.classes_


# -- weights -----------------------------------------------------------------------------

_WEIGHT = st.one_of(
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(0, 9),
    st.sampled_from([0.0, 1e-300, 5e-324, 1e300, 1e308, True, "2", np.float32(1), 1e-45]),
    st.sampled_from([-1.0, math.nan, math.inf, -math.inf, None, "heavy", 1j, [1], pd.NA, 10**400]),
)
_WEIGHT_FORMS = [
    form
    for form in COLUMNS
    if form.name
    in {
        *("list", "tuple", "array", "object array", "Series", "Int64 Series", "Float64 Series"),
        *("polars Series", "arrow array", "generator", "column array", "frame", "first cell"),
        *("dict values", "0-D array", "masked array", "deque", "category Series"),
    }
]
_CLASS_WEIGHT = st.one_of(
    st.sampled_from([None, "balanced", "balanced", "other", "", b"balanced", 1, 2.5, True, Odd()]),
    st.dictionaries(st.sampled_from(["blue", "red"]), _WEIGHT),
    st.dictionaries(st.sampled_from(["blue", "red", "green", 0, None, "", 1.5]), _WEIGHT),
    st.lists(_WEIGHT, max_size=3),
    st.lists(st.floats(0, 9), min_size=2, max_size=2).map(np.array),
    st.dictionaries(st.sampled_from(["blue", "red"]), st.floats(0, 9)).map(
        lambda each: types.MappingProxyType(each)
    ),
    st.dictionaries(st.sampled_from(["blue", "red"]), st.floats(0, 9)).map(pd.Series),
    st.dictionaries(st.sampled_from(["blue", "red"]), st.floats(0, 9)).map(collections.Counter),
    st.just([{"blue": 1}, {"red": 2}]),
)


@st.composite
def weights(draw: st.DrawFn) -> Example:
    """Sample weights and class weights, in training and validation."""
    n = draw(st.sampled_from([8] * 6 + [0, 7, 9]))
    cell = draw(st.sampled_from([st.floats(0, 10), _WEIGHT]))
    cells = draw(st.lists(cell, min_size=n, max_size=n))
    form = draw(st.one_of(st.sampled_from(_GOOD[:-1]), st.sampled_from(_WEIGHT_FORMS)))
    usual = st.sampled_from([None, None, "balanced", {"blue": 2.0}])
    class_weight = draw(st.one_of(usual, _CLASS_WEIGHT))
    use = draw(st.sampled_from(["fit", "fit", "partial_fit", "validation", "none"]))
    label = f"weights: {use} {form.name} {describe(cells)}, class_weight={describe(class_weight)}"
    return Example(label, lambda subject: _of_weights(subject, use, form, cells, class_weight))


def _of_weights(
    subject: Subject, use: str, form: Form, cells: list[Any], class_weight: Any
) -> None:
    clf = subject.classifier(class_weight=class_weight, early_stopping=use == "validation")
    given = made(form, cells)
    with kept_whole(clf):
        if use == "fit":
            clf.fit(TEXTS, LABELS, sample_weight=given)
        elif use == "partial_fit":
            clf.partial_fit(TEXTS, LABELS, classes=["blue", "red"], sample_weight=given)
        elif use == "validation":
            clf.fit(TEXTS, LABELS, X_val=TEXTS, y_val=LABELS, sample_weight_val=given)
        else:
            clf.fit(TEXTS, LABELS)
    check_learnt(clf)
    for row in clf.log_:
        numbers = [value for value in row.values() if isinstance(value, float)]
        check(all(map(math.isfinite, numbers)), "a loss or score is not finite")


# -- validation sets -----------------------------------------------------------------------


@st.composite
def validation(draw: st.DrawFn) -> Example:
    """Validation sets and scorers."""
    given: dict[str, Any] = {}
    if draw(st.booleans()):
        given = {"X_val": TEXTS, "y_val": LABELS}
    if draw(st.booleans()):
        given["X_val"] = draw(
            st.sampled_from([TEXTS, TEXTS[:1], [], None, "good", [("a", "b")], [None], 3, [1.0]])
        )
    if draw(st.booleans()):
        given["y_val"] = draw(
            st.sampled_from(
                [LABELS, LABELS[:1], [], None, ["green"] * 8, [0] * 8, [None] * 8, "blue", 1]
            )
        )
    scoring = draw(
        st.sampled_from(
            [
                *("loss", "accuracy", "neg_log_loss", "roc_auc", "average_precision", "f1"),
                *("f1_macro", "balanced_accuracy", "matthews_corrcoef", "r2", "nonsense", None, 3),
                *(_score_nan, _score_text, _score_none, _score_array, Odd()),
            ]
        )
    )
    params = {
        "scoring": scoring,
        "early_stopping": draw(st.booleans()),
        "validation_fraction": draw(
            st.sampled_from([0.1, 0.3, 0.5] * 3 + [0.99, 1e-9, 0, 1, -1, 2, None, "half", math.nan])
        ),
        "patience": draw(st.sampled_from([1, 5] * 4 + [0, -1, None, 1.5, math.inf])),
    }
    n = draw(st.sampled_from([8, 8, 8, 3, 2]))
    label = f"validation: {describe(given)} {describe(params, 300)} on {n} rows"

    def act(subject: Subject) -> None:
        clf = subject.classifier(**params)
        with kept_whole(clf):
            clf.fit(TEXTS[:n], LABELS[:n], **given)
        check_learnt(clf)

    return Example(label, act)


def _score_nan(estimator: Any, X: Any, y: Any) -> float:
    return math.nan


def _score_text(estimator: Any, X: Any, y: Any) -> str:
    return "good"


def _score_none(estimator: Any, X: Any, y: Any) -> None:
    return None


def _score_array(estimator: Any, X: Any, y: Any) -> np.ndarray:
    return np.ones(3)
