"""Groups of tasks for Dask workers, with a client that runs them in this process."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import joblib
import pytest
from joblib.parallel import ParallelBackendBase

from sklearn_lntune import fused_fits
from sklearn_lntune.fusion.cluster import Failed, FusedDaskBackend, Group


class LocalClient:
    """What the backend asks of a Dask client, for two workers that are threads."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.lost = False
        self._pool = ThreadPoolExecutor(2)

    def ncores(self) -> dict[str, int]:
        return {"a": 1, "b": 1}

    def submit(self, group: Group, key: str) -> Future[Any]:
        self.groups.append(group)
        return self._pool.submit(self._lose if self.lost else group)

    def _lose(self) -> None:
        raise RuntimeError("no worker is left")

    def cancel(self, futures: list[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


def half(number: int) -> float:
    if number == 7:
        raise ArithmeticError("seven")
    return number / 2


@pytest.fixture
def client() -> LocalClient:
    pytest.importorskip("dask", reason="needs the extra 'cluster'")
    return LocalClient()


def run(client: Any, numbers: Any, **options: Any) -> list[float]:
    with joblib.parallel_config(backend=FusedDaskBackend(client, fused_fits)):
        return joblib.Parallel(**options)(joblib.delayed(half)(number) for number in numbers)


def test_tasks_go_out_as_one_group_a_worker_of_neighbours(client: LocalClient) -> None:
    numbers = [0, 1, 2, 3, 4]
    assert run(client, numbers) == [0, 0.5, 1, 1.5, 2]
    sent = [[args[0] for call in group.calls for _, args, _ in call] for group in client.groups]
    assert sorted(sent) == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("options", [{"pre_dispatch": 3}, {"batch_size": 4}])
def test_tasks_that_joblib_holds_back_follow(client: LocalClient, options: dict[str, Any]) -> None:
    numbers = range(100, 120)
    assert run(client, numbers, **options) == [number / 2 for number in numbers]


def test_one_job_runs_here(client: LocalClient) -> None:
    assert run(client, [1, 2], n_jobs=1) == [0.5, 1]
    assert not client.groups


def test_an_error_is_that_of_its_task_with_what_the_worker_saw(client: LocalClient) -> None:
    calls = [[(half, (number,), {})] for number in (6, 7, 8)]
    six, seven, eight = Group(calls, fused_fits)()
    assert (six, eight) == ([3.0], [4.0])
    assert isinstance(seven, Failed)
    with pytest.raises(ArithmeticError, match="seven") as caught:
        run(client, [6, 7, 8])
    assert "On the worker" in caught.value.__notes__[0]


def test_a_group_that_is_lost_for_good_is_an_error_and_no_endless_wait(client: LocalClient) -> None:
    client.lost = True
    with pytest.raises(RuntimeError, match="no worker is left"):
        run(client, range(4))


class Elsewhere(ParallelBackendBase):
    def effective_n_jobs(self, n_jobs: int) -> int:
        return 2


@pytest.mark.parametrize(
    ("outer", "remedy"),
    [("DaskDistributedBackend", "over='dask'"), ("RayBackend", "not over Ray")],
)
def test_inside_a_backend_that_leaves_the_machine_is_an_error(outer: str, remedy: str) -> None:
    backend = type(outer, (Elsewhere,), {})()
    with (
        joblib.parallel_config(backend=backend),
        pytest.raises(ValueError, match=remedy),
        fused_fits(),
    ):
        pass


def test_one_inside_another_is_an_error(client: LocalClient) -> None:
    backend = FusedDaskBackend(client, fused_fits)
    with (
        joblib.parallel_config(backend=backend),
        pytest.raises(ValueError, match="already fuses"),
        fused_fits(),
    ):
        pass
    with fused_fits(), pytest.raises(ValueError, match="already fuses"), fused_fits(over="dask"):
        pass


def test_over_is_checked_first() -> None:
    with pytest.raises(ValueError, match="over must be None or 'dask'"), fused_fits(over="ray"):
        pass


def test_without_a_client_or_the_extra_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")

    def none_there() -> None:
        raise ValueError("No clients found")

    monkeypatch.setattr(distributed, "get_client", none_there)
    with pytest.raises(ValueError, match="make one first"), fused_fits(over="dask"):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"sklearn-lntune\[cluster\]"), fused_fits(over="dask"):
        pass
