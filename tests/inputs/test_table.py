from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import data, integers, lists

from sklearn_lntune.inputs.growing import Growing
from sklearn_lntune.inputs.text import table as table_module
from sklearn_lntune.inputs.text.table import ID_BITS, ArrowRows, MemoryRows, TokenTable

ROWS = lists(lists(integers(0, 2**ID_BITS - 1), min_size=1, max_size=6), min_size=1, max_size=30)


def build(kind: Any, rows: list[list[int]], size: int, segments: bool = False) -> TokenTable:
    """A table of ``rows``, added ``size`` at a time; the segment is the last bit of the id."""
    store = kind()
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        ids = np.array([token for row in chunk for token in row], np.int32)
        tokens = ids | ((ids & 1) << ID_BITS) if segments else ids
        store.add(tokens, np.array([len(row) for row in chunk], np.int32))
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens, starts = store.mapped(lengths)
    return TokenTable(tokens, starts, lengths, lengths > 5, segments, pad_id=7)


def slow(
    rows: list[list[int]], chosen: list[int], more: int, value: Any, fill: int
) -> list[list[int]]:
    """Values of the chosen rows' tokens, padded one by one."""
    width = max(len(rows[row]) for row in chosen) + more
    return [
        [value(token) for token in rows[row]] + [fill] * (width - len(rows[row])) for row in chosen
    ]


@pytest.mark.parametrize("kind", [MemoryRows, ArrowRows])
@settings(max_examples=50)
@given(drawn=data())
def test_collate_equals_the_slow_way(kind: Any, drawn: Any) -> None:
    rows = drawn.draw(ROWS)
    chosen = drawn.draw(lists(integers(0, len(rows) - 1), min_size=1, max_size=6))
    table = build(kind, rows, drawn.draw(integers(1, 8)), segments=True)
    more = drawn.draw(integers(0, 3))
    inputs = table.collate(np.array(chosen), lambda n_tokens: n_tokens + more)
    assert inputs["input_ids"].tolist() == slow(rows, chosen, more, lambda token: token, 7)
    assert inputs["attention_mask"].tolist() == slow(rows, chosen, more, lambda token: 1, 0)
    segments = slow(rows, chosen, more, lambda token: token % 2, 0)
    assert inputs["token_type_ids"].tolist() == segments
    assert {array.dtype.itemsize for array in inputs.values()} <= {1, 4}


@pytest.mark.parametrize("kind", [MemoryRows, ArrowRows])
@settings(max_examples=50)
@given(drawn=data())
def test_taken_rows_are_those_rows(kind: Any, drawn: Any) -> None:
    rows = drawn.draw(ROWS)
    chosen = drawn.draw(lists(integers(0, len(rows) - 1), max_size=6))
    whole = build(kind, rows, drawn.draw(integers(1, 8)))
    taken = whole.take(np.array(chosen, np.int64))
    assert len(taken) == len(chosen)
    assert taken.lengths.tolist() == [len(rows[row]) for row in chosen]
    assert taken.n_truncated == sum(len(rows[row]) > 5 for row in chosen)
    assert [taken.key(i) for i in range(len(chosen))] == [whole.key(row) for row in chosen]
    assert [np.frombuffer(whole.key(row), np.int32).tolist() for row in chosen] == [
        rows[row] for row in chosen
    ]


def test_the_file_goes_with_the_last_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module.tempfile, "tempdir", str(tmp_path))
    table = build(ArrowRows, [[1, 2], [3]], 1)
    part = table.take(np.array([1]))
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    del table
    gc.collect()
    assert part.collate(np.array([0]))["input_ids"].tolist() == [[3]]
    del part
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_file_goes_when_tokenising_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module.tempfile, "tempdir", str(tmp_path))
    store = ArrowRows()
    store.add(np.array([1], np.int32), np.array([1], np.int32))
    del store
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_file_is_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(table_module.tempfile, "tempdir", str(tmp_path))
    table = build(ArrowRows, [[1, 2], [3]], 1)
    (file,) = tmp_path.rglob("*.arrow")
    with pa.memory_map(str(file)) as source:
        assert pa.ipc.open_file(source).read_all().to_pydict() == {"tokens": [[1, 2], [3]]}
    assert len(table) == 2


@given(parts=lists(lists(integers(0, 9)), min_size=1))
def test_a_growing_array_is_its_parts(parts: list[list[int]]) -> None:
    growing = Growing()
    for part in parts:
        growing.add(np.array(part, np.int64).reshape(-1, 1) + np.array([0, 10]))
    expected = [[value, value + 10] for part in parts for value in part]
    assert growing.whole().tolist() == expected


def test_nothing_grown_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was added"):
        Growing().whole()
