"""Fits that share no bank."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

from sklearn_lntune.training.fitting import run
from sklearn_lntune.training.job import Job, Outcome


def why_alone(job: Job) -> str | None:
    """Why ``job`` cannot share a bank, if so."""
    if job.callbacks:
        return "it has callbacks of its own, which expect a skorch net"
    if job.checkpoint is not None:
        return "it keeps a checkpoint"
    if job.pooling == "native":
        return "the head of pooling='native' does not stack"
    private = [method.name for method in job.methods if method.private]
    if private:
        return f"{private[0]!r} shares no weights"
    return None


def run_alone(job: Job, cancelled: Callable[[], bool]) -> Outcome:
    """Train ``job`` by itself; KeyboardInterrupt as soon as ``cancelled()``."""
    callbacks = [*(job.callbacks or ()), ("fused_fits", _Watch(cancelled))]
    try:
        return run(dataclasses.replace(job, callbacks=callbacks))
    except _CancelledError:
        raise KeyboardInterrupt("the search was ended.") from None


class _CancelledError(BaseException):
    """Neither an error that ends one fit, nor a callback's wish to stop."""


class _Watch(Callback):
    """Ends a fit at the next batch once it is cancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self.cancelled = cancelled

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        """Look whether to end."""
        if self.cancelled():
            raise _CancelledError
