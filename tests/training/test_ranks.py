from __future__ import annotations

import importlib.util
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers
from joblib import Parallel, delayed

from sklearn_lntune.exceptions import OtherProcessError
from sklearn_lntune.network import Batch
from sklearn_lntune.network.batch import Windows
from sklearn_lntune.training import ranks as ranks_module
from sklearn_lntune.training.ranks import ALONE, Launched, Ranks, find_ranks

CPU = torch.device("cpu")


def ranks(rank: int, size: int, failed: int = 0, interrupted: int = 0, away: int = 0) -> Launched:
    """A process among ``size``; the others add zeros to all that is summed.

    Of the others, some have failed, some were interrupted, and one is ``away``.
    """

    def reduce(tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        if tensor.dtype != torch.int64:
            return tensor
        where = int(tensor[2])  # as in `Launched._meet`
        places = [where] * (size - 1) + [where + away]
        counts = [int(tensor[0]) + failed, int(tensor[1]) + interrupted]
        return torch.tensor([*counts, sum(places), sum(place**2 for place in places)])

    return Launched(
        SimpleNamespace(process_index=rank, num_processes=size, device=CPU, reduce=reduce)
    )


def batch(size: int) -> Batch:
    return Batch(
        {"input_ids": torch.arange(2 * size).view(size, 2)},
        targets=torch.arange(size),
        weights=torch.arange(size) + 1.0,
    )


def counted(part: Batch) -> list[int]:
    """The rows of a part that count."""
    return part.targets[part.weights > 0].tolist()


@given(n_rows=integers(1, 40), size=integers(2, 9))
def test_every_row_is_computed_by_one_process(n_rows: int, size: int) -> None:
    shares = [counted(ranks(rank, size).part(batch(n_rows))) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(n_rows))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(size_of_batch=integers(1, 12), size=integers(2, 9))
def test_no_process_is_without_a_row_and_all_know_the_whole(size_of_batch: int, size: int) -> None:
    for rank in range(size):
        part = ranks(rank, size).part(batch(size_of_batch))
        assert len(part) == len(part.targets) == len(part.weights) >= 1
        assert part.n_rows == size_of_batch
        assert torch.arange(size_of_batch)[part.share].tolist() == part.targets.tolist()
        assert part.inputs["input_ids"][:, 0].tolist() == (2 * part.targets).tolist()


def test_windows_go_with_their_rows() -> None:
    counts = np.array([2, 1, 3])
    whole = Batch(
        {"input_ids": torch.arange(6)[:, None]},
        targets=torch.arange(3),
        weights=torch.ones(3),
        windows=Windows(counts, np.arange(6), 100),
    )
    parts = [ranks(rank, 2).part(whole) for rank in range(2)]
    assert [part.inputs["input_ids"][:, 0].tolist() for part in parts] == [[0, 1, 2], [3, 4, 5]]
    assert [part.windows.counts.tolist() for part in parts] == [[2, 1], [3]]
    assert [part.windows.lengths.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5]]
    assert [len(part) for part in parts] == [2, 1]
    assert all(part.n_rows == 3 for part in parts)


@given(size_of_batch=integers(1, 12), size=integers(2, 9))
def test_values_spread_over_the_batch_add_up_to_all(size_of_batch: int, size: int) -> None:
    whole = torch.zeros(size_of_batch, 2)
    for rank in range(size):
        mine = ranks(rank, size)
        codes = mine.part(batch(size_of_batch)).targets
        whole += mine.spread(torch.stack([codes + 1.0, 2.0 * codes], 1), size_of_batch)
    expected = torch.arange(size_of_batch, dtype=torch.float32)
    assert torch.equal(whole, torch.stack([expected + 1, 2 * expected], 1))


def test_tensors_are_summed_in_place_in_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.tensor(1.0), torch.zeros(2, 3), torch.ones(4, requires_grad=True)]
    mine = ranks(0, 2)
    reduce = mine._accelerator.reduce
    mine._accelerator.reduce = lambda flat, how: reduce(flat, how) * (3 if len(flat) == 11 else 1)
    assert mine.sum_(tensors, "numbers") == 4 * (1 + 6 + 4)
    assert tensors[0] == 3
    assert torch.equal(tensors[1], torch.zeros(2, 3))
    assert torch.equal(tensors[2].detach(), torch.full((4,), 3.0))


