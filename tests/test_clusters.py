"""Searches over two worker processes of Dask's, and over Ray."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_lntune import fused_fits

#: On a busy machine workers are late, which is no reason to give them up.
PATIENT = {
    "distributed.comm.timeouts.connect": "900s",
    "distributed.comm.timeouts.tcp": "900s",
    "distributed.scheduler.worker-ttl": None,
}
GRID = {"lr": [1e-3, 1e-2, 3e-2]}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes, which all tests share: starting one takes seconds."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    import dask

    with (
        dask.config.set(PATIENT),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=None,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers lack this file
        client.amm.stop()
        yield client


@pytest.fixture
def watched(client: Any) -> Iterator[Any]:
    """The workers, counting from here on loads of a backbone and sizes of banks."""
    client.run(watch)
    yield client
    client.run(unwatch)


def watch() -> None:
    from sklearn_lntune import clear_backbones
    from sklearn_lntune.backbone import pool
    from sklearn_lntune.fusion import serving

    load, train = pool.watched = pool.load_model, serving.train  # type: ignore[attr-defined]
    pool.loads, serving.banks = [], []  # type: ignore[attr-defined]

    def counted(source: Any, *args: Any) -> Any:
        pool.loads.append(str(source.folder))  # type: ignore[attr-defined]
        return load(source, *args)

    def noted(jobs: Any, **options: Any) -> Any:
        serving.banks.append(len(jobs))  # type: ignore[attr-defined]
        return train(jobs, **options)

    pool.load_model, serving.train = counted, noted
    clear_backbones()


def unwatch() -> None:
    from sklearn_lntune.backbone import pool
    from sklearn_lntune.fusion import serving

    pool.load_model, serving.train = pool.watched  # type: ignore[attr-defined]


def loads() -> int:
    from sklearn_lntune.backbone import pool

    return len(pool.loads)  # type: ignore[attr-defined]


def banks() -> list[int]:
    from sklearn_lntune.fusion import serving

    sizes, serving.banks = serving.banks, []  # type: ignore[attr-defined]
    return sizes


def scores(search: Any) -> np.ndarray:
    kept = [name for name in search.cv_results_ if name.startswith("split")]
    return np.array([search.cv_results_[name] for name in kept])


def test_search_over_dask_is_the_sequential_one_and_loads_a_backbone_a_worker(
    watched: Any, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    search = GridSearchCV(tiny_clf(), GRID, cv=2, refit=False)
    expected = scores(search.fit(texts, labels))
    for _ in range(2):
        with joblib.parallel_config("dask"):
            search.fit(texts, labels)
        np.testing.assert_array_equal(scores(search), expected)
    assert max(watched.run(loads).values()) == 1


def test_what_travels_is_small(
    client: Any, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf()
    with joblib.parallel_config("dask"):
        found = cross_validate(clf, texts, labels, cv=2, return_estimator=True)
    assert len(pickle.dumps(clf)) < 4_000
    for fitted in found["estimator"]:
        assert len(pickle.dumps(fitted)) < 32_000
        assert fitted.predict(texts[:3]).shape == (3,)


def test_fused_over_dask_is_one_bank_a_worker_and_equals_the_sequential_search(
    watched: Any, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    search = GridSearchCV(tiny_clf(), GRID, cv=2)
    expected = search.fit(texts, labels)
    before, proba = scores(expected), expected.predict_proba(texts)
    watched.run(banks)
    with fused_fits(over="dask"):
        search.fit(texts, labels)
    np.testing.assert_allclose(scores(search), before, rtol=0, atol=1e-12)
    np.testing.assert_allclose(search.predict_proba(texts), proba, rtol=0, atol=1e-9)
    # Dask decides which worker takes a group.
    assert sorted(itertools.chain(*watched.run(banks).values())) == [3, 3]


def test_fused_over_dask_keeps_an_error_to_its_task(
    client: Any, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    search = GridSearchCV(tiny_clf(), {"lr": [1e-2, -1.0]}, cv=2, refit=False)
    with fused_fits(over="dask"), pytest.warns(match="2 fits failed|non-finite"):
        search.fit(texts, labels)
    assert np.isfinite(scores(search)[:, 0]).all()
    assert np.isnan(scores(search)[:, 1]).all()
    with (
        fused_fits(over="dask"),
        pytest.raises(ValueError, match="lr") as caught,
    ):
        search.set_params(error_score="raise").fit(texts, labels)
    assert "On the worker" in caught.value.__notes__[0]


@pytest.mark.parametrize("fused", [False, True], ids=["scattered", "fused"])
def test_no_candidate_is_lost_with_a_worker(
    fused: bool,
    client: Any,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    """The first worker that comes to a fit is killed, with rows enough to travel apart.

    The last test of those with workers: a killed one may be long in coming back.
    """
    client.wait_for_workers(2)
    here, died = os.getpid(), str(tmp_path / "died")

    def die_once(X: list[str]) -> list[str]:
        if os.getpid() != here:
            try:
                os.close(os.open(died, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return X
            os.kill(os.getpid(), signal.SIGKILL)
        return X

    X, y = texts * 8, labels * 8
    splits = [(a.tolist(), b.tolist()) for a, b in StratifiedKFold(2).split(X, y)]
    quick = tiny_clf(max_epochs=1, batch_size=64)
    pipeline = Pipeline([("die", FunctionTransformer(die_once)), ("clf", quick)])
    search = GridSearchCV(pipeline, {f"clf__{k}": v for k, v in GRID.items()}, cv=splits)
    expected = scores(search.set_params(refit=False).fit(X, y))
    inside = fused_fits(over="dask") if fused else joblib.parallel_config("dask", scatter=[X, y])
    with inside:
        search.fit(X, y)
    assert Path(died).exists()
    np.testing.assert_allclose(scores(search), expected, rtol=0, atol=1e-12)


def test_search_over_ray_is_the_sequential_one(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
    from ray.util.joblib import register_ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # else it kills where memory is short
    search = GridSearchCV(tiny_clf(), GRID, cv=2, refit=False)
    expected = scores(search.fit(texts, labels))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20)
    try:
        register_ray()
        with joblib.parallel_config("ray", n_jobs=2):
            search.fit(texts, labels)
            with pytest.raises(ValueError, match="Ray"), fused_fits():
                pass
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(scores(search), expected)
