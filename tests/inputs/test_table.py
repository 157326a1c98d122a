from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import data, integers, lists

from sklearn_lntune.inputs.array_file import ArrayFile
from sklearn_lntune.inputs.text.table import ID_BITS, TokenTable

ROWS = lists(lists(integers(0, 2**ID_BITS - 1), min_size=1, max_size=6), min_size=1, max_size=30)


def build(mapped: bool, rows: list[list[int]], size: int, segments: bool = False) -> TokenTable:
    """A table of ``rows``, written ``size`` at a time; the segment is the last bit of the id."""
    file, parts = ArrayFile(np.int32), []
    for start in range(0, len(rows), size):
        ids = np.array([token for row in rows[start : start + size] for token in row], np.int32)
        parts.append(ids | ((ids & 1) << ID_BITS) if segments else ids)
        file.write(parts[-1].tobytes())
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = file.mapped() if mapped else np.concatenate(parts)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return TokenTable(tokens, starts, lengths, lengths > 5, segments, pad_id=7)


def slow(
    rows: list[list[int]], chosen: list[int], more: int, value: Any, fill: int
) -> list[list[int]]:
    """Values of the chosen rows' tokens, padded one by one."""
    width = max(len(rows[row]) for row in chosen) + more
    return [
        [value(token) for token in rows[row]] + [fill] * (width - len(rows[row])) for row in chosen
    ]


@pytest.mark.parametrize("mapped", [False, True])
@settings(max_examples=50)
@given(drawn=data())
def test_collate_equals_the_slow_way(mapped: bool, drawn: Any) -> None:
    rows = drawn.draw(ROWS)
    chosen = drawn.draw(lists(integers(0, len(rows) - 1), min_size=1, max_size=6))
    table = build(mapped, rows, drawn.draw(integers(1, 8)), segments=True)
    more = drawn.draw(integers(0, 3))
    inputs = table.collate(np.array(chosen), lambda n_tokens: n_tokens + more)
    assert inputs["input_ids"].tolist() == slow(rows, chosen, more, lambda token: token, 7)
    assert inputs["attention_mask"].tolist() == slow(rows, chosen, more, lambda token: 1, 0)
    segments = slow(rows, chosen, more, lambda token: token % 2, 0)
    assert inputs["token_type_ids"].tolist() == segments
    assert {array.dtype.itemsize for array in inputs.values()} <= {1, 4}


@pytest.mark.parametrize("mapped", [False, True])
@settings(max_examples=50)
@given(drawn=data())
def test_taken_rows_are_those_rows(mapped: bool, drawn: Any) -> None:
    rows = drawn.draw(ROWS)
    chosen = drawn.draw(lists(integers(0, len(rows) - 1), max_size=6))
    whole = build(mapped, rows, drawn.draw(integers(1, 8)))
    taken = whole.take(np.array(chosen, np.int64))
    assert len(taken) == len(chosen)
    assert taken.lengths.tolist() == [len(rows[row]) for row in chosen]
    assert taken.n_truncated == sum(len(rows[row]) > 5 for row in chosen)
    assert [taken.key(i) for i in range(len(chosen))] == [whole.key(row) for row in chosen]
    assert [np.frombuffer(whole.key(row), np.int32).tolist() for row in chosen] == [
        rows[row] for row in chosen
    ]


def test_the_file_goes_with_the_last_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = build(True, [[1, 2], [3]], 1)
    part = table.take(np.array([1]))
    assert [file.is_file() for file in tmp_path.glob("*/*")] == [True]
    del table
    gc.collect()
    assert part.collate(np.array([0]))["input_ids"].tolist() == [[3]]
    del part
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_file_goes_when_tokenising_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = ArrayFile(np.int32)
    file.write(np.array([1], np.int32).tobytes())
    del file
    gc.collect()
    assert not list(tmp_path.iterdir())
