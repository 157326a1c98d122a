"""Several labels per row: multi-label classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit, log_expit

from sklearn_lntune.checks import check_number, column_names
from sklearn_lntune.inputs.stream import LabelTable
from sklearn_lntune.task.base import Classifying
from sklearn_lntune.task.reading import as_array, refuse_missing
from sklearn_lntune.task.scoring import ScoredByRow
from sklearn_lntune.task.weights import (
    check_sample_weight,
    label_weights,
    plain_weights,
)

if TYPE_CHECKING:
    import torch

_FORMS = (
    "an indicator of labels: an array, a frame or a sparse matrix of shape (n_samples, n_labels) "
    "with 1 for each label that a row has, and 0 otherwise"
)


class ManyLabels(ScoredByRow, Classifying):
    """Encode indicators, weight labels, and turn logits into predictions.

    Parameters
    ----------
    classes : ndarray of int of shape (n_labels,)
        Numbers of the labels, as in scikit-learn's `MLPClassifier`.
    label_smoothing : float in [0, 1), default=0.0
        Share of a label's target that is spread evenly over its presence and absence.
    weights : ndarray of shape (2, n_labels), optional
        Weight of the absence and the presence of each label in the loss.
    label_names : ndarray of str of shape (n_labels,), optional
        Names of the labels, if the targets have them.

    Examples
    --------
    >>> task = ManyLabels.from_targets([[0, 1, 1], [0, 0, 0]])
    >>> task.classes
    array([0, 1, 2])
    >>> task.predict(np.array([[-1.0, 0.5, 2.0]]))
    array([[0, 1, 1]])
    """

    kind = "many_labels"
    state_names = ("classes",)
    optional_state_names = ("label_names",)
    problem_type = "multi_label_classification"

    def __init__(
        self,
        classes: np.ndarray,
        *,
        label_smoothing: float = 0.0,
        weights: np.ndarray | None = None,
        label_names: np.ndarray | None = None,
    ) -> None:
        self.classes = classes
        self.label_smoothing = check_number(
            "label_smoothing", label_smoothing, high=1, open_high=True
        )
        self.label_weights = weights
        self.label_names = label_names

    @classmethod
    def from_targets(
        cls,
        y: Any,
        sample_weight: Any = None,
        *,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
    ) -> Self:
        """The task that the training targets ``y`` describe.

        Parameters
        ----------
        y : array-like or sparse matrix of shape (n_rows, n_labels)
        sample_weight : array-like of shape (n_rows,), optional
            Counts for ``class_weight="balanced"``.
        class_weight : None, "balanced", dict or list of dict
            As for the classifier.
        label_smoothing : float in [0, 1)
        """
        indicator = check_indicator(y)
        if not len(indicator):
            raise ValueError("y contains no labels (0 sample(s)).")
        n_labels = indicator.shape[1]
        weights = None
        if class_weight is not None:
            rows = check_sample_weight(sample_weight, len(indicator))
            weights = label_weights(indicator, rows, class_weight)
        return cls(
            np.arange(n_labels),
            label_smoothing=label_smoothing,
            weights=weights,
            label_names=_names_in(y),
        )

    @property
    def loss_options(self) -> tuple[float, bytes | None]:
        """The smoothing, and the weights of labels."""
        return self.label_smoothing, _bytes(self.label_weights)

    @property
    def n_outputs(self) -> int:
        """Logits per row: one per label."""
        return len(self.classes)

    @property
    def output_names(self) -> list[str]:
        """The names of the labels, or else their numbers."""
        return [str(each) for each in self.labels]

    @property
    def labels(self) -> list[Any]:
        """The names of the labels, or else their numbers."""
        return super().labels if self.label_names is None else list(self.label_names.tolist())

    def keep_names(self, before: np.ndarray | None) -> None:
        """Name the labels as ``before``, unless they have other names, which is a ValueError."""
        if before is None:
            return
        if self.label_names is not None and not np.array_equal(self.label_names, before):
            raise ValueError(
                f"the columns of y are {self.label_names.tolist()}, and those of the fit so far "
                f"are {before.tolist()}."
            )
        self.label_names = before

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """The indicator, as uint8."""
        indicator = check_indicator(y, name)
        if indicator.shape[1] != len(self.classes):
            raise ValueError(
                f"{name} has {indicator.shape[1]} columns, and there are {len(self.classes)} "
                "labels: one column is needed for each."
            )
        return indicator

    def decode(self, targets: np.ndarray) -> np.ndarray:
        """The indicator as scikit-learn has it."""
        return targets.astype(int)

    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """The sample weights; those of labels are part of the loss."""
        return plain_weights(len(targets), sample_weight)

    def strata(self, targets: np.ndarray) -> None:
        """None: most combinations of labels are rare."""

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Binary cross-entropy of each row, the mean over labels; smoothed in training."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        present = targets.to(outputs.dtype)
        wanted = present
        if training and self.label_smoothing:
            wanted = present * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
        if self.label_weights is not None:
            absent_weight, present_weight = torch.from_numpy(self.label_weights).to(outputs)
            losses = losses * torch.where(targets > 0, present_weight, absent_weight)
        return losses.mean(dim=1)

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """An indicator of the labels whose logit is positive."""
        return (outputs > 0).astype(int)

    @staticmethod
    def probabilities(outputs: np.ndarray) -> np.ndarray:
        """The probability of each label, by itself."""
        return np.asarray(expit(outputs))

    @staticmethod
    def log_probabilities(outputs: np.ndarray) -> np.ndarray:
        """Logarithm of `probabilities`, accurate even if one underflows."""
        return np.asarray(log_expit(outputs))

    @staticmethod
    def decision_function(outputs: np.ndarray) -> np.ndarray:
        """The logits."""
        return outputs

    def made_up(self, targets: np.ndarray) -> Iterator[np.ndarray]:
        """Logits that are right in all rows, in none, and in every second one."""
        right = np.where(targets > 0, 1.0, -1.0)
        yield right
        yield -right
        yield right * np.where(np.arange(len(targets)) % 2, 1.0, -1.0)[:, None]

    def what_lacks(self, targets: np.ndarray) -> str:
        """The labels that are the same in all rows."""
        n_present = targets.sum(0, dtype=int)
        alike = self.classes[(n_present == 0) | (n_present == len(targets))].tolist()
        return f"All of them or none have the labels {alike[:10]}" if alike else ""

    def state(self) -> dict[str, np.ndarray]:
        """The numbers of the labels, and their names if they have any."""
        names = {} if self.label_names is None else {"label_names": self.label_names}
        return {"classes": self.classes, **names}

    @classmethod
    def check_state(cls, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError unless the classes are 0, 1, 2, ..."""
        classes = state["classes"]
        if len(classes) < 2 or not np.array_equal(classes, np.arange(len(classes))):
            raise ValueError(f"labels are numbered from 0, at least two; got {len(classes)}")
        names = state.get("label_names", classes.astype(str))
        if names.dtype.kind != "U" or names.shape != classes.shape or not _are_distinct(names):
            raise ValueError(f"label_names must be {len(classes)} distinct strings")

    def card(self) -> dict[str, str]:
        """The number of labels, and their names if they have any."""
        names = [] if self.label_names is None else self.output_names
        listed = f" ({', '.join(names[:50])}{', ...' if names[50:] else ''})" if names else ""
        return {
            "what": f"A text classifier that gives each text any of {self.n_outputs} labels,",
            "head": "classification head",
            "targets": f"Labels: {self.n_outputs}, any number of them per text{listed}",
            "variable": "clf",
        }

    def options(self) -> dict[str, Any]:
        """The smoothing and the weights of labels."""
        weights = self.label_weights
        return {
            "label_smoothing": self.label_smoothing,
            "class_weight": None if weights is None else weights.tolist(),
        }


