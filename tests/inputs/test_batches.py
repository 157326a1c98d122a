from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis.strategies import integers, lists

from sklearn_lntune.inputs.batches import ordered_batches, shuffled_batches, to_device
from sklearn_lntune.inputs.text.table import TokenTable

LENGTHS = lists(integers(1, 50), min_size=1, max_size=300)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def composition(batches: list[np.ndarray]) -> set[frozenset[int]]:
    return {frozenset(batch.tolist()) for batch in batches}


def padded_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Padding as a share of all tokens computed."""
    computed = sum(len(batch) * lengths[batch].max() for batch in batches)
    return float(1 - lengths.sum() / computed)


@given(lengths=LENGTHS, batch_size=integers(1, 16), seed=integers(0, 2**31))
def test_shuffled_batches_hold_every_row_once(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    batches = shuffled_batches(np.array(lengths), batch_size, seeded(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert max(map(len, batches)) <= batch_size
    computed = [len(batch) * max(lengths[row] for row in batch) for batch in batches]
    assert computed[0] == max(computed)


def test_shuffled_batches_need_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 2000)
    batches = shuffled_batches(lengths, 32, seeded())
    at_random = np.array_split(np.random.default_rng(1).permutation(2000), 63)
    assert padded_share(lengths, batches) < 0.1 < padded_share(lengths, at_random)


def test_batches_are_shuffled_too_not_sorted_by_length() -> None:
    lengths = np.repeat(np.arange(1, 101), 8)
    longest = [lengths[batch].max() for batch in shuffled_batches(lengths, 8, seeded())]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_batches_differ_from_epoch_to_epoch() -> None:
    lengths = 5 + np.arange(100) % 4
    generator = seeded()
    epochs = [composition(shuffled_batches(lengths, 10, generator)) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_batches_follow_the_seed() -> None:
    lengths = 5 + np.arange(100) % 4
    one, same, other = (shuffled_batches(lengths, 10, seeded(seed)) for seed in (1, 1, 2))
    assert [batch.tolist() for batch in one] == [batch.tolist() for batch in same]
    assert composition(one) != composition(other)


def test_batches_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    shuffled_batches(np.arange(1, 50), 8, seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_any_two_rows_of_one_length_meet_in_time() -> None:
    generator = seeded()
    met = np.zeros((24, 24), dtype=bool)
    for _ in range(200):
        for batch in shuffled_batches(np.full(24, 7), 8, generator):
            met[np.ix_(batch, batch)] = True
    assert met.all()


def test_neighbours_in_length_meet_in_time() -> None:
    lengths = np.arange(1, 41)
    generator = seeded()
    met = set()
    for _ in range(300):
        for batch in map(set, (b.tolist() for b in shuffled_batches(lengths, 8, generator))):
            met |= {row for row in batch if row + 1 in batch}
    assert met == set(range(39))


def test_the_smaller_batch_is_not_always_that_of_the_longest_rows() -> None:
    lengths = np.arange(1, 18)
    generator = seeded()
    left_over = set()
    for _ in range(100):
        smallest = min(shuffled_batches(lengths, 8, generator), key=len)
        left_over |= set(smallest.tolist())
    assert len(left_over) > 1


@given(lengths=LENGTHS, n_tokens=integers(1, 200))
def test_ordered_batches_are_longest_first_and_within_the_budget(
    lengths: list[int], n_tokens: int
) -> None:
    array = np.array(lengths)
    batches = list(ordered_batches(array, n_tokens))
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert (np.diff(array[rows]) <= 0).all()
    for batch in batches:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= n_tokens
    for batch, following in pairwise(batches):
        # No batch could have taken in the row that follows it.
        assert (len(batch) + 1) * array[batch].max() > n_tokens
        assert array[batch].min() >= array[following].max()


def test_ordered_batches_keep_the_order_of_equal_rows() -> None:
    batches = list(ordered_batches(np.array([2, 5, 2, 5, 2]), 10))
    assert [batch.tolist() for batch in batches] == [[1, 3], [0, 2, 4]]


def test_tensors_are_the_padded_rows() -> None:
    starts, lengths = np.array([0, 1]), np.array([1, 2])
    tokens = np.array([5, 6, 7], np.int32)
    table = TokenTable(tokens, starts, lengths, np.zeros(2, bool), pad_id=9)
    inputs = to_device(table.collate(np.array([1, 0])), torch.device("cpu"), torch.float32)
    assert inputs["input_ids"].tolist() == [[6, 7], [5, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert {tensor.dtype for tensor in inputs.values()} == {torch.int64}
