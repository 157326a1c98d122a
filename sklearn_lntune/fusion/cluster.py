"""A joblib backend that sends groups of tasks to the workers of a Dask cluster.

joblib hands out one task after the other. They are collected until it waits for results,
and then go out in as many groups as there are workers. Each group is one task of Dask's,
and what it holds is fused on its worker. Everything that a group needs is inside it, so
that Dask can run it again elsewhere when its worker is lost.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase

from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.fusion.backend import MAX_TASKS

#: Backends of joblib that leave this machine; in their tasks nothing of a context here is known.
_ELSEWHERE = {"DaskDistributedBackend", "RayBackend"}


def check_not_nested(over: str | None) -> None:
    """Raise where `fused_fits` would silently replace a backend that leaves this machine."""
    if _in_dask_task():
        if over == "dask":
            raise ValueError(
                "fused_fits(over='dask') is inside a task of Dask's, which would wait for "
                "workers while it holds one; use fused_fits() there."
            )
        return
    active = type(joblib.parallel.get_active_backend()[0])
    outer = {each.__name__ for each in active.__mro__}
    if outer & _ELSEWHERE:
        remedy = (
            "use fused_fits(over='dask') alone, which does both"
            if "DaskDistributedBackend" in outer
            else "leave one of the two out; fused_fits goes over Dask, as over='dask', not over Ray"
        )
        raise ValueError(
            f"fused_fits is inside joblib's {active.__name__}, and only the inner one of two "
            f"such contexts has an effect: {remedy}."
        )
    if FusedDaskBackend in active.__mro__ or (over and "FusedBackend" in outer):
        raise ValueError(
            "one fused_fits is inside another, and only the inner one would have an effect: "
            "fused_fits(over='dask') already fuses on each worker."
        )


def _in_dask_task() -> bool:
    if sys.modules.get("distributed") is None:  # no task of Dask's runs here
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def current_client() -> Any:
    """The client of Dask that is in use."""
    try:
        from distributed import get_client
    except ImportError as error:
        raise ImportError(
            "over='dask' needs dask and distributed: pip install 'sklearn-lntune[cluster]'."
        ) from error
    try:
        return get_client()
    except ValueError as error:
        raise ValueError(
            "over='dask': there is no Dask client; make one first, "
            "client = dask.distributed.Client(address of the scheduler)."
        ) from error


@dataclass(frozen=True)
class Failed:
    """The error that a task ended with."""

    error: BaseException


@dataclass(frozen=True)
class Group:
    """Calls that one worker runs together, inside a `fused_fits` of its own."""

    calls: Sequence[Any]
    inside: Callable[[], AbstractContextManager[None]]

    def __call__(self) -> list[Any]:
        """The result of each call; a call that fails does not keep the others from theirs."""
        with self.inside():
            results: list[Any] = joblib.Parallel(n_jobs=-1)(
                joblib.delayed(_kept)(call) for call in self.calls
            )
        return results


def _kept(call: Sequence[tuple[Callable[..., Any], Any, Any]]) -> Any:
    try:
        return [func(*args, **kwargs) for func, args, kwargs in call]
    except BaseException as error:
        # The frames stay on the worker; what they say travels.
        error.add_note("On the worker:\n" + "".join(traceback.format_exception(error)))
        return Failed(error)


@dataclass(frozen=True)
class _Waiting:
    """A task of joblib's that has not been answered."""

    call: Sequence[Any]
    callback: Callable[[Any], None]
    future: Future[Any] = field(default_factory=Future)


class FusedDaskBackend(ParallelBackendBase):
    """Collects tasks and sends them in groups.

    Parameters
    ----------
    client : distributed.Client
    inside : callable
        The `fused_fits` that each worker runs its calls in.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, client: Any, inside: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(nesting_level=0)
        self.client = client
        self.inside = inside
        self._lock = ForkSafeLock()
        self._collected: list[_Waiting] = []
        self._sent: set[Any] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """One where the user says so; else as many as there may be tasks."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 1 if n_jobs == 1 else MAX_TASKS * self._n_workers

    @property
    def _n_workers(self) -> int:
        return len(self.client.ncores()) or 1

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Of no use here: on the worker, that of its own `fused_fits` is in force."""
        return joblib.parallel.SequentialBackend(nesting_level=1), None

    def submit(self, func: Any, callback: Any = None) -> Future[Any]:
        """Collect ``func``; `retrieval_context` or the end of a group sends it out."""
        waiting = _Waiting(func.items, callback)
        with self._lock:
            self._collected.append(waiting)
        return waiting.future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The result of a task, or its error."""
        return out.result()

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """The thread that hands out tasks begins to wait: no more will come by itself."""
        self._send(self._n_workers)
        yield

    def _send(self, n_groups: int) -> None:
        with self._lock:
            collected, self._collected = self._collected, []
        # Neighbours are much alike, and those that are alike make larger banks.
        for piece in np.array_split(np.arange(len(collected)), n_groups):
            if len(piece):
                self._send_group([collected[at] for at in piece])

    def _send_group(self, group: list[_Waiting]) -> None:
        from dask import config

        # Dask would advise to scatter, but scattered data goes with the worker that holds it.
        with config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
            answer = self.client.submit(
                Group([waiting.call for waiting in group], self.inside),
                key=f"fused-fits-{len(group)}-{uuid4().hex}",
            )
        self._sent.add(answer)
        answer.add_done_callback(partial(self._take_in, group))

    def _take_in(self, group: list[_Waiting], answer: Any) -> None:
        """Hand each result of a group to the one who waits for it."""
        try:
            results = answer.result()
        except BaseException as error:  # no worker survived it, or it was cancelled
            results = [Failed(error)] * len(group)
        self._sent.discard(answer)
        for waiting, result in zip(group, results, strict=True):
            if isinstance(result, Failed):
                waiting.future.set_exception(result.error)
            else:
                waiting.future.set_result(result)
            waiting.callback(waiting.future)  # may make joblib submit the next task
        self._send(1)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget what is collected, and cancel the groups that have not begun."""
        with self._lock:
            self._collected = []
        self.client.cancel(list(self._sent))
