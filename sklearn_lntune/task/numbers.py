"""One number or several per row: regression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import column_or_1d

from sklearn_lntune.checks import check_choice
from sklearn_lntune.inputs.stream import LabelColumn, LabelTable
from sklearn_lntune.task.reading import as_array, refuse_missing
from sklearn_lntune.task.scoring import ScoredByRow
from sklearn_lntune.task.weights import check_sample_weight, plain_weights

if TYPE_CHECKING:
    import torch

LOSSES = ("squared_error", "absolute_error", "huber")
_FORMS = (
    "numbers: a list, an array, a Series or a frame of shape (n_samples,) or (n_samples, n_outputs)"
)


class Numbers(ScoredByRow):
    """Standardise numbers for training, and turn outputs into numbers.

    Parameters
    ----------
    target_mean, target_scale : ndarray of shape (n_outputs,)
        Mean and standard deviation of each column of the training targets.
    loss : {"squared_error", "absolute_error", "huber"}
        Of standardised targets. "huber" is squared below an error of 1, and linear above.

    Examples
    --------
    >>> task = Numbers.from_targets([1.0, 3.0])
    >>> task.encode([1, 2, 3]).tolist()
    [[-1.0], [0.0], [1.0]]
    >>> task.predict(np.array([[0.5]]))
    array([2.5])
    """

    kind = "numbers"
    state_names = ("target_mean", "target_scale")
    problem_type = "regression"

    def __init__(
        self, target_mean: np.ndarray, target_scale: np.ndarray, *, loss: str = "squared_error"
    ) -> None:
        self.target_mean = target_mean
        self.target_scale = target_scale
        self.loss_name = check_choice("loss", loss, LOSSES)

    @classmethod
    def from_targets(
        cls, y: Any, sample_weight: Any = None, *, loss: str = "squared_error"
    ) -> Self:
        """The task that the training targets ``y`` and their weights describe."""
        numbers = check_numbers(y, warn=False)  # `encode` warns
        if not len(numbers):
            raise ValueError("y holds no numbers (0 sample(s)).")
        weights = plain_weights(len(numbers), check_sample_weight(sample_weight, len(numbers)))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(numbers, axis=0, weights=weights)
            deviations = numbers - mean
            largest = np.abs(deviations).max(axis=0)
            # Of their shares of the largest, since squares of large numbers overflow.
            shares = deviations / np.where(largest > 0, largest, 1.0)
            scale = largest * np.sqrt(np.average(shares**2, axis=0, weights=weights))
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ValueError("y contains numbers so large that their sum overflows; scale them.")
        # What rounding leaves of the deviations of a constant is not a scale.
        constant = scale <= 10 * np.finfo(float).eps * np.abs(numbers).max(axis=0)
        return cls(mean, np.where(constant, 1.0, scale), loss=loss)

    @property
    def loss_options(self) -> str:
        """The name of the loss."""
        return self.loss_name

    @property
    def n_outputs(self) -> int:
        """Numbers per row."""
        return len(self.target_mean)

    @property
    def output_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training targets."""
        return self.target_mean, self.target_scale

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Standardised numbers, as float64 of shape (n_rows, n_outputs)."""
        numbers = check_numbers(y, name)
        if numbers.shape[1] != self.n_outputs:
            raise ValueError(
                f"{name} has {numbers.shape[1]} columns, and the targets of the fit have "
                f"{self.n_outputs}."
            )
        with np.errstate(over="ignore"):
            encoded = (numbers - self.target_mean) / self.target_scale
        if not np.isfinite(encoded).all():
            row, column = np.argwhere(~np.isfinite(encoded))[0]
            raise ValueError(
                f"{name} holds a number too large for the training targets: row {row} is "
                f"{numbers[row, column]}, and their standard deviation is "
                f"{self.target_scale[column]}."
            )
        return np.asarray(encoded)

    def decode(self, targets: np.ndarray) -> np.ndarray:
        """The numbers themselves; of one column, in one dimension."""
        numbers = np.asarray(targets * self.target_scale + self.target_mean)
        return numbers[:, 0] if self.n_outputs == 1 else numbers

    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """The sample weights."""
        return plain_weights(len(targets), sample_weight)

    def strata(self, targets: np.ndarray) -> None:
        """None: numbers form no groups."""

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Loss of each row, the mean over the columns."""
        from torch.nn import functional

        losses: dict[str, Any] = {
            "squared_error": functional.mse_loss,
            "absolute_error": functional.l1_loss,
            "huber": functional.huber_loss,
        }
        found = losses[self.loss_name](outputs, targets.to(outputs.dtype), reduction="none")
        rows: torch.Tensor = found.mean(dim=1)
        return rows

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers in the unit of the training targets, as float64."""
        return self.decode(outputs.astype(float))

    def made_up(self, targets: np.ndarray) -> Iterator[np.ndarray]:
        """Outputs that are nearly right, and nearly right for another row.

        Not whole numbers even if the targets are, which scorers of labels would accept.
        """
        nearly = 0.99 * targets + 0.01 / np.pi
        yield nearly
        yield np.roll(nearly, 1, axis=0)

    def what_lacks(self, targets: np.ndarray) -> str:
        """Nothing."""
        return ""

    def state(self) -> dict[str, np.ndarray]:
        """Mean and standard deviation of the targets."""
        return {"target_mean": self.target_mean, "target_scale": self.target_scale}

    @classmethod
    def check_state(cls, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError unless means and scales are finite, and scales positive."""
        mean, scale = state["target_mean"], state["target_scale"]
        if not (len(mean) == len(scale) > 0 and {mean.dtype.kind, scale.dtype.kind} == {"f"}):
            raise ValueError("target_mean and target_scale must be as many numbers, at least one")
        if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("target_mean must be finite, and target_scale finite and positive")

    def card(self) -> dict[str, str]:
        """How many numbers there are, and of what size."""
        several = "a number" if self.n_outputs == 1 else f"{self.n_outputs} numbers"
        pairs = zip(self.target_mean.tolist(), self.target_scale.tolist(), strict=True)
        sizes = ", ".join(f"{mean:.4g} (\N{PLUS-MINUS SIGN} {size:.4g})" for mean, size in pairs)
        return {
            "what": f"A text regressor that predicts {several} per text,",
            "head": "linear head",
            "targets": f"Mean and standard deviation of the training targets: {sizes}",
            "variable": "reg",
        }

    def options(self) -> dict[str, Any]:
        """The name of the loss."""
        return {"loss": self.loss_name}


