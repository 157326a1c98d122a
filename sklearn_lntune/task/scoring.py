"""Apply scikit-learn's scorers to outputs that have been computed already."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from inspect import signature
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from sklearn_lntune.task.base import Classifying, Task
from sklearn_lntune.task.scorers import check_scoring


class ScoredByRow(Task):
    """A task with one prediction per row, which any scorer of scikit-learn can score.

    Subclasses have ``decode``, ``made_up`` and ``what_lacks`` besides.
    """

    def score(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
    ) -> float:
        """Score a validation set; ``"loss"`` is the negative mean of `loss`."""
        if isinstance(scoring, str) and scoring == "loss":
            return self.negative_loss(outputs, targets, weights)
        return score_known_outputs(self, outputs, targets, weights, scoring)

    def check_scores(self, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
        """Raise a ValueError if ``scoring`` cannot score these validation rows."""
        check_scores(self, targets, weights, scoring)


def score_known_outputs(
    task: Any, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
) -> float:
    """The score of ``outputs`` by the scorer ``scoring``; arguments as for `Task.score`.

    ``task`` has a method ``decode``, which returns targets as the user passes them.
    """
    scorer = check_scoring(scoring)
    rows = np.arange(len(targets))[:, None]
    options: dict[str, Any] = {}
    if not np.all(weights == weights[0]) and takes(scorer, "sample_weight"):
        options["sample_weight"] = weights
    one_label = targets.ndim == 1
    if one_label and _reads_columns(scorer) and len(np.unique(targets)) < task.n_outputs:
        options["labels"] = task.classes  # for every column, including classes without a row
    # Without metadata routing, scorers accept no other option than weights.
    routed = "labels" in options
    with config_context(enable_metadata_routing=True) if routed else nullcontext():
        known = _KnownLabels if isinstance(task, Classifying) else _KnownNumbers
        found = scorer(known(task, outputs), rows, task.decode(targets), **options)
    return as_number(found, scoring)


def check_scores(task: Any, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
    """Raise if scikit-learn's scorer cannot score validation rows of these targets and weights.

    The scorer is tried on made-up outputs, so that it fails before the first epoch rather than
    after it. A callable of the user is not tried, since it may count its calls.

    Parameters
    ----------
    task : Task
        Has methods ``made_up``, which returns outputs to try for ``targets``, and
        ``what_lacks``, which says what scorers may miss in them.
    targets, weights, scoring
        As for `Task.score`.

    Raises
    ------
    ValueError
        If no made-up outputs have a finite score.
    """
    if not is_from_sklearn(scoring):
        return
    why = ""
    for outputs in task.made_up(targets):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                score = task.score(outputs, targets, weights, scoring)
        except Exception as error:  # whatever a metric raises
            why = why or f"{type(error).__name__}: {error}"
            continue
        if math.isfinite(score):
            return
        why = why or f"the score is {score}"
    remedy = "Choose another scoring."
    if lacking := task.what_lacks(targets):
        remedy = (
            f"{lacking}: pass X_val and y_val that hold every class, set a larger "
            "validation_fraction, or choose another scoring."
        )
    raise ValueError(
        f"scoring={scoring!r} cannot score the {len(targets)} validation rows ({why.rstrip('.')}). "
        f"{remedy}"
    )


class _Known(BaseEstimator):
    """Looks like a fitted estimator to a scorer, and predicts from known outputs."""

    def __init__(self, task: Any, outputs: np.ndarray) -> None:
        self.task = task
        self.outputs = outputs

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.task.predict(self.outputs[rows[:, 0]])


class _KnownLabels(ClassifierMixin, _Known):
    def __init__(self, task: Any, outputs: np.ndarray) -> None:
        super().__init__(task, outputs)
        self.classes_ = task.classes

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return self.task.probabilities(self.outputs[rows[:, 0]])

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.task.decision_function(self.outputs[rows[:, 0]])


class _KnownNumbers(RegressorMixin, _Known):
    pass


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
