"""joblib over threads that meet: no order of events may hang, and no error may be lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest
from joblib import Parallel, delayed

from sklearn_lntune import fused_fits
from sklearn_lntune.fusion import backend, coordinator
from sklearn_lntune.fusion.backend import FusedBackend
from sklearn_lntune.fusion.coordinator import Coordinator, Request, current_task

pytestmark = pytest.mark.usefixtures("no_fused_thread_left")


class Doubling:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, requests: Sequence[Request]) -> None:
        self.sizes.append(len(requests))
        for request in requests:
            if isinstance(request.content, Exception):
                request.error = request.content
            else:
                request.result = 2 * request.content


@contextmanager
def meeting() -> Iterator[Doubling]:
    """Inside, `Parallel` runs tasks that meet; afterwards nobody counts as busy."""
    serve = Doubling()
    place = Coordinator(serve, 10**9)
    with joblib.parallel_config(backend=FusedBackend(place)):
        yield serve
    join_tasks()  # a task has handed over its result before it has ended
    assert place._busy == 0
    assert not place._waiting


def join_tasks() -> None:
    for thread in threading.enumerate():
        if thread.name == "fused-fit":
            thread.join()


def fit(number: Any) -> Any:
    task = current_task()
    if task is None:
        return 2 * number
    return task.coordinator.wait_for(Request(task, number))


def failing(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError
    return fit(number)


def many(function: Callable[..., Any], n: int, **options: Any) -> Any:
    return Parallel(**options)(delayed(function)(i) for i in range(n))


def nested(level: int) -> Any:
    return fit(level) if not level else [nested(level - 1), *many(lambda i: nested(level - 1), 2)]


@pytest.mark.parametrize("n_jobs", [None, -1, 2])
def test_all_tasks_arrive_together(n_jobs: int | None) -> None:
    with meeting() as serve:
        assert many(fit, 36, n_jobs=n_jobs) == list(range(0, 72, 2))
    assert serve.sizes == [36]


def test_one_job_means_one_by_one() -> None:
    with meeting() as serve:
        assert many(fit, 3, n_jobs=1) == [0, 2, 4]
        with pytest.raises(ValueError, match="n_jobs == 0"):
            many(fit, 3, n_jobs=0)
    assert serve.sizes == []


def test_more_tasks_than_may_be_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_TASKS", 3)
    with meeting() as serve:
        assert many(fit, 20) == list(range(0, 40, 2))
    assert max(serve.sizes) <= 6  # twice the number of workers
    assert sum(serve.sizes) == 20


def test_three_levels_come_together() -> None:
    with meeting() as serve:
        assert many(lambda i: many(lambda j: many(fit, 2), 3), 4) == [[[0, 2]] * 3] * 4
    assert serve.sizes == [24]


def test_nested_calls_beside_fits_of_ones_own() -> None:
    with meeting() as serve:
        many(lambda i: nested(3), 3)
    assert sum(serve.sizes) == 3 * 27


def test_uneven_numbers_of_fits() -> None:
    with meeting() as serve:
        found = many(lambda i: [fit(j) for j in range(i)], 6)
    assert found == [[2 * j for j in range(i)] for i in range(6)]
    assert serve.sizes == [5, 4, 3, 2, 1]


def test_whoever_has_all_results_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib looks for results every 10 ms, and a thread that is late in looking still comes."""
    real, asleep, late = time.sleep, threading.Event(), threading.local()
    finals: list[int] = []

    class Patient(Doubling):
        def __call__(self, requests: Sequence[Request]) -> None:
            asleep.wait()
            super().__call__(requests)

    serve = Patient()
    place = Coordinator(serve, 10**9)

    def sleep(seconds: float) -> None:
        if not getattr(late, "here", False):
            real(seconds)
            return
        asleep.set()
        while len(serve.sizes) < 2 and (len(finals) < 2 or len(place._waiting) < 2):
            real(0.001)  # until the others have come to their last fits

    def search(i: int) -> Any:
        late.here = i == 0
        found = many(fit, 2)
        late.here = False
        if i:
            finals.append(i)
        return found, fit(i)

    monkeypatch.setattr(time, "sleep", sleep)
    with joblib.parallel_config(backend=FusedBackend(place)):
        assert many(search, 3) == [([0, 2], 2 * i) for i in range(3)]
    assert serve.sizes == [6, 3]


