"""Rows of many requests are joined, bounded, and answered, whatever happens to some of them.

No test waits for time to pass: computations stop at gates that the tests open.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sklearn_lntune.serving.batching import Batcher, QueueFullError, Row, StoppedError
from sklearn_lntune.serving.limits import Limits

NET = 60  # seconds after which a test has failed; no test waits for it


class Computer:
    """Computes upper-case texts; each batch but those let through waits at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.at_gate = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def __call__(self, rows: Sequence[Row]) -> list[Any]:
        self.batches.append([str(text) for text, _ in rows])
        self.at_gate.release()
        assert self.gate.acquire(timeout=NET)
        if any(text == "bad" for text, _ in rows):
            raise ValueError("bad row")
        return [str(text).upper() for text, _ in rows]

    def hold(self, batcher: Batcher) -> Any:
        """Keep the thread busy with a request, so that others have to wait."""
        future = batcher.submit([("held", "t")])
        assert self.at_gate.acquire(timeout=NET)
        return future

    def open(self, times: int = 100) -> None:
        self.gate.release(times)


@pytest.fixture
def computer() -> Computer:
    return Computer()


@pytest.fixture
def batcher(computer: Computer) -> Iterator[Batcher]:
    limits = Limits(
        max_answers=8, max_waiting=8, batch_answers=4, batch_seconds=0, max_jobs=2, max_texts=8
    )
    batcher = Batcher(computer, limits)
    batcher.start()
    yield batcher
    computer.open()
    batcher.stop()


def rows(*texts: str) -> list[Row]:
    return [(text, "t") for text in texts]


def test_requests_that_wait_are_joined_up_to_the_bound(
    batcher: Batcher, computer: Computer
) -> None:
    held = computer.hold(batcher)
    futures = [batcher.submit(rows(*texts)) for texts in (["a"], ["b", "c"], ["d"], ["e"])]
    assert batcher.n_waiting == 5
    computer.open()
    assert [future.result(NET) for future in futures] == [["A"], ["B", "C"], ["D"], ["E"]]
    assert held.result(NET) == ["HELD"]
    assert computer.batches == [["held"], ["a", "b", "c", "d"], ["e"]]
    assert batcher.n_waiting == 0


def test_a_request_waits_for_others_until_a_batch_is_full(computer: Computer) -> None:
    limits = Limits(batch_answers=3, batch_seconds=NET)
    batcher = Batcher(computer, limits)
    batcher.start()
    computer.open()
    futures = [batcher.submit(rows(text)) for text in "abc"]
    assert [future.result(NET) for future in futures] == [["A"], ["B"], ["C"]]
    assert computer.batches == [["a", "b", "c"]]
    last = batcher.submit(rows("d"))
    batcher.stop()  # nobody else can come, so it does not wait
    assert last.result(0) == ["D"]


def test_a_large_request_lets_others_pass(batcher: Batcher, computer: Computer) -> None:
    computer.hold(batcher)
    large, small = batcher.submit(rows(*"abcdef")), batcher.submit(rows("x"))
    computer.open()
    assert large.result(NET) == [*"ABCDEF"]
    assert small.result(NET) == ["X"]
    assert computer.batches[1:] == [["a", "b", "c", "d"], ["x", "e", "f"]]


def test_a_full_queue_refuses(batcher: Batcher, computer: Computer) -> None:
    computer.hold(batcher)
    waiting = batcher.submit(rows(*"abcdef"))
    with pytest.raises(QueueFullError):
        batcher.submit(rows("x", "y", "z"))
    batcher.submit(rows("x", "y"))
    assert waiting.cancel()
    assert batcher.n_waiting == 2  # a cancelled request makes room
    batcher.submit(rows(*"uvwxyz"))
    with pytest.raises(QueueFullError):
        batcher.submit(rows("x"))


def test_cancelled_requests_are_not_computed(batcher: Batcher, computer: Computer) -> None:
    held = computer.hold(batcher)
    gone, stays = batcher.submit(rows("a")), batcher.submit(rows("b"))
    assert gone.cancel()
    assert held.cancel()  # its answer is thrown away
    assert batcher.unfinished() == {stays}
    computer.open()
    assert stays.result(NET) == ["B"]
    assert computer.batches == [["held"], ["b"]]


def test_the_rest_of_a_cancelled_request_is_not_computed(
    batcher: Batcher, computer: Computer
) -> None:
    large = batcher.submit(rows(*"abcdefgh"))
    assert computer.at_gate.acquire(timeout=NET)
    assert batcher.n_waiting == 4
    assert large.cancel()
    assert batcher.n_waiting == 0
    computer.open()
    assert batcher.submit(rows("x")).result(NET) == ["X"]
    assert computer.batches == [["a", "b", "c", "d"], ["x"]]


def test_only_the_request_at_fault_fails(batcher: Batcher, computer: Computer) -> None:
    computer.hold(batcher)
    good, bad, also = (batcher.submit(rows(*texts)) for texts in (["a"], ["bad", "b"], ["c"]))
    computer.open()
    assert good.result(NET) == ["A"]
    assert also.result(NET) == ["C"]
    with pytest.raises(ValueError, match="bad row"):
        bad.result(NET)
    assert batcher.n_waiting == 0
    assert batcher.is_open


def test_a_request_that_fails_half_way_is_over(batcher: Batcher, computer: Computer) -> None:
    computer.open()
    with pytest.raises(ValueError, match="bad row"):
        batcher.submit(rows("bad", *"abcdefg")).result(NET)
    assert batcher.submit(rows("x")).result(NET) == ["X"]
    assert computer.batches == [["bad", "a", "b", "c"], ["x"]]
    assert batcher.n_waiting == 0


def test_jobs_run_between_batches_and_take_turns_with_them(
    batcher: Batcher, computer: Computer
) -> None:
    computer.hold(batcher)
    order: list[str] = []
    jobs = [batcher.run(lambda name=name: order.append(name)) for name in "ab"]
    with pytest.raises(QueueFullError):
        batcher.run(lambda: None)
    future = batcher.submit(rows("x"))
    future.add_done_callback(lambda _: order.append("x"))
    computer.open()
    for job in jobs:
        job.result(NET)
    assert future.result(NET) == ["X"]
    assert order == ["a", "x", "b"]
    with pytest.raises(ZeroDivisionError):
        batcher.run(lambda: 1 / 0).result(NET)
    assert batcher.is_open


def test_stopping_answers_all_that_was_accepted(batcher: Batcher, computer: Computer) -> None:
    computer.hold(batcher)
    futures = [batcher.submit(rows(*texts)) for texts in ("abcdef", "gh")]
    job = batcher.run(lambda: "done")
    stopping = threading.Thread(target=batcher.stop)
    stopping.start()
    computer.open()
    stopping.join(NET)
    assert [future.result(0) for future in futures] == [[*"ABCDEF"], [*"GH"]]
    assert job.result(0) == "done"
    assert not batcher.is_open
    with pytest.raises(StoppedError):
        batcher.submit(rows("x"))
    with pytest.raises(StoppedError):
        batcher.run(lambda: None)


def test_batches_are_observed(computer: Computer) -> None:
    seen: list[int] = []
    batcher = Batcher(computer, Limits(batch_seconds=0), lambda n, seconds: seen.append(n))
    batcher.start()
    computer.open()
    batcher.submit(rows("a", "b")).result(NET)
    batcher.stop()
    assert seen == [2]
