from __future__ import annotations

import collections
import contextlib
import enum
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis.strategies import lists, text, tuples
from scipy import sparse

from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.inputs.text.check import check_texts

TEXTS = ["first text", "second, longer text", ""]
PAIRS = [("is it raining?", "it pours"), ("a", ""), ("left", "right")]
LEFT, RIGHT = [left for left, _ in PAIRS], [right for _, right in PAIRS]

ARROW_VIEWS = pa.array(TEXTS, pa.string_view())
VIEWS = pd.ArrowDtype(pa.string_view())  # which NumPy does not read
#: Of the older kind, whose members are written out by their names.
Named = enum.Enum("Named", {"A": TEXTS[0], "B": TEXTS[1], "C": ""}, type=str)


class Text(enum.StrEnum):
    A = TEXTS[0]
    B = TEXTS[1]
    C = ""


class Word(str):
    """A string that is printed as something else."""

    def __str__(self) -> str:
        return "hidden"


COLUMNS: dict[str, Any] = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "list of numpy strings": list(np.array(TEXTS)),
    "list of lists of one": [[text] for text in TEXTS],
    "array of objects": np.array(TEXTS, dtype=object),
    "array of str": np.array(TEXTS),
    "array of variable strings": np.array(TEXTS, dtype=np.dtypes.StringDType()),
    "array of one column": np.array(TEXTS)[:, None],
    "pandas Series of objects": pd.Series(TEXTS, dtype=object),
    "pandas Series of string": pd.Series(TEXTS, dtype="string"),
    "pandas Series of str": pd.Series(TEXTS),
    "pandas Series of categories": pd.Series(TEXTS, dtype="category"),
    "pandas Series with an odd index": pd.Series(TEXTS, index=[7, 7, 0]),
    "pandas frame": pd.DataFrame({"text": TEXTS}),
    "pandas frame of string": pd.DataFrame({"text": TEXTS}, dtype="string"),
    "polars Series": pl.Series(TEXTS),
    "polars frame": pl.DataFrame({"text": TEXTS}),
    "datasets column": datasets.Dataset.from_dict({"text": TEXTS})["text"],
    "deque": collections.deque(TEXTS),
    "pandas Index": pd.Index(TEXTS),
    "pandas Series of large strings": pd.Series(TEXTS, dtype=pd.ArrowDtype(pa.large_string())),
    "pandas Series of views": pd.Series(TEXTS, dtype=VIEWS),
    "pandas frame of views": pd.DataFrame({"text": pd.Series(TEXTS, dtype=VIEWS)}),
    "polars Series of categories": pl.Series(TEXTS, dtype=pl.Categorical),
    "polars Series of an Enum": pl.Series(TEXTS, dtype=pl.Enum(TEXTS)),
    "Arrow array": pa.array(TEXTS),
    "Arrow array of views": ARROW_VIEWS,
    "Arrow array of large strings": pa.array(TEXTS, pa.large_string()),
    "Arrow dictionary": pa.array(TEXTS).dictionary_encode(),
    "Arrow chunks": pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
    "Arrow table": pa.table({"text": TEXTS}),
    "Arrow batch": pa.record_batch({"text": TEXTS}),
    "(str, Enum)": [Named.A, Named.B, Named.C],
    "(str, Enum) in an array": np.array([Named.A, Named.B, Named.C], dtype=object),
    "StrEnum": [Text.A, Text.B, Text.C],
    "a subclass of str": [Word(text) for text in TEXTS],
}
with contextlib.suppress(ValueError):  # older versions of datasets know no views
    views = datasets.Dataset(pa.table({"a": ARROW_VIEWS}))
    COLUMNS["datasets column of views"] = views["a"]

TWO_COLUMNS: dict[str, Any] = {
    "list of tuples": PAIRS,
    "list of lists": [list(pair) for pair in PAIRS],
    "list of arrays": [np.array(pair) for pair in PAIRS],
    "tuple of tuples": tuple(PAIRS),
    "array of str": np.array(PAIRS),
    "array of objects": np.array(PAIRS, dtype=object),
    "pandas frame": pd.DataFrame({"a": LEFT, "b": RIGHT}),
    "pandas frame of mixed types": pd.DataFrame(
        {"a": pd.Series(LEFT, dtype=object), "b": pd.Series(RIGHT, dtype="string")}
    ),
    "polars frame": pl.DataFrame({"a": LEFT, "b": RIGHT}),
    "pandas frame of views": pd.DataFrame({"a": LEFT, "b": RIGHT}, dtype=VIEWS),
    "Arrow table": pa.table({"a": LEFT, "b": RIGHT}),
    "a subclass of str": [(Word(left), Word(right)) for left, right in PAIRS],
}


@pytest.mark.parametrize("form", COLUMNS)
def test_every_form_of_one_column_gives_its_texts(form: str) -> None:
    found = check_texts(COLUMNS[form])
    assert found == TEXTS
    assert {type(text) for text in found} == {str}