def test_a_failing_task_ends_the_call_and_its_tasks() -> None:
    with meeting():
        with pytest.raises(ZeroDivisionError):
            many(failing, 30)
        assert many(fit, 3) == [0, 2, 4]


def test_an_error_in_a_nested_call_ends_all() -> None:
    with meeting():
        with pytest.raises(ZeroDivisionError):
            many(lambda i: many(failing, 5), 5)
        assert many(fit, 3) == [0, 2, 4]


def test_an_error_from_the_server() -> None:
    with meeting():
        with pytest.raises(LookupError):
            many(lambda i: fit(LookupError()), 4)
        assert many(fit, 3) == [0, 2, 4]


def test_an_error_while_tasks_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(n: int) -> Iterator[Any]:
        for i in range(n):
            yield delayed(fit)(i)
        raise LookupError

    for most, n in ((256, 5), (2, 9)):
        monkeypatch.setattr(backend, "MAX_TASKS", most)
        with meeting():
            with pytest.raises(LookupError):
                Parallel()(draw(n))
            assert many(fit, 3) == [0, 2, 4]


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if thread.name == "fused-fit":
            started.append(thread)
            if len(started) > 3:
                raise RuntimeError("can't start new thread")
        start(thread)

    with meeting():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            with pytest.raises(RuntimeError, match="new thread"):
                many(fit, 10)
        assert many(fit, 3) == [0, 2, 4]


@pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
def test_results_as_a_generator(kind: str) -> None:
    with meeting():
        assert sorted(many(fit, 5, return_as=kind)) == [0, 2, 4, 6, 8]


def test_two_generators_at_once() -> None:
    with meeting():
        one, two = many(fit, 4, return_as="generator"), many(fit, 3, return_as="generator")
        assert many(fit, 2) == [0, 2]
        assert list(two) == [0, 2, 4]
        assert list(one) == [0, 2, 4, 6]


def test_fits_between_the_results_of_a_generator() -> None:
    def consume(i: int) -> list[int]:
        return [fit(each) for each in many(fit, 3, return_as="generator")]

    with meeting():
        assert many(consume, 4) == [[0, 4, 8]] * 4


def test_a_generator_that_is_dropped_ends_its_own_tasks_only() -> None:
    with meeting():
        one, two = many(fit, 4, return_as="generator"), many(fit, 3, return_as="generator")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib tells that results were not used
            one.close()
        assert list(two) == [0, 2, 4]


def test_a_generator_may_be_taken_by_another_thread() -> None:
    found: list[int] = []
    with meeting():
        results = many(fit, 4, return_as="generator")
        thread = threading.Thread(target=lambda: found.extend(results))
        thread.start()
        thread.join()
    assert found == [0, 2, 4, 6]


def test_one_parallel_used_again() -> None:
    with meeting() as serve, Parallel() as parallel:
        for _ in range(3):
            assert parallel(delayed(fit)(i) for i in range(4)) == [0, 2, 4, 6]
    assert serve.sizes == [4, 4, 4]


def test_threads_of_the_users_own_are_no_tasks() -> None:
    def in_a_thread(i: int) -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(fit(i)))
        thread.start()
        thread.join()
        return found[0] + fit(i)

    with meeting() as serve:
        assert many(in_a_thread, 4) == [0, 4, 8, 12]
    assert serve.sizes == [4]


def test_other_backends_inside() -> None:
    def threaded(i: int) -> Any:
        with joblib.parallel_config(backend="threading", n_jobs=2):
            return many(fit, 3), fit(i)

    with meeting():
        assert many(threaded, 3) == [([0, 2, 4], 2 * i) for i in range(3)]


def test_a_context_inside_another_joins_it() -> None:
    with fused_fits():
        outer = joblib.parallel.get_active_backend()[0]
        with fused_fits(max_memory=1):
            assert joblib.parallel.get_active_backend()[0] is outer
        found = many(lambda i: _coordinator_of_a_context_inside(), 2)
    assert found == [outer.coordinator] * 2
    assert not isinstance(joblib.parallel.get_active_backend()[0], FusedBackend)


