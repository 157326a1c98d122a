"""Windows of long texts: where they are cut, and the tables of rows that consist of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WORDS
from hypothesis import given
from hypothesis import strategies as st

from sklearn_lntune.inputs.base import joined
from sklearn_lntune.inputs.text.tokens import Tokens
from sklearn_lntune.inputs.text.windows import window_spans
from sklearn_lntune.inputs.windows import WindowTable

TEXTS = st.lists(
    st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=25).map(" ".join),
    min_size=1,
    max_size=6,
)
sizes = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(n_tokens=st.integers(0, 60), size_and_stride=sizes)
def test_windows_cover_a_text_and_overlap_by_the_stride(
    n_tokens: int, size_and_stride: tuple[int, int]
) -> None:
    size, stride = size_and_stride
    spans = window_spans(n_tokens, size, stride)
    assert {token for span in spans for token in range(*span)} == set(range(n_tokens))
    assert spans[0][0] == 0
    assert spans[-1][1] == n_tokens
    assert all(stop - start == size for start, stop in spans[:-1])
    for (_, stop), (start, end) in itertools.pairwise(spans):
        assert stop - start == stride
        assert end > stop  # each window has a token of its own
    assert len(spans) == 1 or n_tokens > size


@pytest.mark.parametrize("stride", [-1, 4, 5])
def test_a_stride_has_to_leave_room_for_other_tokens(stride: int) -> None:
    with pytest.raises(ValueError, match=f"less than 4; got {stride}"):
        window_spans(10, 4, stride)


def windows_of(table: WindowTable, row: int) -> list[list[int]]:
    inputs = table.collate(np.array([row]))
    return [
        ids[mask].tolist()
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]


def own_windows(tokenizer: Any, text: str, max_length: int, stride: int) -> list[list[int]]:
    found = tokenizer(
        text,
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
    )
    windows = found["input_ids"]
    return windows if isinstance(windows[0], list) else [windows]


def table_of(tokenizer: Any, texts: Sequence[str], max_length: int, stride: int) -> WindowTable:
    table = Tokens(tokenizer).table(texts, max_length, stride)
    assert isinstance(table, WindowTable)
    return table


@pytest.fixture(scope="module")
def load(tiny_backbone: Callable[..., Path]) -> Callable[..., Any]:
    from transformers import AutoTokenizer

    return lambda **kwargs: AutoTokenizer.from_pretrained(tiny_backbone(), **kwargs)


@pytest.fixture(scope="module")
def tokenizer(load: Callable[..., Any]) -> Any:
    return load()


@given(texts=TEXTS, size_and_stride=sizes)
def test_a_table_has_the_tokenizers_own_windows(
    tokenizer: Any, texts: list[str], size_and_stride: tuple[int, int]
) -> None:
    size, stride = size_and_stride
    table = table_of(tokenizer, texts, size + 2, stride)
    assert table.n_truncated == 0
    whole = Tokens(tokenizer).table(texts, 1000)
    for row, text in enumerate(texts):
        found = windows_of(table, row)
        assert found == own_windows(tokenizer, text, size + 2, stride)
        assert table.lengths[row] == sum(map(len, found))
        spans = window_spans(int(whole.lengths[row]) - 2, size, stride)
        assert [len(ids) - 2 for ids in found] == [stop - start for start, stop in spans]


def test_special_tokens_stand_in_each_window(tokenizer: Any) -> None:
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    found = windows_of(table_of(tokenizer, [" ".join(WORDS[:6])], 6, 1), 0)
    five = tokenizer.convert_tokens_to_ids(WORDS[:6])
    assert found == [[cls, *five[:4], sep], [cls, *five[3:], sep]]


def test_texts_cut_from_the_left_keep_their_end(load: Callable[..., Any]) -> None:
    left = load(truncation_side="left")
    text = " ".join(WORDS[:9])
    assert windows_of(table_of(left, [text], 6, 1), 0) == own_windows(left, text, 6, 1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizer_in_python_cuts_as_a_fast_one(side: str) -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer(truncation_side=side)
    text = "abcdefghij"
    ids = slow(text, add_special_tokens=False)["input_ids"]
    spans = [(0, 4), (3, 7), (6, 10)]
    if side == "left":
        spans = [(10 - stop, 10 - start) for start, stop in spans]
    found = windows_of(table_of(slow, [text], 5, 1), 0)
    assert found == [[*ids[start:stop], slow.eos_token_id] for start, stop in spans]
    assert windows_of(table_of(slow, [""], 5, 1), 0) == [[slow.eos_token_id]]


def test_a_tokenizer_with_ways_of_its_own_is_called(load: Callable[..., Any]) -> None:
    own = load()

    class Spy(type(own)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    own.__class__ = Spy
    texts = [" ".join(WORDS[:9]), "", "good"]
    table = table_of(own, texts, 6, 1)
    for row, text in enumerate(texts):
        assert windows_of(table, row) == own_windows(own, text, 6, 1)


def test_unknown_tokens_are_named_wherever_they_stand(tokenizer: Any) -> None:
    text = " ".join([*["good"] * 8, "bad"])
    n_rows = tokenizer.convert_tokens_to_ids("bad")
    with pytest.raises(ValueError, match=r"good good.*holds the token 'bad'"):
        Tokens(tokenizer, n_rows=n_rows).table(["good", text], 5, 0)


@given(texts=TEXTS, data=st.data())
def test_rows_can_be_taken_and_joined(tokenizer: Any, texts: list[str], data: Any) -> None:
    table = table_of(tokenizer, texts, 7, 2)
    rows = st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=5)
    first, second = (np.array(data.draw(rows)) for _ in range(2))
    both = joined([table.take(first), table.take(second)])
    chosen = np.concatenate([first, second])
    assert both.lengths.tolist() == table.lengths[chosen].tolist()
    assert both.digest() == table.take(chosen).digest()
    for row, number in enumerate(chosen):
        assert windows_of(both, row) == windows_of(table, int(number))
        assert both.key(row) == table.key(int(number))
    assert both.kind == table.kind != Tokens(tokenizer).table(texts, 7).kind


def test_rows_that_are_cut_differently_differ(tokenizer: Any) -> None:
    text = " ".join(WORDS[:9])
    tables = [table_of(tokenizer, [text], 6, stride) for stride in (0, 1)]
    assert tables[0].key(0) != tables[1].key(0)
    assert tables[0].digest() != tables[1].digest()


def test_windows_of_a_stream_are_those_of_a_list(tokenizer: Any) -> None:
    from sklearn_lntune.inputs.base import Rows

    class Read(Rows):
        held = None  # type: ignore[assignment]

    texts = [" ".join(WORDS[:n]) for n in (9, 1, 20)]
    streamed = Tokens(tokenizer).table(Read(texts), 6, 1)
    assert streamed.digest() == table_of(tokenizer, texts, 6, 1).digest()
