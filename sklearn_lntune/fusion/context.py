"""`fused_fits`: inside, the fits of a search run as one."""

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
    """Let all fits that scikit-learn starts through joblib train as one, over one backbone.

    Inside, `GridSearchCV`, `cross_val_score`, `BaggingClassifier`, `VotingClassifier` and
    all else that fits through joblib runs unchanged, but for ``n_jobs``: any number
    except 1 means that all fits may run together, and so does None. Each fit keeps its
    own data order, learning rate, schedule, seed and end, so that it learns what it
    would learn by itself.

    Parameters
    ----------
    max_memory : int or "auto", default="auto"
        Bytes that fits which train together may take; more fits train one group after
        the other. What a fit takes is measured. "auto" is half of the memory that is free
        (of the GPU, where there is one).
    verbose : int, default=0
        1 shows a bar with the fits that are done and running, and the time left.
    over : None or "dask", default=None
        None: everything in this process. "dask": the tasks go in groups to the workers of
        the Dask client in use, one group a worker, and each group is fused there. Then
        ``max_memory`` and ``verbose`` hold for each worker. Needs the extra ``cluster``.

    Notes
    -----
    Fits share a group where backbone, tuning methods, pooling, number of classes, device
    and precision are equal. A fit with callbacks, with ``pooling="native"`` or with full
    tuning trains by itself; the logger ``sklearn_lntune.fusion`` says so.

    Of two contexts that choose a backend of joblib's, the inner one alone has an effect.
    Inside ``joblib.parallel_config("dask")``, this one raises a ``ValueError``; the other
    way round nothing can be noticed. Use ``over="dask"`` alone.
    Inside another `fused_fits`, a second one changes nothing: its fits join the first. The
    context is that of the thread which enters it; other threads of yours fit as always.

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
    # scikit-learn sets the filters of warnings in each task, and they are the process's.
    with catch_warnings(), joblib.parallel_config(backend=_backend(max_memory, verbose, over)):
        yield


def _backend(max_memory: Any, verbose: int, over: str | None) -> Any:
    from sklearn_lntune.fusion import cluster

    cluster.check_not_nested(over)
    if over == "dask":
        inside = partial(fused_fits, max_memory=max_memory, verbose=verbose)
        return cluster.FusedDaskBackend(cluster.current_client(), inside)
    from sklearn_lntune.fusion.backend import FusedBackend
    from sklearn_lntune.fusion.coordinator import Coordinator
    from sklearn_lntune.fusion.memory import half_of_free
    from sklearn_lntune.fusion.serving import Server

    budget = half_of_free() if max_memory == "auto" else int(max_memory)
    return FusedBackend(Coordinator(Server(budget, verbose), budget))
