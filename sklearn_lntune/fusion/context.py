"""`fused_fits`: a context in which the fits of a search train as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from warnings import catch_warnings

import joblib

from sklearn_lntune.checks import check_number


@contextmanager
def fused_fits(
    *, max_memory: int | str = "auto", verbose: int = 0, over: str | None = None
) -> Iterator[None]:
    """Train all fits that scikit-learn starts through joblib together, over one backbone.

    `GridSearchCV`, `cross_val_score`, `BaggingClassifier`, `VotingClassifier` and everything
    else that fits through joblib runs unchanged in this context, except for ``n_jobs``: None
    and any number but 1 mean that all fits may run together. Each fit has the data order,
    learning rate, schedule, seed and number of steps that it would have alone, so it learns
    the same.

    Parameters
    ----------
    max_memory : int or "auto", default="auto"
        Bytes that fits training together may use; if all fits need more, they train in
        groups, one group after the other. The memory of a fit is measured. "auto" is half
        of the free memory of the device that they train on.
    verbose : int, default=0
        1 shows a progress bar with the fits that are done and running, and the time left.
    over : None or "dask", default=None
        None runs everything in this process. "dask" sends the tasks in groups to the workers
        of the current Dask client, one group per worker, and fuses each group there; then
        ``max_memory`` and ``verbose`` apply to each worker. Needs the extra ``cluster``.

    Yields
    ------
    None
        Nothing: the context has no value.

    Notes
    -----
    Fits train together if their backbone, tuning methods, pooling, kind of target, number of
    outputs, device and precision are the same. A fit with callbacks, with ``pooling="native"``
    or with full tuning trains alone; the logger ``sklearn_lntune.fusion`` says so.

    If two contexts choose a joblib backend, only the inner one has an effect. Inside
    ``joblib.parallel_config("dask")``, this one raises a ``ValueError``; the reverse cannot be
    detected. Use ``over="dask"`` alone. A `fused_fits` inside another changes nothing: its
    fits join those of the outer one. The context applies to the thread that enters it; other
    threads fit as usual.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_lntune import LNTunedTransformerClassifier, fused_fits
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> with fused_fits():
    ...     search = GridSearchCV(clf, {"lr": [3e-3, 1e-2]}, cv=2, refit=False).fit(X[:64], y[:64])
    >>> search.n_splits_
    2
    """
    if not (isinstance(max_memory, str) and max_memory == "auto"):
        check_number("max_memory", max_memory, integer=True, low=1)
    if over not in (None, "dask"):
        raise ValueError(f"over must be None or 'dask'; got {over!r}.")
    # torch and transformers are imported from here on only.
    from sklearn_lntune.fusion.backend import FusedBackend

    if over is None and isinstance(joblib.parallel.get_active_backend()[0], FusedBackend):
        yield
        return
    # scikit-learn sets the warning filters in each task. Here tasks are threads, and the filters
    # belong to the whole process, so they are restored at the end.
    with catch_warnings(), joblib.parallel_config(backend=_backend(max_memory, verbose, over)):
        yield


def _backend(max_memory: Any, verbose: int, over: str | None) -> Any:
    from sklearn_lntune.fusion import cluster

    cluster.check_not_nested(over)
    if over == "dask":
        inside = partial(fused_fits, max_memory=max_memory, verbose=verbose)
        return cluster.FusedDaskBackend(cluster.current_client(), inside)
    import torch

    from sklearn_lntune.fusion.backend import FusedBackend
    from sklearn_lntune.fusion.coordinator import Coordinator
    from sklearn_lntune.fusion.memory import half_of_free
    from sklearn_lntune.fusion.serving import Server

    budget = None if max_memory == "auto" else int(max_memory)
    # Requests wait in the memory of the host, whatever device their fits are for.
    waiting = half_of_free(torch.device("cpu")) if budget is None else budget
    return FusedBackend(Coordinator(Server(budget, verbose), waiting))
