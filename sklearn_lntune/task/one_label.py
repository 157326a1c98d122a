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
from sklearn.utils.multiclass import check_classification_targets

from sklearn_lntune.task.labels import check_labels
from sklearn_lntune.task.weights import row_weights
from sklearn_lntune.text.stream import LabelColumn

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
        if isinstance(y, LabelColumn):
            return cls.from_classes(y.values, y.where)
        y = check_labels(y, warn=False)  # `encode` warns
        task = cls.from_classes(y)
        check_classification_targets(y)  # warns where most rows have a class to themselves
        return task

    @classmethod
    def from_classes(cls, classes: Any, name: str = "y") -> OneLabel:
        """The task of telling ``classes`` apart, which may come in any order, and repeatedly."""
        distinct = np.unique(check_labels(classes, name))
        if not len(distinct):
            raise ValueError(f"{name} holds no labels (0 sample(s)).")
        if len(distinct) < 2:
            raise ValueError(
                f"{name} holds 1 class only ({distinct.tolist()[0]!r}); a classifier needs at "
                "least two to learn from."
            )
        return cls(distinct)

    @property
    def n_outputs(self) -> int:
        """Logits a row: one a class, two for a binary task."""
        return len(self.classes)

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Position of each label in ``classes``."""
        if isinstance(y, LabelColumn):
            return self.encode(y.values, y.where)[y.codes]
        labels = check_labels(y, name)
        codes = np.zeros(len(labels), np.int32)
        known = np.zeros(len(labels), bool)
        # NumPy compares '1' with 1 as strings, so that one would pass for the other.
        if _family(labels) == _family(self.classes):
            codes += np.searchsorted(self.classes, labels).astype(np.int32)
            codes[codes == len(self.classes)] = 0
            known = self.classes[codes] == labels
        if not known.all():
            unknown = np.unique(labels[~known])[:5].tolist()
            raise ValueError(
                f"{name} holds labels that are not among the classes: {unknown}. The classes are "
                f"{self.classes[:20].tolist()}."
            )
        return codes

    def row_weights(
        self, codes: np.ndarray, sample_weight: np.ndarray | None, class_weight: Any
    ) -> np.ndarray:
        """Sample weight times class weight of each row.

        As in scikit-learn's gradient boosting, a validation set is weighed like a training
        set.
        """
        return row_weights(self.classes, codes, sample_weight, class_weight)

    @staticmethod
    def loss(
        logits: torch.Tensor, codes: torch.Tensor, label_smoothing: float | torch.Tensor = 0.0
    ) -> torch.Tensor:
        """Cross-entropy of each row, of shape (n_rows,); smoothing may differ by row."""
        from torch.nn.functional import cross_entropy

        codes = codes.long()  # kept and sent as int32, half the size
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
        # scikit-learn's scorers take options other than weights with routing switched on only.
        with config_context(enable_metadata_routing=True) if options else nullcontext():
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


def _family(labels: np.ndarray) -> str:
    """What may be compared with ``labels``: strings with strings, numbers with numbers."""
    kind = labels.dtype.kind
    return "strings" if kind in "UO" else "numbers" if kind in "biuf" else kind
