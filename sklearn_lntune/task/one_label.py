"""One label a row: binary and multiclass classification."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

if TYPE_CHECKING:
    import torch


class OneLabel:
    """Encode labels, weigh rows, turn logits into answers.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted.

    Examples
    --------
    >>> task = OneLabel.from_targets(["spam", "ham", "spam"])
    >>> task.classes
    array(['ham', 'spam'], dtype='<U4')
    >>> task.encode(["spam", "ham"])
    array([1, 0], dtype=int32)
    >>> task.decide(np.array([[0.1, 2.0]]))
    array(['spam'], dtype='<U4')
    """

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    @classmethod
    def from_targets(cls, y: Any) -> OneLabel:
        """The task that the training targets ``y`` describe."""
        y = check_labels(_each_once(y) if _is_compact(y) else y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"y holds 1 class only ({classes.tolist()[0]!r}); a classifier needs at least two "
                "to learn from."
            )
        return cls(classes)

    @property
    def n_outputs(self) -> int:
        """Logits a row: one a class, two for a binary task."""
        return len(self.classes)

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Position of each label in ``classes``."""
        if _is_compact(y):
            return self.encode(_each_once(y), name)[::2][y.codes]
        y = check_labels(y, name)
        known = np.isin(y, self.classes)
        if not known.all():
            unknown = np.unique(y[~known])[:5].tolist()
            raise ValueError(
                f"{name} holds labels that are not among the classes: {unknown}. The classes are "
                f"{self.classes[:20].tolist()}."
            )
        return np.searchsorted(self.classes, y).astype(np.int32)

    def row_weights(
        self, codes: np.ndarray, sample_weight: np.ndarray | None, class_weight: Any
    ) -> np.ndarray:
        """Sample weight times class weight of each row.

        As in scikit-learn's gradient boosting, a validation set is weighed like a training
        set.
        """
        if sample_weight is None:
            weights = np.broadcast_to(1.0, codes.shape)  # one number, however many rows
        else:
            weights = sample_weight.astype(float)
        if class_weight is None:
            return weights
        if not isinstance(class_weight, dict) and class_weight != "balanced":
            raise ValueError(
                f"class_weight must be None, 'balanced' or a dict; got {class_weight!r}."
            )
        if isinstance(class_weight, dict):
            unknown = [label for label in class_weight if label not in self.classes]
            if unknown:
                raise ValueError(
                    f"class_weight names labels that are not among the classes: {unknown}. The "
                    f"classes are {self.classes[:20].tolist()}."
                )
            factors = np.array([class_weight.get(label, 1.0) for label in self.classes.tolist()])
        else:
            # Weighted rows count as that many rows, as repeating them would.
            counts = np.bincount(codes, weights=weights, minlength=self.n_outputs)
            present = counts > 0
            factors = np.zeros(self.n_outputs)
            factors[present] = counts.sum() / (present.sum() * counts[present])
        return weights * factors[codes]

    @staticmethod
    def loss(
        logits: torch.Tensor, codes: torch.Tensor, label_smoothing: float | torch.Tensor = 0.0
    ) -> torch.Tensor:
        """Cross-entropy of each row, of shape (n_rows,); smoothing may differ by row."""
        from torch.nn.functional import cross_entropy

        if isinstance(label_smoothing, float | int):
            return cross_entropy(logits, codes, reduction="none", label_smoothing=label_smoothing)
        # It is linear in the smoothing.
        plain = cross_entropy(logits, codes, reduction="none")
        if not label_smoothing.any():
            return plain
        even = cross_entropy(logits, codes, reduction="none", label_smoothing=1.0)
        return plain.lerp(even, label_smoothing)

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """The label with the largest logit."""
        return self.classes[logits.argmax(axis=1)]

    @staticmethod
    def probabilities(logits: np.ndarray) -> np.ndarray:
        """Softmax over the classes."""
        return np.asarray(softmax(logits, axis=1))

    @staticmethod
    def log_probabilities(logits: np.ndarray) -> np.ndarray:
        """Logarithm of the softmax, exact also where a probability underflows."""
        return np.asarray(log_softmax(logits, axis=1))

    @staticmethod
    def decision(logits: np.ndarray) -> np.ndarray:
        """Logits, or for two classes their difference, positive for the second."""
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def score(
        self, logits: np.ndarray, codes: np.ndarray, weights: np.ndarray, scoring: Any
    ) -> float:
        """Score a validation set, larger is better.

        Parameters
        ----------
        logits : ndarray of shape (n_rows, n_classes)
        codes : ndarray of int of shape (n_rows,)
        weights : ndarray of shape (n_rows,)
            Of each row in the score, where the scorer takes weights.
        scoring : {"loss"}, str or callable
            ``"loss"`` is the negative mean cross-entropy; a string or callable is as
            scikit-learn's ``scoring``.
        """
        if isinstance(scoring, str) and scoring == "loss":
            losses = -self.log_probabilities(logits)[np.arange(len(codes)), codes]
            return -float(np.average(losses, weights=weights))
        scorer = check_scoring(scoring)
        rows = np.arange(len(codes))[:, None]
        options: dict[str, Any] = {}
        if not np.all(weights == weights[0]) and _takes(scorer, "sample_weight"):
            options["sample_weight"] = weights
        if _reads_columns(scorer) and len(np.unique(codes)) < self.n_outputs:
            options["labels"] = self.classes  # of every column, also of classes without a row
        # Options other than weights are taken with routing switched on only.
        routed = "labels" in options
        with config_context(enable_metadata_routing=True) if routed else nullcontext():
            found = scorer(_KnownAnswers(self, logits), rows, self.classes[codes], **options)
        return _as_number(found, scoring)


