"""A joblib backend whose tasks are threads that all run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from joblib.parallel import FallbackToBackend, ParallelBackendBase

from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.fusion.coordinator import Coordinator, Task, current_task

#: The reported number of workers; joblib submits twice as many tasks.
MAX_TASKS = 256


class FusedBackend(ParallelBackendBase):
    """Runs each task in a thread, and reports to the coordinator which of them may bring fits.

    Parameters
    ----------
    coordinator : Coordinator
    nesting_level : int
        As counted by joblib.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True
    default_n_jobs = -1

    def __init__(self, coordinator: Coordinator, nesting_level: int = 0) -> None:
        super().__init__(nesting_level=nesting_level)
        self.coordinator = coordinator
        self.parallel: Any = None
        self._parent: Task | None = None
        self._sender = coordinator.sender
        self._tasks: dict[Task, threading.Thread] = {}
        self._aborted = False
        self._lock = ForkSafeLock()
        self._n_running = 0  # tasks whose result is not there yet
        self._retrieving = self._waiting = False

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """One if the user requests it; else the largest number of tasks."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 1 if n_jobs == 1 else MAX_TASKS

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Searches inside a task fuse with those of other tasks."""
        return FusedBackend(self.coordinator, (self.nesting_level or 0) + 1), None

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **options: Any) -> int:
        """Use one backend per `Parallel` call, so that one can be aborted without the others."""
        if self.parallel is not parallel:
            own = FusedBackend(self.coordinator, self.nesting_level or 0)
            own.parallel = parallel
            own._parent = current_task()
            raise FallbackToBackend(own)
        return super().configure(n_jobs, parallel, **options)

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Future[Any]:
        """Run ``func`` in a thread of its own."""
        future: Future[Any] = Future()
        task = Task(self.coordinator, self._parent)

        def run() -> None:
            with task.running():
                try:
                    future.set_result(func())
                except BaseException as error:
                    future.set_exception(error)
                self._tasks.pop(task, None)
                # Called before the task counts as ended: joblib may submit the next one in it,
                # and after the last task, the thread that waits for results continues.
                try:
                    callback(future)
                finally:
                    self._count(-1)

        thread = threading.Thread(target=run, name="fused-fit", daemon=True)
        task.begin()
        self._count(1)
        self._tasks[task] = thread
        if self._aborted:  # joblib was about to submit it
            task.cancel()
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._tasks.pop(task)
            task.end()
            future.set_exception(error)
            callback(future)
            self._count(-1)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The result of a task, or its error."""
        return out.result()

    # A thread that submits tasks may submit more, until it begins to wait for results. With a
    # generator, another thread than the one that submitted may take the results.

    def start_call(self) -> None:
        """Begin to submit tasks."""
        self._aborted = False
        self._sender = self.coordinator.sender
        self._sender.begin()

    def stop_call(self) -> None:
        """End a call whose results are complete."""
        self._sender.end()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Count the thread as waiting for results, until the last one is complete."""
        self._count(0, retrieving=True)
        try:
            yield
        finally:
            self._count(0, retrieving=False)

    def _count(self, change: int, retrieving: bool | None = None) -> None:
        """Update the number of running tasks: a sender waits if it retrieves and some run.

        joblib polls for results. Once the last task has ended, the sender counts as busy even
        if it has not noticed yet, since it may submit more fits, which others should wait for.
        """
        with self._lock:
            self._n_running += change
            self._retrieving = self._retrieving if retrieving is None else retrieving
            before, self._waiting = self._waiting, self._retrieving and self._n_running > 0
            if self._waiting != before:
                self._sender.coordinator.change(self._sender, waits=1 if self._waiting else -1)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the running tasks, and wait until they have ended."""
        self._aborted = True
        running = dict(self._tasks)
        for task in running:
            task.cancel()
        with self._sender.waiting():
            for thread in running.values():
                if thread is not threading.current_thread():
                    thread.join()
