"""Requests of many clients joined in batches, which one thread computes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sklearn_lntune.serving.limits import Limits

#: A text or a pair, and the name of the classifier that it is for.
Row: TypeAlias = tuple[str | tuple[str, str], str]
Answers: TypeAlias = list[Any]


class QueueFullError(Exception):
    """Too many rows or jobs wait already."""


class StoppedError(Exception):
    """The thread that computes has not been started, or is stopping."""


@dataclass(eq=False)
class _Request:
    rows: Sequence[Row]
    future: Future[Answers] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    answers: Answers = field(default_factory=list)
    n_taken: int = 0

    def take(self, most: int) -> _Part:
        """The next rows, ``most`` at most."""
        begin = self.n_taken
        self.n_taken = min(begin + most, len(self.rows))
        return _Part(self, self.rows[begin : self.n_taken])

    @property
    def n_waiting(self) -> int:
        return len(self.rows) - self.n_taken


@dataclass(frozen=True)
class _Part:
    """The next rows of a request, as many as fit into a batch."""

    request: _Request
    rows: Sequence[Row]


class Batcher:
    """A queue of requests, and a thread that computes their rows in batches.

    A batch has at most ``limits.batch_answers`` rows, in the order in which requests came. A
    request with more continues at the end of the queue, so that it does not hold up others.

    Parameters
    ----------
    compute : callable
        Given rows, returns one answer for each. If it raises an exception, the requests of the
        batch are computed one by one, so that only those at fault fail.
    limits : Limits
    observe : callable, optional
        Called with the number of rows and the seconds of each batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Row]], Answers],
        limits: Limits,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._compute, self._limits, self._observe = compute, limits, observe
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._unfinished: set[Future[Answers]] = set()
        self._n_waiting = 0
        self._open = False
        self._thread: threading.Thread | None = None

    # -- for callers ---------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        """Rows that wait."""
        return self._n_waiting

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted and computed."""
        return self._open and self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, and accept requests."""
        self._open = True
        self._thread = threading.Thread(target=self._run, name="lntune-serving", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more, compute everything accepted, and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def submit(self, rows: Sequence[Row]) -> Future[Answers]:
        """The answers to ``rows``, some time later; cancel the future to give them up.

        Raises
        ------
        QueueFullError
        StoppedError
        """
        request = _Request(rows)
        with self._changed:
            self._check_open()
            if self._n_waiting + len(rows) > self._limits.max_waiting:
                raise QueueFullError
            self._waiting.append(request)
            self._n_waiting += len(rows)
            self._unfinished.add(request.future)
            self._changed.notify_all()
        request.future.add_done_callback(lambda _: self._forget(request))
        return request.future

    def run(self, job: Callable[[], Any]) -> Future[Any]:
        """What ``job`` returns, called in the thread between two batches.

        Raises
        ------
        QueueFullError
        StoppedError
        """
        future: Future[Any] = Future()
        with self._changed:
            self._check_open()
            if len(self._jobs) >= self._limits.max_jobs:
                raise QueueFullError
            self._jobs.append((job, future))
            self._changed.notify_all()
        return future

    def unfinished(self) -> set[Future[Answers]]:
        """Futures of the requests that were accepted and are not answered yet."""
        with self._changed:
            return set(self._unfinished)

    def _check_open(self) -> None:
        if not self._open:
            raise StoppedError

    def _forget(self, request: _Request) -> None:
        """Remove what is done; a cancelled or failed request may have rows that still wait."""
        with self._changed:
            self._unfinished.discard(request.future)
            if request in self._waiting:
                self._waiting.remove(request)
            self._n_waiting -= request.n_waiting
            request.n_taken = len(request.rows)

    # -- in the thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._waiting or not self._open)
                self._wait_for_company()
                # At most one job, so that many of them do not hold up the requests.
                job = self._jobs.popleft() if self._jobs else None
                parts = self._take()
                if not (job or parts or self._open):
                    return
            if job:
                _call(*job)
            if parts:
                self._answer(parts)

    def _wait_for_company(self) -> None:
        """Wait until a batch is full, or the first request has waited long enough."""
        while self._waiting and self._open and not self._jobs:
            left = self._waiting[0].arrived + self._limits.batch_seconds - time.monotonic()
            if left <= 0 or self._n_waiting >= self._limits.batch_answers:
                break
            self._changed.wait(left)

    def _take(self) -> list[_Part]:
        parts: list[_Part] = []
        room = self._limits.batch_answers
        while room and self._waiting:
            parts.append(self._waiting.popleft().take(room))
            room -= len(parts[-1].rows)
        self._n_waiting -= self._limits.batch_answers - room
        return parts

    def _answer(self, parts: Sequence[_Part]) -> None:
        rows = [row for part in parts for row in part.rows]
        begin = time.monotonic()
        try:
            answers = iter(self._compute(rows))
        except Exception as error:
            if len(parts) == 1:
                _finish(parts[0].request.future, error=error)
            else:
                for part in parts:
                    self._answer([part])
            return
        self._observe(len(rows), time.monotonic() - begin)
        for part in parts:
            self._deliver(part.request, [next(answers) for _ in part.rows])

    def _deliver(self, request: _Request, answers: Answers) -> None:
        request.answers += answers
        with self._changed:
            if request.n_waiting and not request.future.cancelled():
                self._waiting.append(request)
                return
        _finish(request.future, request.answers)


def _finish(future: Future[Any], result: Any = None, error: Exception | None = None) -> None:
    """Set the outcome of ``future``, unless it was cancelled."""
    if future.set_running_or_notify_cancel():
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _call(job: Callable[[], Any], future: Future[Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(job())
        except Exception as error:
            future.set_exception(error)
