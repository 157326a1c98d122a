"""Apply scikit-learn's scorers to outputs that have been computed already."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from inspect import signature
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer


def score_known_outputs(
    task: Any, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
) -> float:
    """The score of ``logits`` by the scorer ``scoring``; arguments as for `Task.score`."""
    scorer = check_scoring(scoring)
    rows = np.arange(len(targets))[:, None]
    options: dict[str, Any] = {}
    if not np.all(weights == weights[0]) and takes(scorer, "sample_weight"):
        options["sample_weight"] = weights
    if _reads_columns(scorer) and len(np.unique(targets)) < task.n_outputs:
        options["labels"] = task.classes  # for every column, including classes without a row
    # Without metadata routing, scorers accept no other option than weights.
    routed = "labels" in options
    with config_context(enable_metadata_routing=True) if routed else nullcontext():
        found = scorer(_KnownAnswers(task, logits), rows, task.classes[targets], **options)
    return as_number(found, scoring)


def check_scores(task: Any, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
    """Raise if scikit-learn's scorer cannot score validation rows of these classes and weights.

    The scorer is tried on made-up logits, so that it fails before the first epoch rather than
    after it. A callable of the user is not tried, since it may count its calls.

    Raises
    ------
    ValueError
        If no made-up logits have a finite score.
    """
    if not is_from_sklearn(scoring):
        return
    why = ""
    for logits in _made_up(targets, task.n_outputs):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                score = task.score(logits, targets, weights, scoring)
        except Exception as error:  # whatever a metric raises
            why = why or f"{type(error).__name__}: {error}"
            continue
        if math.isfinite(score):
            return
        why = why or f"the score is {score}"
    absent = task.classes[np.setdiff1d(np.arange(task.n_outputs), targets)].tolist()
    remedy = "Choose another scoring."
    if absent:
        remedy = (
            f"They lack the classes {absent[:10]}: pass X_val and y_val that hold every class, set "
            "a larger validation_fraction, or choose another scoring."
        )
    raise ValueError(
        f"scoring={scoring!r} cannot score the {len(targets)} validation rows ({why.rstrip('.')}). "
        f"{remedy}"
    )


def _made_up(targets: np.ndarray, n_outputs: int) -> Iterator[np.ndarray]:
    """Logits that are right in all rows, in none, and in every second one.

    Some scores are undefined if everything is right, or everything is wrong.
    """
    row = np.arange(len(targets))
    for shift in (np.zeros_like(targets), np.ones_like(targets), row % 2):
        logits = np.zeros((len(targets), n_outputs))
        logits[row, (targets + shift) % n_outputs] = 1.0
        yield logits


class _KnownAnswers(ClassifierMixin, BaseEstimator):
    """Looks like a fitted classifier to a scorer, and returns known logits."""

    def __init__(self, task: Any, logits: np.ndarray) -> None:
        self.task = task
        self.logits = logits
        self.classes_ = task.classes

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.task.predict(self.logits[rows[:, 0]])

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return self.task.probabilities(self.logits[rows[:, 0]])

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.task.decision_function(self.logits[rows[:, 0]])


def takes(scorer: Any, option: str) -> bool:
    """Whether a scorer of scikit-learn or a plain callable accepts ``option``."""
    function = getattr(scorer, "_score_func", scorer)
    return option in signature(function).parameters


def _reads_columns(scorer: Any) -> bool:
    """Whether a scorer of scikit-learn reads one column per class, and accepts ``labels``."""
    response = getattr(scorer, "_response_method", "predict")
    free = "labels" not in getattr(scorer, "_kwargs", {})
    return response != "predict" and free and takes(scorer, "labels")


def is_from_sklearn(scoring: Any) -> bool:
    """Whether ``scoring`` is a scorer of scikit-learn rather than a callable of the user."""
    return hasattr(check_scoring(scoring), "_score_func")


def as_number(score: Any, scoring: Any) -> float:
    """``score`` as a float; ``scoring`` is to blame if it is none."""
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scoring={scoring!r} must return one number; it returned {type(score).__name__}."
        ) from error


def check_scoring(scoring: Any) -> Any:
    """The scorer named ``scoring``, or the callable itself; ``"loss"`` is returned as it is."""
    if callable(scoring) or (isinstance(scoring, str) and scoring == "loss"):
        return scoring
    try:
        if scoring is None:
            raise ValueError("None is no scorer's name")
        return get_scorer(scoring)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"scoring must be 'loss', a scorer's name or a callable; got {scoring!r}. "
            "sklearn.metrics.get_scorer_names() lists the names."
        ) from error
