"""Tests of fused fits run under a watchdog: a deadlock fails, and shows where threads stand."""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from sklearn_lntune.fusion import coordinator, dispatch, memory, serving
from sklearn_lntune.training.job import Job

#: A net: no test waits for it, and a busy machine needs its time.
SECONDS = 900.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Run the test in a thread of its own, and fail where that thread does not end."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    outcome: Future[None] = Future()

    def body() -> None:
        try:
            outcome.set_result(pyfuncitem.obj(**arguments))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=body, name="watched-test", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        pytest.fail(f"not ended after {SECONDS:.0f} s: a deadlock?")
    outcome.result()
    return True


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which fits run together depends neither on seconds that pass nor on memory that is free."""
    monkeypatch.setattr(coordinator, "PATIENCE", 1e6)
    monkeypatch.setattr(memory, "half_of_free", lambda device=None: 4 * 10**9)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[serving.Server]:
    """Every server made during the test; their ``sizes`` tell which fits ran together."""
    made: list[serving.Server] = []

    class Recorded(serving.Server):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(serving, "Server", Recorded)
    return made


class _CaughtError(Exception):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


@pytest.fixture
def job_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """``job_of(clf.fit, X, y)``: the job that the call would train."""

    def caught(fit: Callable[..., Any], *data: Any, **more: Any) -> Job:
        def stop(job: Job) -> Any:
            raise _CaughtError(job)

        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "run", stop)
            with pytest.raises(_CaughtError) as found:
                fit(*data, **more)
        return found.value.job

    return caught


@pytest.fixture
def no_fused_thread_left() -> Any:
    """After the test, no thread of a task is alive."""
    yield
    for thread in threading.enumerate():
        if thread.name == "fused-fit":
            thread.join(SECONDS)
            assert not thread.is_alive()