def test_an_interrupt_elsewhere_is_raised_here_before_anything_is_changed() -> None:
    value = torch.tensor(1.0)
    with pytest.raises(KeyboardInterrupt):
        ranks(0, 2, interrupted=1).sum_([value], "a number")
    assert value == 1


def test_the_first_interrupt_waits_for_the_next_sum_and_the_second_does_not() -> None:
    mine = ranks(0, 2)
    before = signal.getsignal(signal.SIGINT)
    with mine.holding_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            mine.sum_([torch.tensor(1.0)], "a number")
        mine.sum_([torch.tensor(1.0)], "a number")  # it has been told
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_who_leaves_at_once_waits_for_nobody() -> None:
    mine = ranks(0, 2)
    mine._accelerator.reduce = None
    with pytest.raises(KeyboardInterrupt), mine.together(), mine.holding_interrupts():
        [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]


@pytest.mark.parametrize("n_sums", [0, 1])  # the other one fails at the end, or earlier
def test_a_failure_elsewhere_is_an_error_here(n_sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "_gathered", lambda mine: [mine, "OSError: gone"])
    mine, value = ranks(0, 2, failed=1), torch.tensor(1.0)
    told = "process 1 of distributed=True failed, so the fit ends in all of them: OSError: gone"
    with pytest.raises(OtherProcessError, match=told), mine.together():
        [mine.sum_([value], "a number") for _ in range(n_sums)]


def test_a_failure_here_is_told_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(ranks_module, "_gathered", lambda mine: told.append(mine))
    with pytest.raises(OSError, match="gone"), ranks(0, 2).together():
        raise OSError("gone")
    assert told == ["OSError: gone"]


def test_processes_that_part_are_an_error() -> None:
    with pytest.raises(OtherProcessError, match=r"process 0 is at a batch \(1 numbers\), and ano"):
        ranks(0, 2, away=1).sum_([torch.tensor(1.0)], "a batch")


def test_a_process_that_has_ended_is_an_error() -> None:
    mine = ranks(0, 2)

    def reduce(tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        raise RuntimeError("Connection closed by peer")

    mine._accelerator.reduce = reduce
    with pytest.raises(OtherProcessError, match="has ended, or cannot be reached: Connection clos"):
        mine.broadcast(1, "the seed")


def test_interrupts_are_left_alone_outside_the_main_thread() -> None:
    seen: list[Any] = []

    def enter() -> None:
        with ranks(0, 2).holding_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_alone_nothing_is_shared_or_summed() -> None:
    whole = batch(3)
    codes = whole.targets
    assert ALONE.part(whole) is whole
    assert whole.n_rows == 3
    assert ALONE.spread(codes, 3) is codes
    assert ALONE.sum_([codes], "codes") == 0
    assert ALONE.broadcast(codes, "codes") is codes
    assert ALONE.is_main
    assert ALONE.device is None
    ALONE.agree({"X": object()})


def test_only_the_first_process_is_the_main_one() -> None:
    assert [ranks(rank, 3).is_main for rank in range(3)] == [True, False, False]


def test_not_distributed_is_alone() -> None:
    assert find_ranks(False) is ALONE


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_distributed_is_a_bool(wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"distributed must be True or False; got {wrong!r}"):
        find_ranks(wrong)


def test_a_process_that_was_not_launched_is_alone() -> None:
    pytest.importorskip("accelerate")
    assert find_ranks(True) is ALONE


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-lntune\[distributed\]'"):
        find_ranks(True)


def test_processes_that_accelerate_does_not_see_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accelerate = pytest.importorskip("accelerate")
    alone = SimpleNamespace(num_processes=1)
    monkeypatch.setattr(accelerate, "Accelerator", lambda cpu: alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched, but Accelerate sees one"):
        find_ranks(True)


@pytest.mark.parametrize("world_size", ["1", "2"])
def test_a_parallel_search_around_launched_processes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, world_size: str
) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.setenv("WORLD_SIZE", world_size)
    parallel = Parallel(n_jobs=2, backend="threading")

    def found() -> list[Ranks]:
        return parallel(delayed(find_ranks)(True) for _ in range(2))

    if world_size == "1":
        assert found() == [ALONE, ALONE]
    else:
        with pytest.raises(ValueError, match="cannot fit inside a parallel joblib task"):
            found()
