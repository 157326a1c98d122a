"""Windows of long texts: where they are cut, and the tables of rows that consist of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_lntune.inputs.text.windows import window_spans

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
