"""The entrance of predictions: a thread computes its own, unless an answerer does it for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.forking import on_fork
from sklearn_lntune.inputs.base import Examples
from sklearn_lntune.persistence.state import FittedState

if TYPE_CHECKING:
    from sklearn_lntune.prediction.together import PredictRequest


class Answerer(Protocol):
    """Computes the predictions of a thread, together with those of other threads."""

    def answer(self, request: PredictRequest) -> np.ndarray:
        """The logits or vectors that ``request`` asks for."""

    def computing(self) -> AbstractContextManager[None]:
        """In this context the thread computes by itself, and no other thread does."""


_thread = threading.local()


def _forget_answerer() -> None:
    # Tasks stay in the parent: a child that waited for them would wait for ever.
    _thread.answerer = None


on_fork(_forget_answerer)


def answerer() -> Any:
    """The answerer of this thread, or None."""
    return getattr(_thread, "answerer", None)


@contextmanager
def answered_by(answerer: Answerer | None) -> Iterator[None]:
    """Let ``answerer`` compute the predictions of this thread; None: the thread itself."""
    before = getattr(_thread, "answerer", None)
    _thread.answerer = answerer
    try:
        yield
    finally:
        _thread.answerer = before


def ask(
    owner: Any,
    state: FittedState,
    examples: Examples,
    output: str,
    *,
    ref: BackboneRef,
    where: Where,
    verbose: int = 0,
) -> np.ndarray:
    """Logits or pooled vectors of ``examples`` from the fitted estimator ``owner``.

    A stream, which is never held whole, is always read and computed by this thread.
    """
    # torch and transformers are imported from here on only.
    from sklearn_lntune.prediction.predictor import located, predictor_for
    from sklearn_lntune.prediction.together import PredictRequest

    backbone, placement = located(state, ref, where)
    other: Answerer | None = answerer()
    if other is not None and examples.held is not None:
        return other.answer(PredictRequest(state, backbone, placement, examples.held, output))
    predictor = predictor_for(owner, state, backbone, placement)
    if other is None:
        return predictor.run(examples, output, verbose)
    with other.computing():
        return predictor.run(examples, output, verbose)