def check_numbers(y: Any, name: str = "y", *, warn: bool = True) -> np.ndarray:
    """``y`` as finite numbers in columns.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, n_outputs)
    name : str
        Name of ``y`` in error messages.
    warn : bool
        Whether to warn of a column vector, as scikit-learn does.

    Returns
    -------
    ndarray of float64 of shape (n_rows, n_outputs)

    Raises
    ------
    ValueError, TypeError
        If ``y`` does not hold a finite number for each row.

    Examples
    --------
    >>> check_numbers([1, 2])
    array([[1.],
           [2.]])
    >>> check_numbers(["good", "bad"])
    Traceback (most recent call last):
    ...
    ValueError: y must be numbers: ...; row 0 is 'good'. Labels are for LNTuned...
    """
    if isinstance(y, LabelTable):
        return np.concatenate([check_numbers(each) for each in y.columns], axis=1)
    if isinstance(y, LabelColumn):
        return check_numbers(y.values, y.where)[y.codes]
    if y is None:
        raise ValueError(f"requires {name} to be passed, but the target {name} is None")
    cells = as_array(y, name, _FORMS)
    refuse_missing(y, cells, name, "number")
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = column_or_1d(cells, warn=warn)
    cells = cells if cells.ndim == 2 else cells[:, None]
    if cells.shape[1] == 0:
        raise ValueError(f"{name} must be {_FORMS}; it has no column.")
    numbers = _as_floats(cells, name)
    if np.isinf(numbers).any():
        row = int(np.argwhere(np.isinf(numbers))[0][0])
        raise ValueError(f"{name} contains infinity: row {row} is {cells[row].tolist()}.")
    return numbers


def _as_floats(cells: np.ndarray, name: str) -> np.ndarray:
    """``cells`` as float64; strings, dates and complex numbers are refused."""
    texts = cells.dtype.kind in "USTmMVc"
    odd = next(
        (
            (row, cell)
            for row, own in enumerate(cells.tolist() if texts or cells.dtype == object else [])
            for cell in own
            if texts or isinstance(cell, str | bytes | complex | list | tuple)
        ),
        None,
    )
    try:
        if odd is None:
            return cells.astype(float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be {_FORMS}; a cell is not: {error}.") from error
    row, cell = odd
    hint = ""
    if isinstance(cell, str | bytes):
        hint = " Labels are for LNTunedTransformerClassifier."
    elif isinstance(cell, list | tuple):
        hint = " Tags for words are for LNTunedTransformerTagger."
    raise ValueError(f"{name} must be {_FORMS}; row {row} is {cell!r:.60}.{hint}")
