"""Know when every running task waits, and then let one of them serve them all.

A task is a thread that joblib runs. While it computes by itself it is *busy*; when it
comes to a fit or a prediction of ours it hands in a request and waits. As soon as no
task is busy, no further request can come, and one of the waiting threads serves all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The task that the running thread is.
_current = threading.local()


class Task:
    """One task of joblib's, run in a thread of its own.

    Parameters
    ----------
    coordinator : Coordinator
    parent : Task or None
        The task that started this one, where searches are nested.
    """

    def __init__(self, coordinator: Coordinator, parent: Task | None) -> None:
        self.coordinator = coordinator
        self._parent = parent
        self._cancelled = False

    def cancel(self) -> None:
        """Let its fit end at the next step."""
        self._cancelled = True
        self.coordinator.wake()

    @property
    def cancelled(self) -> bool:
        """Whether it, or a task above it, shall end."""
        return self._cancelled or (self._parent is not None and self._parent.cancelled)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, this thread is the task; it counts as busy since it was submitted."""
        _current.task = self
        try:
            yield
        finally:
            _current.task = None
            self.coordinator.less_busy()


def current_task() -> Task | None:
    """The task that this thread is, if it is one."""
    return getattr(_current, "task", None)


class Request:
    """What a task waits for.

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
    """Collects requests, and has them served when all tasks wait.

    Parameters
    ----------
    serve : callable
        Given a list of requests, sets ``result`` or ``error`` of each.
    max_waiting : int
        Bytes of waiting requests beyond which they are served at once, though more may
        come.
    """

    def __init__(self, serve: Callable[[Sequence[Request]], None], max_waiting: int) -> None:
        self._serve = serve
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._busy = 0
        self._waiting: list[Request] = []
        self._serving = False
        #: Held by whoever computes: a bank, or a fit that trains alone.
        self.computing = threading.Lock()

    def more_busy(self, n: int = 1) -> None:
        """``n`` more threads may bring requests."""
        with self._changed:
            self._busy += n

    def less_busy(self, n: int = 1) -> None:
        """``n`` threads wait or have ended."""
        with self._changed:
            self._busy -= n
            self._changed.notify_all()

    def wake(self) -> None:
        """Let waiting tasks see that they are cancelled."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, request: Request) -> Any:
        """Hand in ``request`` and return its result; the thread may have to serve others."""
        with self._changed:
            self._waiting.append(request)
            self._busy -= 1
            self._changed.notify_all()
        while not request.done:
            with self._changed:
                self._changed.wait_for(
                    lambda: request.done or self._due() or self._gives_up(request)
                )
                taken = self._take(request)
            if taken:
                self._serve_all(taken)
        if request.error is not None:
            raise request.error
        return request.result

    def _due(self) -> bool:
        """Whether the waiting requests shall be served now."""
        if self._serving or not self._waiting:
            return False
        held = sum(request.size for request in self._waiting)
        return self._busy == 0 or held > self._max_waiting

    def _may_go_on(self, request: Request) -> bool:
        return request.done or self._due() or self._gives_up(request)

    def _gives_up(self, request: Request) -> bool:
        return request.task.cancelled and request in self._waiting

    def _take(self, request: Request) -> list[Request]:
        """The requests that this thread is to serve; with the lock held."""
        if self._gives_up(request):
            self._waiting.remove(request)
            request.error = KeyboardInterrupt("the search was ended.")
            self._finish([request])
            return []
        if request.done or not self._due():
            return []
        taken, self._waiting, self._serving = self._waiting, [], True
        return taken

    def _serve_all(self, taken: list[Request]) -> None:
        try:
            with self.computing:
                self._serve(taken)
        except BaseException as error:  # of ours: each task shall know of it
            for request in taken:
                if request.error is None and request.result is None:
                    request.error = error
        with self._changed:
            self._serving = False
            self._finish(taken)

    def _finish(self, requests: list[Request]) -> None:
        for request in requests:
            request.done = True
        self._busy += len(requests)  # their threads run again
        self._changed.notify_all()
