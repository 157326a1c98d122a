"""One label per row: binary and multiclass classification."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.utils.multiclass import check_classification_targets

from sklearn_lntune.checks import check_number
from sklearn_lntune.inputs.stream import LabelColumn
from sklearn_lntune.task.base import Classifying
from sklearn_lntune.task.labels import check_labels
from sklearn_lntune.task.scoring import ScoredByRow
from sklearn_lntune.task.weights import row_weights

if TYPE_CHECKING:
    import torch


class OneLabel(ScoredByRow, Classifying):
    """Encode labels, weight rows, and turn logits into predictions.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted.
    label_smoothing : float in [0, 1), default=0.0
        Share of the target that is spread over all classes in training.
    class_weight : None, "balanced" or dict, default=None

    Examples
    --------
    >>> task = OneLabel.from_targets(["spam", "ham", "spam"])
    >>> task.classes
    array(['ham', 'spam'], dtype='<U4')
    >>> task.encode(["spam", "ham"])
    array([1, 0], dtype=int32)
    >>> task.predict(np.array([[0.1, 2.0]]))
    array(['spam'], dtype='<U4')
    """

    kind = "one_label"
    state_names = ("classes",)
    problem_type = "single_label_classification"

    def __init__(
        self, classes: np.ndarray, *, label_smoothing: float = 0.0, class_weight: Any = None
    ) -> None:
        self.classes = classes
        self.label_smoothing = check_number(
            "label_smoothing", label_smoothing, high=1, open_high=True
        )
        self.class_weight = class_weight

    @classmethod
    def from_targets(cls, y: Any, sample_weight: Any = None, **options: Any) -> Self:
        """The task that the training targets ``y`` describe."""
        if isinstance(y, LabelColumn):
            return cls.from_classes(y.values, y.where, **options)
        y = check_labels(y, warn=False)  # `encode` warns
        task = cls.from_classes(y, **options)
        check_classification_targets(y)  # warns if classes exceed half the rows
        return task

    @classmethod
    def from_classes(cls, classes: Any, name: str = "y", **options: Any) -> Self:
        """The task with these ``classes``, which may come in any order and repeat."""
        distinct = np.unique(check_labels(classes, name))
        if not len(distinct):
            raise ValueError(f"{name} contains no labels (0 sample(s)).")
        if len(distinct) < 2:
            raise ValueError(
                f"{name} holds 1 class only ({distinct.tolist()[0]!r}); a classifier needs at "
                "least two to learn from."
            )
        return cls(distinct, **options)

    @property
    def loss_options(self) -> float:
        """The smoothing."""
        return self.label_smoothing

    @property
    def n_outputs(self) -> int:
        """Logits per row: one per class, so two for a binary task."""
        return len(self.classes)

    @property
    def output_names(self) -> list[str]:
        """The classes."""
        return [str(each) for each in self.classes.tolist()]

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Position of each label in ``classes``, as int32."""
        if isinstance(y, LabelColumn):
            return self.encode(y.values, y.where)[y.codes]
        labels = check_labels(y, name)
        codes = np.zeros(len(labels), np.int32)
        known = np.zeros(len(labels), bool)
        # NumPy would compare '1' and 1 as strings, and so take one for the other.
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

    def decode(self, targets: np.ndarray) -> np.ndarray:
        """The labels themselves."""
        return self.classes[targets]

    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """Sample weight times class weight of each row.

        As in scikit-learn's gradient boosting, a validation set is weighted like a training
        set.
        """
        return row_weights(self.classes, targets, sample_weight, self.class_weight)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """The classes themselves."""
        return targets

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Cross-entropy of each row, of shape (n_rows,); smoothed in training."""
        from torch.nn.functional import cross_entropy

        smoothing = self.label_smoothing if training else 0.0
        # Targets are stored and transferred as int32, half the size of int64.
        return cross_entropy(outputs, targets.long(), reduction="none", label_smoothing=smoothing)

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """The label with the largest logit."""
        return self.classes[logits.argmax(axis=1)]

    @staticmethod
    def probabilities(logits: np.ndarray) -> np.ndarray:
        """Softmax over the classes."""
        return np.asarray(softmax(logits, axis=1))

    @staticmethod
    def log_probabilities(logits: np.ndarray) -> np.ndarray:
        """Logarithm of the softmax, accurate even if a probability underflows."""
        return np.asarray(log_softmax(logits, axis=1))

    @staticmethod
    def decision_function(logits: np.ndarray) -> np.ndarray:
        """Logits, or for two classes their difference, positive for the second."""
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def negative_loss(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        """The negative mean cross-entropy, without torch."""
        losses = -self.log_probabilities(outputs)[np.arange(len(targets)), targets]
        return -float(np.average(losses, weights=weights))

    def made_up(self, targets: np.ndarray) -> Iterator[np.ndarray]:
        """Logits that are right in all rows, in none, and in every second one.

        Some scores are undefined if everything is right, or everything is wrong.
        """
        row = np.arange(len(targets))
        for shift in (np.zeros_like(targets), np.ones_like(targets), row % 2):
            logits = np.zeros((len(targets), self.n_outputs))
            logits[row, (targets + shift) % self.n_outputs] = 1.0
            yield logits

    def what_lacks(self, targets: np.ndarray) -> str:
        """The classes that no row has."""
        absent = self.classes[np.setdiff1d(np.arange(self.n_outputs), targets)].tolist()
        return f"They lack the classes {absent[:10]}" if absent else ""

    def state(self) -> dict[str, np.ndarray]:
        """The classes."""
        return {"classes": self.classes}

    @classmethod
    def check_state(cls, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError unless the classes are sorted and distinct."""
        classes = state["classes"]
        if classes.ndim != 1 or len(classes) < 2:
            raise ValueError(f"classes must be two or more labels; got {len(classes)}")
        values = classes.tolist()
        kinds = {isinstance(value, str) for value in values}
        if len(kinds) > 1 or not all(low < high for low, high in itertools.pairwise(values)):
            raise ValueError("classes must be sorted, distinct, and all numbers or all strings")

    def card(self) -> dict[str, str]:
        """The number of classes, and their names."""
        names = self.output_names
        return {
            "what": f"A text classifier of {len(names)} classes",
            "head": "classification head",
            "targets": f"Classes: {', '.join(names[:50])}{', ...' if names[50:] else ''}",
            "variable": "clf",
        }

    def options(self) -> dict[str, Any]:
        """The smoothing; class weights are part of the weights of rows."""
        return {"label_smoothing": self.label_smoothing}


def _family(labels: np.ndarray) -> str:
    """The kind of ``labels``: strings compare with strings only, and numbers with numbers."""
    kind = labels.dtype.kind
    return "strings" if kind in "UO" else "numbers" if kind in "biuf" else kind
