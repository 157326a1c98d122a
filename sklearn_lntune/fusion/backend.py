"""A joblib backend whose tasks are threads, all of them in flight together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

from sklearn_lntune.fusion.coordinator import Coordinator, Task, current_task

#: What is said to be the number of workers; joblib sends out twice as many tasks.
MOST_TASKS = 256


class FusedBackend(ParallelBackendBase):
    """Gives each task a thread, and tells the coordinator which of them may bring fits.

    Parameters
    ----------
    coordinator : Coordinator
    nesting_level : int
        As joblib counts it.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True
    default_n_jobs = -1

    def __init__(self, coordinator: Coordinator, nesting_level: int = 0) -> None:
        super().__init__(nesting_level=nesting_level)
        self.coordinator = coordinator
        self._parent: Task | None = None
        self._tasks: dict[Task, threading.Thread] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """One where the user says so; else as many as there may be tasks."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 1 if n_jobs == 1 else MOST_TASKS

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Searches inside a task fuse with those of other tasks."""
        return FusedBackend(self.coordinator, (self.nesting_level or 0) + 1), None

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **options: Any) -> int:
        """Note in which task this call is made; each task has a nested backend of its own."""
        self._parent = current_task()
        return super().configure(n_jobs, parallel, **options)

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Future[Any]:
        """Run ``func`` in a thread of its own."""
        future: Future[Any] = Future()
        task = Task(self.coordinator, self._parent)
        self.coordinator.more_busy()

        def run() -> None:
            with task.running():
                try:
                    future.set_result(func())
                except BaseException as error:
                    future.set_exception(error)
                self._tasks.pop(task, None)
                # Before the task counts as ended: joblib may submit the next one here.
                callback(future)

        thread = threading.Thread(target=run, name="fused-fit", daemon=True)
        self._tasks[task] = thread
        thread.start()
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The result of a task, or its error."""
        return out.result()

    # A thread that sends out tasks may bring more, until it begins to wait for results.

    def start_call(self) -> None:
        """Begin to send out tasks."""
        if current_task() is None:
            self.coordinator.more_busy()

    def stop_call(self) -> None:
        """All results are there."""
        if current_task() is None:
            self.coordinator.less_busy()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Inside, the thread waits for results."""
        self.coordinator.less_busy()
        try:
            yield
        finally:
            self.coordinator.more_busy()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what runs, and wait until it has ended."""
        running = dict(self._tasks)
        for task in running:
            task.cancel()
        self.coordinator.less_busy()  # this thread brings nothing while it waits
        for thread in running.values():
            if thread is not threading.current_thread():
                thread.join()
        self.coordinator.more_busy()
