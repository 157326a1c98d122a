"""What a kind of target is to the rest of the house: the contract of all tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import torch


class Task(ABC):
    """From targets to what is trained on, and from a network's outputs to answers.

    NumPy outside; only `loss` sees tensors. Nobody else casts targets, or knows what the
    columns of the outputs mean.
    """

    #: Name of the kind, in files.
    kind: ClassVar[str]
    #: Whether each token has outputs, rather than each row.
    per_token: ClassVar[bool] = False

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Columns of the outputs."""

    @property
    def loss_options(self) -> Hashable:
        """Equal for tasks with the same number of outputs whose `loss` is the same."""
        return None

    @abstractmethod
    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Targets of shape (n_rows, ...), checked, as `loss` takes them.

        Parameters
        ----------
        y : array-like
            As the user passes it.
        name : str
            What errors call it.
        """

    @abstractmethod
    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """Weight of each row in the loss and in scores."""

    @abstractmethod
    def strata(self, targets: np.ndarray) -> np.ndarray | None:
        """What held-out rows should have in the same shares as all rows, if anything."""

    @abstractmethod
    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Loss of each row, of shape (n_rows,); without what only training adds if it is not."""

    @abstractmethod
    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """The answer for each row."""

    @abstractmethod
    def score(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
    ) -> float:
        """Score a validation set; larger is better.

        Parameters
        ----------
        outputs : ndarray of shape (n_rows, n_outputs)
        targets : ndarray of shape (n_rows, ...)
            As `encode` gives them.
        weights : ndarray of shape (n_rows,)
            Of each row in the score, if the scorer takes weights.
        scoring : {"loss"}, str or callable
            ``"loss"`` is the negative mean of the loss; a string or callable is as
            scikit-learn's ``scoring``.
        """

    @abstractmethod
    def check_scores(self, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
        """Raise a ValueError if ``scoring`` cannot score these validation rows."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """What was learnt of the targets, by the name it has on a fitted estimator."""

    def options(self) -> dict[str, Any]:
        """Parameters that training depends on beside the encoded targets and their weights."""
        return {}
