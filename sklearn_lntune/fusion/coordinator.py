"""Collect requests until every running task waits, and then let one of them serve all.

A task is a thread that joblib runs. While it computes by itself it is *busy*; at a fit or a
prediction it hands in a request and waits. When no thread is busy, no further request can
come, and one of the waiting threads serves them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np

from sklearn_lntune.prediction.asking import answered_by, answerer

if TYPE_CHECKING:
    from sklearn_lntune.prediction.together import PredictRequest

from sklearn_lntune.forking import ForkSafeLock, on_fork

#: Seconds without a new request after which the waiting ones are served in any case, since a
#: busy task may depend on one that waits here, for instance through a lock of the user.
PATIENCE = 30.0


class Client:
    """A source of requests: a task, or a thread that submits tasks.

    Parameters
    ----------
    coordinator : Coordinator
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.calls = 0
        self.waits = 0

    @property
    def busy(self) -> bool:
        """Whether it computes by itself."""
        return self.calls > 0 and self.waits == 0

    def begin(self) -> None:
        """From here on it may bring requests."""
        self.coordinator.change(self, calls=1)

    def end(self) -> None:
        """It brings none any more, once it has ended as often as it began."""
        self.coordinator.change(self, calls=-1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count as waiting in this context."""
        self.coordinator.change(self, waits=1)
        try:
            yield
        finally:
            self.coordinator.change(self, waits=-1)


class Task(Client):
    """One task of joblib's, run in a thread of its own.

    Parameters
    ----------
    coordinator : Coordinator
    parent : Task or None
        The task that started this one, where searches are nested.
    """

    def __init__(self, coordinator: Coordinator, parent: Task | None) -> None:
        super().__init__(coordinator)
        self._parent = parent
        self._cancelled = False

    def cancel(self) -> None:
        """Let its fit end at the next step."""
        self._cancelled = True
        self.coordinator.wake()

    @property
    def cancelled(self) -> bool:
        """Whether this task, or one that started it, has been cancelled."""
        return self._cancelled or (self._parent is not None and self._parent.cancelled)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this thread the task in this context; it counts as busy since its submission."""
        try:
            with answered_by(self):
                yield
        finally:
            self.end()

    def answer(self, request: PredictRequest) -> np.ndarray:
        """Wait until ``request`` is answered together with those of other tasks."""
        found: np.ndarray = self.coordinator.wait_for(Request(self, request))
        return found

    def computing(self) -> AbstractContextManager[None]:
        """In this context this task computes, and no other does."""
        return self.coordinator.computing()


def current_task() -> Task | None:
    """The task of this thread, or None."""
    task: Task | None = answerer()
    return task


@contextmanager
def _no_task() -> Iterator[None]:
    """Let code called by this thread (such as the user's scorer) compute by itself."""
    with answered_by(None), joblib.parallel_config(backend="sequential"):
        yield


class Request:
    """A fit or a prediction that a task waits for.

    Parameters
    ----------
    task : Task
    content : object
    size : int
        Bytes that it holds while it waits.
    """

    def __init__(self, task: Task, content: Any, size: int = 0) -> None:
        self.task = task
        self.content = content
        self.size = size
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Coordinator:
    """Collects requests, and serves them when all tasks wait.

    Parameters
    ----------
    serve : callable
        Takes a list of requests, and sets ``result`` or ``error`` of each.
    max_waiting : int
        If waiting requests take more bytes, they are served at once, although more may come.
    """

    def __init__(self, serve: Callable[[Sequence[Request]], None], max_waiting: int) -> None:
        self._serve = serve
        self._max_waiting = max_waiting
        self._computing = ForkSafeLock()
        self._start()
        on_fork(self._start)

    def _start(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._waiting: list[Request] = []
        self._held = 0
        self._latest = 0.0
        self._serving = False
        self._senders = threading.local()

    @property
    def sender(self) -> Client:
        """The client of the current thread as a sender of tasks: its task, or one of its own."""
        task = current_task()
        if task is not None:
            return task
        if not hasattr(self._senders, "client"):
            self._senders.client = Client(self)
        client: Client = self._senders.client
        return client

    def change(self, client: Client, calls: int = 0, waits: int = 0) -> None:
        """Update the number of busy clients."""
        with self._changed:
            self._count(client, calls, waits)
            if self._due():
                self._changed.notify_all()

    def _count(self, client: Client, calls: int = 0, waits: int = 0) -> None:
        # A client may wait twice, for a request and for tasks that it submitted: what counts is
        # whether it changed between busy and not busy.
        before = client.busy
        client.calls += calls
        client.waits += waits
        self._busy += client.busy - before

    def wake(self) -> None:
        """Let waiting tasks see that they are cancelled."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """In this context this thread computes a bank or an unfused fit, and no other does."""
        with self._computing, _no_task():
            yield

    def wait_for(self, request: Request) -> Any:
        """Hand in ``request`` and return its result; the thread may have to serve others."""
        with self._changed:
            self._waiting.append(request)
            self._held += request.size
            self._latest = time.monotonic()
            self._count(request.task, waits=1)
            if self._due():
                self._changed.notify_all()
        # Any waiting thread may become the one that serves: there is no thread for it, which would
        # have to outlive the tasks.
        while not request.done:
            with self._changed:
                self._changed.wait_for(lambda: self._may_go_on(request), timeout=PATIENCE)
                taken = self._take(request)
            if taken:
                self._serve_all(taken)
        if request.error is not None:
            raise request.error
        return request.result

    def _due(self) -> bool:
        """Whether the waiting requests should be served now."""
        if self._serving or not self._waiting:
            return False
        if self._busy == 0 or self._held > self._max_waiting:
            return True
        return time.monotonic() - self._latest >= PATIENCE

    def _may_go_on(self, request: Request) -> bool:
        return request.done or self._due() or self._gives_up(request)

    def _gives_up(self, request: Request) -> bool:
        return request.task.cancelled and request in self._waiting

    def _take(self, request: Request) -> list[Request]:
        """The requests that this thread has to serve; the caller holds the lock."""
        if request.done:
            return []
        if self._gives_up(request):
            self._waiting.remove(request)
            self._held -= request.size
            request.error = KeyboardInterrupt("the search was ended.")
            self._finish([request])
            return []
        if not self._due():
            return []
        taken, self._waiting, self._held, self._serving = self._waiting, [], 0, True
        return taken

    def _serve_all(self, taken: list[Request]) -> None:
        try:
            with self.computing():
                self._serve(taken)
        except BaseException as error:  # not of a single request: each task raises it
            for request in taken:
                if request.error is None and request.result is None:
                    request.error = error
        with self._changed:
            self._serving = False
            self._finish(taken)

    def _finish(self, requests: list[Request]) -> None:
        for request in requests:
            request.done = True
            self._count(request.task, waits=-1)  # its thread runs again
        self._changed.notify_all()
