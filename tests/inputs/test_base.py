from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.inputs.text.opening import TextInput

PAIRS = [("a", "b"), ("c", "d")]


def test_rows_come_in_chunks_of_a_size() -> None:
    rows = Rows(["a", "b", "c"])
    assert [chunk.rows for chunk in rows.chunks(2)] == [["a", "b"], ["c"]]
    assert (len(rows), rows.n_rows, rows.held) == (3, 3, rows)


def test_taken_rows_are_in_the_order_asked_for() -> None:
    assert Rows(["a", "b", "c"]).take(np.array([2, 0, 2])).rows == ["c", "a", "c"]


def test_the_items_of_a_row_are_its_columns() -> None:
    assert (Rows(["two words"]).n_columns, Rows(PAIRS).n_columns) == (1, 2)


@pytest.mark.parametrize(
    ("X", "has_header"),
    [
        (["a", "b"], False),
        (np.array(["a", "b"], object), False),
        (pd.Series(["a", "b"]), False),
        (PAIRS, True),
        (np.array(PAIRS, object), True),
        (pd.DataFrame({"text": ["a", "b"]}), True),
    ],
)
def test_the_header_of_a_table_is_the_table(X: Any, has_header: bool) -> None:
    opened = TextInput().open(X, [1, 0])
    assert opened.header is (X if has_header else None)
    examples, y = opened.for_training()
    assert examples is opened.examples
    assert y == [1, 0]


def test_a_stream_is_neither_held_nor_counted_when_it_is_opened() -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string")})
    X = datasets.IterableDataset.from_generator(lambda: iter([{"text": "a"}]), features=features)
    opened = TextInput().open(X)
    assert opened.examples.held is None
    assert opened.header.columns.tolist() == ["text"]
    with pytest.raises(TypeError, match="not counted yet"):
        len(opened.examples)
    assert [chunk.rows for chunk in opened.examples.chunks(8)] == [["a"]]
