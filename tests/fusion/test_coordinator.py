"""Requests of tasks that all wait are served together, by one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import joblib
import pytest

from sklearn_lntune.fusion import coordinator
from sklearn_lntune.fusion.coordinator import Coordinator, Request, Task, current_task


class Doubling:
    """Answers each number with its double, and notes what came together."""

    def __init__(self) -> None:
        self.served: list[list[int]] = []

    def __call__(self, requests: Sequence[Request]) -> None:
        self.served.append(sorted(request.content for request in requests))
        for request in requests:
            request.result = 2 * request.content


def start(
    meeting: Coordinator, bodies: Sequence[Callable[[Task], Any]]
) -> tuple[list[Any], list[Task], list[threading.Thread]]:
    """Run each body as a task; what it returns or raises is put into the list."""
    found: list[Any] = [None] * len(bodies)
    tasks = [Task(meeting, None) for _ in bodies]
    for task in tasks:
        task.begin()

    def run(i: int) -> None:
        with tasks[i].running():
            try:
                found[i] = bodies[i](tasks[i])
            except BaseException as error:
                found[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    return found, tasks, threads


def run_all(meeting: Coordinator, bodies: Sequence[Callable[[Task], Any]]) -> list[Any]:
    found, _, threads = start(meeting, bodies)
    for thread in threads:
        thread.join()
    assert meeting._busy == 0
    return found


def ask(number: int) -> Callable[[Task], Any]:
    return lambda task: task.coordinator.wait_for(Request(task, number))


def test_all_requests_come_together() -> None:
    serve = Doubling()
    assert run_all(Coordinator(serve, 1), [ask(i) for i in range(9)]) == list(range(0, 18, 2))
    assert serve.served == [list(range(9))]


def test_tasks_that_end_without_a_request_keep_nobody_waiting() -> None:
    serve = Doubling()
    found = run_all(Coordinator(serve, 1), [ask(1), lambda task: "nothing", ask(2)])
    assert found == [2, "nothing", 4]
    assert serve.served == [[1, 2]]


def test_a_second_request_comes_with_those_of_the_others() -> None:
    serve = Doubling()

    def twice(task: Task) -> int:
        return sum(task.coordinator.wait_for(Request(task, i)) for i in (1, 10))

    assert run_all(Coordinator(serve, 1), [twice, ask(2), twice]) == [22, 4, 22]
    assert serve.served == [[1, 1, 2], [10, 10]]


def test_an_error_of_the_server_reaches_every_task_that_has_no_answer() -> None:
    def serve(requests: Sequence[Request]) -> None:
        next(r for r in requests if r.content == 0).result = "before"
        raise ValueError("broken")

    meeting = Coordinator(serve, 1)
    found = run_all(meeting, [ask(i) for i in range(3)])
    assert found[0] == "before"
    assert [type(each) for each in found[1:]] == [ValueError] * 2
    assert run_all(meeting, [ask(0)]) == ["before"]  # and it goes on working


def test_a_task_that_waits_can_be_cancelled() -> None:
    serve, go_on = Doubling(), threading.Event()
    found, tasks, threads = start(Coordinator(serve, 1), [ask(1), lambda task: go_on.wait()])
    tasks[0].cancel()
    threads[0].join()
    assert isinstance(found[0], KeyboardInterrupt)
    go_on.set()
    threads[1].join()
    assert serve.served == []


def test_tasks_below_a_cancelled_one_are_cancelled() -> None:
    meeting = Coordinator(Doubling(), 1)
    above = Task(meeting, None)
    below = Task(meeting, above)
    assert not below.cancelled
    above.cancel()
    assert below.cancelled


def test_requests_that_hold_much_are_served_while_others_are_busy() -> None:
    serve, served = Doubling(), threading.Event()

    def large(task: Task) -> int:
        try:
            return task.coordinator.wait_for(Request(task, 1, size=60))
        finally:
            served.set()

    found = run_all(Coordinator(serve, 100), [large, large, lambda task: served.wait()])
    assert found == [2, 2, True]
    assert serve.served == [[1, 1]]


def test_a_lock_of_the_users_around_a_fit_is_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "PATIENCE", 0.05)
    serve, lock = Doubling(), threading.Lock()

    def locked(task: Task) -> int:
        with lock:
            return task.coordinator.wait_for(Request(task, 1))

    assert run_all(Coordinator(serve, 1), [locked] * 4) == [2] * 4
    assert serve.served == [[1]] * 4


def test_what_a_server_calls_is_no_task() -> None:
    seen: list[Any] = []

    def serve(requests: Sequence[Request]) -> None:
        seen.append((current_task(), joblib.parallel.get_active_backend()[0].effective_n_jobs(-1)))
        for request in requests:
            request.result = 1

    assert run_all(Coordinator(serve, 1), [ask(0), ask(1)]) == [1, 1]
    assert seen == [(None, 1)]


def test_one_thread_computes_at_a_time() -> None:
    meeting = Coordinator(Doubling(), 1)
    inside: list[int] = []
    most: list[int] = []

    def alone(task: Task) -> None:
        with meeting.computing():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    run_all(meeting, [alone] * 20)
    assert most == [1] * 20


def test_a_thread_is_busy_once_however_many_calls_it_has_begun() -> None:
    meeting = Coordinator(Doubling(), 1)
    sender = meeting.sender
    assert meeting.sender is sender
    sender.begin()
    sender.begin()
    assert meeting._busy == 1
    with sender.waiting(), sender.waiting():
        assert meeting._busy == 0
    assert meeting._busy == 1
    sender.end()
    assert meeting._busy == 1
    sender.end()
    assert meeting._busy == 0