def _coordinator_of_a_context_inside() -> Coordinator:
    with fused_fits():
        return joblib.parallel.get_active_backend()[0].coordinator


@pytest.mark.parametrize("max_memory", [0, -5, 1.5, "much"])
def test_max_memory_is_checked(max_memory: Any) -> None:
    with (
        pytest.raises((ValueError, TypeError), match="max_memory"),
        fused_fits(max_memory=max_memory),
    ):
        pass


def test_filters_of_warnings_are_as_before() -> None:
    before = list(warnings.filters)
    with fused_fits():
        warnings.simplefilter("ignore")
    assert warnings.filters == before


class Schedule:
    """A random program of fits, nested calls, pauses and errors; the same for one seed."""

    def __init__(self, seed: int, with_errors: bool) -> None:
        self.seed, self.with_errors = seed, with_errors

    def __call__(self, path: tuple[int, ...] = ()) -> Any:
        draw = random.Random(f"{self.seed}{path}")
        found: list[Any] = []
        for step in range(draw.randint(0, 3)):
            kind = draw.random()
            if kind < 0.4:
                found.append(fit(step))
            elif kind < 0.5:
                time.sleep(0)
            elif kind < 0.55 and self.with_errors:
                raise ZeroDivisionError
            elif kind < 0.6:
                found.append(list(many(fit, 3, return_as="generator")))
            elif len(path) < 3:
                jobs = [delayed(self)((*path, step, i)) for i in range(draw.randint(0, 4))]
                found.append(Parallel(n_jobs=draw.choice([None, -1, 2, 1]))(jobs))
        return found


@pytest.mark.parametrize("with_errors", [False, True])
def test_random_programs(with_errors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(25):
        monkeypatch.setattr(backend, "MAX_TASKS", 1 + seed % 5 + (seed % 2) * 100)
        program = Schedule(seed, with_errors)

        def run(program: Schedule = program) -> Any:
            try:
                return Parallel(n_jobs=-1)(delayed(program)((i,)) for i in range(6))
            except ZeroDivisionError:
                return "failed"

        with joblib.parallel_config(backend="sequential"):
            expected = run()
        with meeting():
            assert run() == expected


def test_a_task_in_a_lock_is_served_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "PATIENCE", 0.05)
    lock = threading.Lock()

    def locked(i: int) -> Any:
        with lock:
            return fit(i)

    with meeting():
        assert many(locked, 4) == [0, 2, 4, 6]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c(tiny_backbone: Any, tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys, threading
        sys.path.insert(0, {str(Path(backend.__file__).parents[2])!r})
        import torch
        torch.set_num_threads(1)
        from sklearn.model_selection import GridSearchCV
        from sklearn_lntune import LNTunedTransformerClassifier, fused_fits
        from sklearn_lntune.fusion import lockstep

        X, y = ["good dog", "bad cat", "red tree", "blue sun"] * 6, [0, 1] * 12
        def clf(**params):
            params = {{"min_steps": 0, "max_epochs": 1, "batch_size": 32}} | params
            return LNTunedTransformerClassifier({str(tiny_backbone())!r}, device="cpu", **params)
        step, taken = lockstep.StackedTrainer.step, []
        def noted(bank):
            taken.append(1)
            if len(taken) == 20:
                os.kill(os.getpid(), signal.SIGINT)
            return step(bank)
        lockstep.StackedTrainer.step = noted
        search = GridSearchCV(clf(max_epochs=10**6), {{"lr": [1e-3, 1e-2]}}, cv=2, n_jobs=-1)
        try:
            with fused_fits():
                search.fit(X, y)
        except KeyboardInterrupt:
            print("interrupted in", threading.current_thread().name)
        for thread in threading.enumerate():
            if thread.name == "fused-fit":
                thread.join()
        with fused_fits():
            search.set_params(estimator=clf()).fit(X, y)
        print(clf().fit(X, y).n_steps_, search.best_estimator_.n_steps_)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=900,  # a net: no test waits for it
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["interrupted in MainThread", "1 1"]
