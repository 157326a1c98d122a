"""Fits inside `fused_fits` that cannot be trained together with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

from sklearn_lntune.training.fitting import run
from sklearn_lntune.training.job import Job, Outcome


def why_alone(job: Job) -> str | None:
    """The reason why ``job`` cannot be trained together with others; None if it can."""
    if job.callbacks:
        return "it has callbacks of its own, which expect a skorch net"
    if job.on_epoch_predicts:
        return "a callback of scikit-learn looks at the estimator after each epoch"
    if job.checkpoint is not None:
        return "it keeps a checkpoint"
    if job.pooling == "native":
        return "the head of pooling='native' does not stack"
    private = [method.name for method in job.methods if method.private]
    if private:
        return f"{private[0]!r} shares no weights"
    return None


def run_alone(job: Job, cancelled: Callable[[], bool]) -> Outcome:
    """Train ``job`` alone; raise KeyboardInterrupt once ``cancelled()`` is true."""
    callbacks = [*(job.callbacks or ()), ("fused_fits", _Watch(cancelled))]
    try:
        return run(dataclasses.replace(job, callbacks=callbacks))
    except _CancelledError:
        raise KeyboardInterrupt("the search was ended.") from None


class _CancelledError(BaseException):
    """Ends the fit; not an Exception, so that no handler takes it for an error of the fit.

    Not a KeyboardInterrupt either, with which skorch's callbacks request an early end.
    """


class _Watch(Callback):
    """Ends a fit at the next batch once it is cancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self.cancelled = cancelled

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        """End the fit if it has been cancelled."""
        if self.cancelled():
            raise _CancelledError
