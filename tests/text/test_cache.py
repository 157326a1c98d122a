from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis.strategies import binary, lists, sampled_from, text, tuples

from sklearn_lntune.text.cache import ENTRY_BYTES, RowCache, keys_of

ROW = bytes(24)


def test_a_full_cache_drops_the_least_used() -> None:
    cache = RowCache(3 * (ENTRY_BYTES + len(ROW)))
    for key in (b"a", b"b", b"c"):
        cache.put([key], [ROW])
    cache.get([b"a"])
    cache.put([b"d"], [ROW])
    assert cache.get([b"a", b"b", b"c", b"d"]) == [ROW, None, ROW, ROW]
    assert len(cache) == 3


def test_a_row_put_twice_counts_once() -> None:
    cache = RowCache(2 * (ENTRY_BYTES + len(ROW)))
    assert [cache.put([key], [ROW]) > 0 for key in (b"a", b"a", b"b")] == [True, False, True]
    assert cache.get([b"a", b"b"]) == [ROW, ROW]
    cache.clear()
    assert (len(cache), cache.held) == (0, 0)


@given(calls=lists(tuples(sampled_from([b"a", b"b", b"c", b"d", b"e"]), binary(max_size=200))))
def test_the_bound_holds_whatever_is_put(calls: list[tuple[bytes, bytes]]) -> None:
    cache = RowCache(3 * ENTRY_BYTES)
    for key, row in calls:
        cache.put([key], [row])
        held = {key: found for key in b"abcde" if (found := cache.get([bytes([key])])[0])}
        assert sum(map(len, held.values())) + len(cache) * ENTRY_BYTES <= cache.capacity
        assert cache.held <= cache.capacity


def test_what_an_entry_is_said_to_take_is_what_it_takes() -> None:
    random = np.random.default_rng(0)
    cache = RowCache(10**9)
    tracemalloc.start()
    for _ in range(20):
        keys = [random.bytes(16) for _ in range(1000)]
        cache.put(keys, [random.bytes(52) for _ in keys])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 * cache.held < taken < 1.1 * cache.held


@given(left=tuples(text(), text()), right=tuples(text(), text()))
def test_keys_differ_where_texts_do(left: tuple[str, str], right: tuple[str, str]) -> None:
    (one,), (other,) = keys_of("d", [left]), keys_of("d", [right])
    assert (one == other) == (left == right)
    texts = [*left, *right, left, right]
    assert len(set(keys_of("d", texts))) == len(set(texts))
    assert not set(keys_of("d", texts)) & set(keys_of("e", texts))


def test_a_lone_surrogate_has_a_key() -> None:
    assert len(next(keys_of("d", ["\ud800"]))) == 16
