"""The input and the result of training: `Job` and `Outcome`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.task import Task
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.datasets import EncodedDataset
from sklearn_lntune.training.optimizer import Moments
from sklearn_lntune.training.ranks import ALONE, Ranks
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning.base import TuningMethod


@dataclass(frozen=True)
class Job:
    """The input of training, with everything checked and resolved."""

    backbone: Backbone
    methods: tuple[TuningMethod, ...]
    pooling: str
    max_length: int
    placement: Placement
    task: Task
    settings: Settings
    train: EncodedDataset
    valid: EncodedDataset | None
    seed: int
    callbacks: Any = None
    verbose: int = 0
    #: Where to go on from: learnt values, and the optimiser's moments by name of value.
    start: Mapping[str, np.ndarray] | None = None
    moments: Moments | None = None
    checkpoint: Checkpoint | None = None
    #: The processes that fit together.
    ranks: Ranks = ALONE
    #: How longer texts are cut into windows; None if they are truncated.
    stride: int | None = None
    window_pooling: str | None = None
    #: Called after each epoch with a function that returns the outcome as of now; it returns
    #: whether to end the fit.
    on_epoch: Callable[[Callable[[], Outcome]], bool] | None = None
    #: Whether it predicts with that outcome, and so cannot run in the middle of other fits.
    on_epoch_predicts: bool = False

    @property
    def n_epochs(self) -> int:
        """Passes over the training rows, as planned."""
        return self.settings.n_epochs(len(self.train))

    @property
    def n_steps(self) -> int:
        """Optimiser steps, as planned."""
        return self.n_epochs * self.settings.steps_an_epoch(len(self.train))


@dataclass(frozen=True)
class Outcome:
    """The result of training, in plain values.

    Attributes
    ----------
    delta : dict of str to ndarray
    log : list of dict
        One record per epoch.
    n_steps, n_epochs : int
        Steps taken; epochs begun and finished.
    embedding_size : int
        Length of the pooled vector.
    moments : dict
        The optimiser's state, from which a later fit can continue.
    error : BaseException or None
        What ended the fit early: an interrupt by the user, or divergence.
    """

    delta: dict[str, np.ndarray]
    log: list[dict[str, Any]]
    n_steps: int
    n_epochs: int
    embedding_size: int
    moments: Moments = field(repr=False)
    error: BaseException | None = None
