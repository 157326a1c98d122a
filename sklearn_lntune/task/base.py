"""The interface of all tasks: everything that depends on the kind of target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from sklearn_lntune.task.scorers import check_scoring

if TYPE_CHECKING:
    import torch


class Task(ABC):
    """Encode targets for training, and turn the outputs of a network into predictions.

    All arrays are NumPy's; only `loss` receives tensors. No other code converts targets or
    knows what the columns of the outputs mean.
    """

    #: Name of the kind of task, in files.
    kind: ClassVar[str]
    #: Whether there are outputs for each token rather than for each row.
    per_token: ClassVar[bool] = False
    #: Keys of `state`, and keys that it may have besides.
    state_names: ClassVar[tuple[str, ...]]
    optional_state_names: ClassVar[tuple[str, ...]] = ()
    #: What transformers calls it, in a model's configuration and on the hub.
    problem_type: ClassVar[str | None] = None
    pipeline_tag: ClassVar[str] = "text-classification"
    #: The classes of tasks by kind; defining one adds it.
    _kinds: ClassVar[dict[str, type[Task]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in vars(cls):
            Task._kinds[cls.kind] = cls

    @classmethod
    @abstractmethod
    def from_targets(cls, y: Any, sample_weight: Any = None) -> Self:
        """The task that the training targets ``y`` and their weights describe."""

    @staticmethod
    def from_state(kind: str, state: Mapping[str, np.ndarray]) -> Task:
        """The task of a fit that is finished, for predictions: from its `kind` and `state`."""
        made: Task = Task.of_kind(kind)(**state)
        return made

    @staticmethod
    def of_kind(kind: str) -> Any:
        """The class of the tasks of this ``kind``."""
        if not isinstance(kind, str) or kind not in Task._kinds:
            raise ValueError(f"the task is {str(kind)[:40]!r}; known are {sorted(Task._kinds)}")
        return Task._kinds[kind]

    @classmethod
    @abstractmethod
    def check_state(cls, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError if ``state`` is not what `state` returns."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number of columns of the outputs."""

    @property
    def loss_options(self) -> Hashable:
        """A key that tasks with the same number of outputs share if their `loss` is the same."""
        return None

    @abstractmethod
    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """Checked targets of shape (n_rows, ...), in the form that `loss` takes.

        Parameters
        ----------
        y : array-like
            As passed by the user.
        name : str
            Name of ``y`` in error messages.
        """

    @abstractmethod
    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """Weight of each row in the loss and in scores."""

    @abstractmethod
    def strata(self, targets: np.ndarray) -> np.ndarray | None:
        """Group of each row for a stratified split; None for a plain one."""

    @abstractmethod
    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Loss of each row, of shape (n_rows,); smoothing and the like only if ``training``."""

    @abstractmethod
    def predict(self, outputs: np.ndarray) -> Any:
        """The prediction for each row: an array, or a list with an item for each row."""

    @abstractmethod
    def card(self) -> dict[str, str]:
        """Words for the model card: ``what`` it is, its ``head``, ``targets`` and ``variable``."""

    @abstractmethod
    def score(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
    ) -> float:
        """Score a validation set; larger is better.

        Parameters
        ----------
        outputs : ndarray of shape (n_rows, n_outputs)
        targets : ndarray of shape (n_rows, ...)
            As returned by `encode`.
        weights : ndarray of shape (n_rows,)
            Weight of each row in the score, if the scorer takes weights.
        scoring : {"loss"}, str or callable
            ``"loss"`` is the negative mean of the loss; a string or callable is as
            scikit-learn's ``scoring``.
        """

    def check_scoring(self, scoring: Any) -> None:
        """Raise a ValueError if there is no such score."""
        check_scoring(scoring)

    def negative_loss(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        """The negative weighted mean of `loss`, without smoothing."""
        import torch

        from sklearn_lntune.tensors import tensor_of

        losses = self.loss(torch.from_numpy(outputs), tensor_of(targets), training=False)
        return -float(np.average(losses.numpy(), weights=weights))

    @abstractmethod
    def check_scores(self, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
        """Raise a ValueError if ``scoring`` cannot score these validation rows."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Attributes of a fitted estimator that come from the targets, without the final ``_``."""

    @property
    def output_names(self) -> list[str]:
        """A name for each output, for models in other formats."""
        return [f"LABEL_{number}" for number in range(self.n_outputs)]

    @property
    def output_scale(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Offset and factor that turn outputs into predictions; None if they are logits."""
        return None

    def options(self) -> dict[str, Any]:
        """Parameters that training depends on besides the encoded targets and their weights."""
        return {}


class Classifying(Task):
    """A task with classes: its outputs are logits, which become probabilities."""

    classes: np.ndarray

    @property
    def labels(self) -> list[Any]:
        """What people call the columns of the outputs."""
        return list(self.classes.tolist())

    @abstractmethod
    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probability of each class."""

    @abstractmethod
    def log_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Logarithms of the probabilities, accurate even if a probability underflows."""

    @abstractmethod
    def decision_function(self, outputs: np.ndarray) -> np.ndarray:
        """What scikit-learn's ``decision_function`` returns."""