def _names_in(y: Any) -> np.ndarray | None:
    """The names of the columns of ``y``, if it has names that tell all of them apart."""
    names = [each.name for each in y.columns] if isinstance(y, LabelTable) else column_names(y)
    if not names or not all(isinstance(name, str) for name in names) or not _are_distinct(names):
        return None
    return np.array(names, dtype=str)


def _are_distinct(names: Any) -> bool:
    return len(set(names)) == len(names)


def is_indicator(y: Any) -> bool:
    """Whether ``y`` has several columns of numbers or truth values, so is for `ManyLabels`.

    Examples
    --------
    >>> is_indicator([[0, 1], [1, 1]]), is_indicator([0, 1]), is_indicator([[0.5, 1], [2, 0]])
    (True, False, False)
    """
    if isinstance(y, LabelTable) or issparse(y):
        return True
    if y is None or not hasattr(y, "__len__"):
        return False
    try:
        cells = as_array(y, "y", _FORMS)
    except (TypeError, ValueError):  # `check_labels` says what is wrong
        return False
    if cells.ndim != 2 or cells.shape[1] < 2:
        return False
    if cells.dtype == object:
        kinds = set(map(type, cells.ravel().tolist()))
        return kinds <= {int, float, bool, np.bool_, type(None)} and _are_binary(cells)
    return cells.dtype.kind in "biuf" and _are_binary(cells)


def _are_binary(cells: np.ndarray) -> bool:
    """Whether all ``cells`` are 0 or 1, or missing."""
    import pandas as pd

    return bool(((cells == 0) | (cells == 1) | pd.isna(cells)).all())


def check_indicator(y: Any, name: str = "y") -> np.ndarray:
    """``y`` as an indicator of labels.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n_rows, n_labels)
    name : str
        Name of ``y`` in error messages.

    Returns
    -------
    ndarray of uint8 of shape (n_rows, n_labels)

    Raises
    ------
    ValueError, TypeError
        If it does not hold 0 and 1 in at least two columns.

    Examples
    --------
    >>> check_indicator([[True, False], [True, True]])
    array([[1, 0],
           [1, 1]], dtype=uint8)
    """
    if isinstance(y, LabelTable):
        columns = [np.asarray(each.values)[each.codes] for each in y.columns]
        cells = np.stack(columns, axis=1)
        name = y.where
    elif issparse(y):
        if y.ndim != 2:
            raise ValueError(f"{name} must be {_FORMS}; got {y.ndim} dimensions.")
        cells = y.toarray()
    else:
        if y is None:
            raise ValueError(f"requires {name} to be passed, but the target {name} is None")
        cells = as_array(y, name, _FORMS)
        refuse_missing(y, cells, name, "value")
    if cells.ndim != 2 or cells.shape[1] < 2:
        raise ValueError(f"{name} must be {_FORMS}; got the shape {cells.shape}.")
    odd = ~((cells == 0) | (cells == 1))
    if cells.dtype.kind in "USTmMV" or odd.any():
        at = np.argwhere(odd)[0] if odd.any() else (0, 0)
        raise ValueError(
            f"{name} must be {_FORMS}; column {at[1]} of row {at[0]} is {cells[tuple(at)]!r:.60}."
        )
    return cells.astype(np.uint8)


def _bytes(weights: np.ndarray | None) -> bytes | None:
    return None if weights is None else weights.tobytes()