class _KnownAnswers(ClassifierMixin, BaseEstimator):
    """A fitted classifier, as far as a scorer can tell, whose logits are known already."""

    def __init__(self, task: OneLabel, logits: np.ndarray) -> None:
        self.task = task
        self.logits = logits
        self.classes_ = task.classes

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.task.decide(self.logits[rows[:, 0]])

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return self.task.probabilities(self.logits[rows[:, 0]])

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.task.decision(self.logits[rows[:, 0]])


def _takes(scorer: Any, option: str) -> bool:
    """Whether a scorer, made by scikit-learn or a plain callable, knows ``option``."""
    function = getattr(scorer, "_score_func", scorer)
    return option in signature(function).parameters


def _reads_columns(scorer: Any) -> bool:
    """Whether a scorer of scikit-learn's reads a column a class, and can be told which."""
    response = getattr(scorer, "_response_method", "predict")
    free = "labels" not in getattr(scorer, "_kwargs", {})
    return response != "predict" and free and _takes(scorer, "labels")


def is_from_sklearn(scoring: Any) -> bool:
    """Whether ``scoring`` is a scorer of scikit-learn's, rather than a callable of the user's."""
    return hasattr(check_scoring(scoring), "_score_func")


def _as_number(score: Any, scoring: Any) -> float:
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scoring={scoring!r} must return one number; it returned {type(score).__name__}."
        ) from error


def check_scoring(scoring: Any) -> Any:
    """The scorer that ``scoring`` names, or the callable itself; ``"loss"`` stays."""
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


def _is_compact(y: Any) -> bool:
    """Whether ``y`` is a pandas Categorical, without gaps: labels once, and numbers."""
    return hasattr(y, "categories") and hasattr(y, "codes") and bool(np.all(y.codes >= 0))


def _each_once(y: Any) -> np.ndarray:
    """The labels of a Categorical; twice, since labels that never repeat look continuous."""
    return np.repeat(np.array(y.categories.tolist()), 2)


def check_labels(y: Any, name: str = "y") -> np.ndarray:
    """``y`` as a 1-D array of labels."""
    if y is None:
        raise ValueError(f"requires {name} to be passed, but the target {name} is None")
    if np.asarray(y).dtype.kind == "f":
        assert_all_finite(y, input_name=name)
    kind = type_of_target(y, input_name=name, raise_unknown=True)
    if kind.startswith("multilabel") or kind == "multiclass-multioutput":
        raise ValueError(
            f"{name} has several labels a row ({kind}); this classifier gives one. Wrap it in "
            "sklearn.multioutput.MultiOutputClassifier or OneVsRestClassifier."
        )
    check_classification_targets(y)
    return np.asarray(column_or_1d(y, warn=True))