@pytest.mark.parametrize("form", TWO_COLUMNS)
def test_every_form_of_two_columns_gives_its_pairs(form: str) -> None:
    found = check_texts(TWO_COLUMNS[form])
    assert found == PAIRS
    assert {type(part) for pair in found for part in pair} == {str}


@given(texts=lists(text(), min_size=1))
def test_any_texts_come_back_in_order(texts: list[str]) -> None:
    assert check_texts(texts) == texts
    assert check_texts(np.array(texts, dtype=object)) == texts
    assert check_texts(pl.Series(texts)) == texts


@given(pairs=lists(tuples(text(), text()), min_size=1))
def test_any_pairs_come_back_in_order(pairs: list[tuple[str, str]]) -> None:
    assert check_texts(pairs) == pairs
    assert check_texts([list(pair) for pair in pairs]) == pairs


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (np.array([[1.0, 2.5], [np.nan, -3.0]]), ["1 2.5", "nan -3"]),
        (np.array([[1, 2], [3, 4]]), ["1 2", "3 4"]),
        (np.array([[1, 2.5]], dtype=object), ["1 2.5"]),
        ([[1, float("nan")], [3, 4]], ["1 nan", "3 4"]),
        ([[True, False, True]], ["1 0 1"]),
        (pd.Series([np.array([0.5, 1.5]), np.array([2.5, 3.5])]), ["0.5 1.5", "2.5 3.5"]),
        (pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}), ["1 0.5", "2 nan"]),
        (pl.DataFrame({"a": [1, 2], "b": [0.5, 1.0]}), ["1 0.5", "2 1"]),
    ],
)
def test_rows_of_numbers_are_joined_with_a_warning(numbers: Any, expected: list[str]) -> None:
    with pytest.warns(UserWarning, match="X holds numbers, not texts"):
        assert check_texts(numbers) == expected


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one string", TypeError, r"got str \('one string'\)"),
        (b"bytes", TypeError, "got bytes"),
        (None, TypeError, "got NoneType"),
        ({"text": "a"}, TypeError, r"got dict .*Pass one of its values: X\['text'\]"),
        (
            datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": TEXTS})),
            TypeError,
            "'train'",
        ),
        (dict.fromkeys(TEXTS).keys(), TypeError, "got dict_keys"),
        (dict(enumerate(TEXTS)).values(), TypeError, r"got dict_values, .*list first: list\(X\)"),
        (pl.LazyFrame({"a": TEXTS}), TypeError, "got LazyFrame, which has no length"),
        (7, TypeError, "got int, which has no length"),
        ((text for text in TEXTS), TypeError, "got generator, .* into a list first"),
        ({"a", "b"}, TypeError, "got set"),
        (np.array("a"), (TypeError, ValueError), "X must be"),
        ([], ValueError, r"X contains no texts \(0 sample"),
        (np.array([], dtype=object), ValueError, r"0 sample"),
        (np.empty((0, 3)), ValueError, r"0 sample"),
        (pd.Series([], dtype="string"), ValueError, r"0 sample"),
        (np.array([[["a"]]]), ValueError, "3 dimensions"),
        ([[["a"]]], ValueError, "3 dimensions"),
        (np.zeros((2, 2, 2)), ValueError, r"\(2, 2, 2\).*takes texts; for images"),
        ([("a", "b", "c")], ValueError, "X has 3 text columns"),
        (pl.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}), ValueError, "X has 3 text columns"),
        (np.array([1, 2, 3]), ValueError, "Expected 2D array"),
        ([1, 2, 3], ValueError, r"X is 1-D and holds numbers \(row 0: 1\)"),
        (pd.Series([1.5, 2.5]), ValueError, r"X is 1-D and holds numbers \(row 0: 1.5\)"),
        (sparse.csr_matrix(np.eye(2)), TypeError, "[Ss]parse"),
        (sparse.dok_matrix(np.eye(2)), TypeError, "[Ss]parse"),  # a dict, too
        (["a", 3, 4], TypeError, r"row 1 of X is int \(3\)"),
        ([("a", 1), ("b", 2)], TypeError, r"row 0 of X is int \(1\)"),
        ([[1, 2], [3, "b"]], TypeError, r"X is "),
        (["a", b"b"], TypeError, r"row 1 of X is bytes \(b'b'\).*cell.decode\(\)"),
        (["a", enum.Enum("Plain", {"A": "a"}).A], TypeError, r"row 1 of X is Plain .*cell.value"),
        (np.array([[10**400]], object), ValueError, "X holds numbers, .* too large"),
        (np.array([b"a"]), TypeError, "row 0 of X is bytes"),
        ([("a", "b"), "c"], ValueError, "not of one kind: row 0 is a sequence of 2"),
        (["c", ("a", "b")], ValueError, "row 1 is a sequence of 2"),
        ([("a", "b"), ("c",)], ValueError, "not of one kind"),
        ([("a",), ("b", "c"), ("d", "e", "f")], ValueError, "not of one kind"),
        (pd.Series([np.array([0.5, 1.5]), "a"]), ValueError, "row 0"),
    ],
)
def test_anything_else_is_an_error_that_says_what_it_got(
    X: Any, error: type[Exception] | tuple[type[Exception], ...], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_texts(X)


@pytest.mark.parametrize(
    "X",
    [
        ["a", "b", None, None],
        ["a", "b", float("nan")],
        ["a", "b", pd.NA],
        ["a", "b", pd.NaT],
        np.array(["a", "b", None], dtype=object),
        pd.Series(["a", "b", None]),
        pd.Series(["a", "b", pd.NA], dtype="string"),
        pd.Series(["a", "b", np.nan], dtype=object),
        pd.DataFrame({"a": ["a", "b", "c"], "b": ["a", "b", None]}),
        pl.Series(["a", "b", None]),
        pl.DataFrame({"a": ["a", "b", None]}),
        [("a", "b"), ("c", "d"), ("e", None)],
        datasets.Dataset.from_dict({"text": ["a", "b", None]})["text"],
    ],
)
def test_a_missing_text_is_an_error_that_names_its_row(X: Any) -> None:
    with pytest.raises(ValueError, match="missing text in row 2"):
        check_texts(X)


TEXT_AND_PRICE = {"text": TEXTS, "price": [1.5, 2.5, 3.5]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, pa.record_batch])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (TEXT_AND_PRICE, r"\['text', 'price'\], of which \['price'\] do not .*X\['text'\]"),
        ({"a": TEXTS, **TEXT_AND_PRICE}, r"\['a', 'text', 'price'\], of which \['price'\]"),
        ({**TEXT_AND_PRICE, "text": [None, "a", "b"]}, r"of which \['price'\] do not hold strings"),
        ({"text": TEXTS, "raw": [b"a", b"b", b"c"]}, r"of which \['raw'\] do not hold strings"),
        ({"a": [1, 2, 3], "b": [b"a", b"b", b"c"]}, "of which .* It must have one of texts"),
        ({"a": TEXTS, "b": TEXTS, "c": TEXTS}, r"3 text columns \['a', 'b', 'c'\].*X\['a'\]"),
    ],
)
def test_a_whole_frame_is_an_error_that_says_which_column(
    make: Any, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_texts(make(columns))


HALF = "half \ud83d"


@pytest.mark.parametrize(
    "X",
    [
        ["é", "ok", HALF],
        ["é", "ok", "a whole pair, as two: \ud83d\udc4d"],
        ["a", "ok", "\udc97"],
        np.array(["é", "ok", HALF]),
        np.array(["é", "ok", HALF], dtype=object),
        pd.Series(["é", "ok", HALF], dtype=object),
        pd.DataFrame({"text": pd.Series(["é", "ok", HALF], dtype=object)}),
        [("é", "a"), ("ok", "b"), ("c", HALF)],
        [("é", "a"), ("ok", "b"), (HALF, "c")],
        [["é", "a"], ["ok", "b"], ["c", HALF]],
    ],
)
def test_half_a_utf16_pair_is_an_error_that_names_its_row(X: Any) -> None:
    with pytest.raises(ValueError, match="row 2 of X holds half of a UTF-16 pair") as caught:
        check_texts(X)
    assert "'replace'" in str(caught.value)


def test_what_the_error_on_half_a_pair_recommends_mends_the_text() -> None:
    for broken, expected in ((HALF, "half \ufffd"), ("\ud83d\udc4d", "\U0001f44d")):
        mended = broken.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert check_texts([mended]) == [expected]


def broken_strings() -> pa.Array:
    """Arrow strings whose third is half of a UTF-16 pair in bytes, as some programs write it."""
    ends, content = pa.array([0, 1, 3, 7], pa.int32()), b"a" + "é".encode() + b"b\xed\xa0\x80"
    return pa.Array.from_buffers(pa.string(), 3, [None, ends.buffers()[1], pa.py_buffer(content)])


BROKEN = pa.table({"text": broken_strings()})


@pytest.mark.parametrize(
    "X",
    [
        broken_strings(),
        pa.chunked_array([broken_strings()]),
        BROKEN,
        pa.table({"a": TEXTS, "b": broken_strings()}),
        BROKEN.to_pandas(types_mapper=pd.ArrowDtype),
        BROKEN.to_pandas(types_mapper=pd.ArrowDtype)["text"],
        datasets.Dataset(BROKEN)["text"],
    ],
    ids=["array", "chunks", "table", "pairs", "frame", "Series", "datasets column"],
)
def test_bytes_that_are_not_utf8_are_an_error_that_names_their_row(X: Any) -> None:
    with pytest.raises(ValueError, match="row 2 of X holds bytes that are not text in UTF-8"):
        check_texts(X)


def test_nul_is_a_character_as_any_other() -> None:
    texts = ["a\0b", "a\0c", "a", "a\0", "a\0b"]
    assert check_texts(texts) == texts
    assert check_texts(np.array(texts, object)) == texts
    unique, numbers = Rows(texts).distinct()
    assert unique.rows == texts[:4]
    assert numbers.tolist() == [0, 1, 2, 3, 0]
    pairs = [("a\0", "b"), ("a", "\0b"), ("a\0", "b")]
    assert Rows(pairs).distinct()[1].tolist() == [0, 1, 0]
