"""The score of a validation set: tried out before training, and taken after each epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sklearn_lntune.task import OneLabel
from sklearn_lntune.task.one_label import is_from_sklearn
from sklearn_lntune.training.rows import Rows


def check_scores(task: OneLabel, codes: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
    """Raise if scikit-learn's scorer cannot score validation rows of these classes and weights.

    It scores made-up answers, so that it fails before the first epoch rather than after it. A
    callable of the user's is not tried out: it may count its calls.

    Raises
    ------
    ValueError
        If no made-up answers have a finite score.
    """
    if not is_from_sklearn(scoring):
        return
    why = ""
    for logits in _made_up(codes, task.n_outputs):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                score = task.score(logits, codes, weights, scoring)
        except Exception as error:  # whatever a metric raises
            why = why or f"{type(error).__name__}: {error}"
            continue
        if math.isfinite(score):
            return
        why = why or f"the score is {score}"
    absent = task.classes[np.setdiff1d(np.arange(task.n_outputs), codes)].tolist()
    remedy = "Choose another scoring."
    if absent:
        remedy = (
            f"They lack the classes {absent[:10]}: pass X_val and y_val that hold every class, set "
            "a larger validation_fraction, or choose another scoring."
        )
    raise ValueError(
        f"scoring={scoring!r} cannot score the {len(codes)} validation rows ({why.rstrip('.')}). "
        f"{remedy}"
    )


def _made_up(codes: np.ndarray, n_outputs: int) -> Iterator[np.ndarray]:
    """Logits that are right everywhere, nowhere, and in every second row.

    Some scores are not defined where there is nothing right, or nothing wrong.
    """
    row = np.arange(len(codes))
    for shift in (np.zeros_like(codes), np.ones_like(codes), row % 2):
        logits = np.zeros((len(codes), n_outputs))
        logits[row, (codes + shift) % n_outputs] = 1.0
        yield logits


def validation_score(
    task: OneLabel, logits: np.ndarray, valid: Rows, scoring: Any, earlier: Sequence[float]
) -> float:
    """The score of ``logits``; the first of a fit that is not finite brings a warning.

    Parameters
    ----------
    task : OneLabel
    logits : ndarray of shape (n_rows, n_classes)
    valid : Rows
    scoring : {"loss"}, str or callable
    earlier : sequence of float
        The scores of the epochs before.
    """
    score = task.score(logits, valid.codes, valid.weights, scoring)
    if not math.isfinite(score) and np.isfinite(earlier).all():
        warnings.warn(
            f"the validation score of epoch {len(earlier) + 1} is {score}, so scoring={scoring!r} "
            "says nothing of it. Early stopping passes over such epochs: none of them is the best, "
            "and patience does not count them. Choose another scoring, or validation rows that it "
            "can score.",
            UserWarning,
            stacklevel=2,
        )
    return score
