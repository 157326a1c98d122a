"""One of several fits that train together: its data order, its log and its outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklearn_lntune.inputs.batches import shuffled_batches
from sklearn_lntune.tensors import tensor_of
from sklearn_lntune.training.datasets import EncodedDataset
from sklearn_lntune.training.fitting import network_of
from sklearn_lntune.training.job import Job, Outcome
from sklearn_lntune.training.scoring import validation_score


@dataclass
class FitState:
    """The state of one fit, except its values, which are in the shared network.

    To learn the same as alone, it draws random numbers in the same order as a fit alone: head
    and methods, then the batches of each epoch, and before each batch the dropout factors.

    Attributes
    ----------
    job : Job
        The fit.
    network : Network
        A network for this fit only, with its initial values, and its final ones at the end.
    train, valid : EncodedDataset
        Training and validation rows.
    """

    job: Job
    train: EncodedDataset = field(init=False)
    valid: EncodedDataset | None = field(init=False)
    log: list[dict[str, Any]] = field(default_factory=list)
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        self.train, self.valid = self.job.train, self.job.valid
        self.network = network_of(self.job)
        self._left: list[np.ndarray] = []
        self._loss = 0.0

    def next_rows(self) -> tuple[np.ndarray, torch.Tensor | None]:
        """The rows of the next step, and the dropout factors of their pooled vectors."""
        settings = self.job.settings
        if not self._left:
            self._began, self._loss = time.perf_counter(), 0.0
            self._left = shuffled_batches(
                self.train.table.lengths, settings.batch_size, self.network.generator
            )
        now, self._left = self._left[: settings.accumulate], self._left[settings.accumulate :]
        kept = None
        if settings.dropout:
            size = self.network.embedding_size
            kept = torch.cat([self.network.dropout_factors((len(rows), size)) for rows in now])
        return np.concatenate(now), kept

    def note_loss(self, loss: float) -> None:
        """Add the loss of a step, summed over its rows, to that of the epoch."""
        self._loss += loss

    @property
    def longest_batch(self) -> EncodedDataset:
        """The longest training rows, as many as a batch has."""
        return self.train.longest(self.job.settings.batch_size)

    def losses(self, logits: np.ndarray, rows: EncodedDataset) -> np.ndarray:
        """The weighted loss of each of ``rows``."""
        losses = self.job.task.loss(
            torch.from_numpy(logits), tensor_of(rows.targets), training=False
        )
        return losses.numpy() * rows.weights

    @property
    def at_epoch_end(self) -> bool:
        """Whether the epoch's last step has been taken."""
        return not self._left

    def close_epoch(self, step: int, factor: float, logits: np.ndarray | None) -> float | None:
        """Record the epoch and return the validation score, if there are rows for it.

        ``factor`` is the share of the peak learning rates in the latest step.
        """
        rates, settings, task = self.job.settings.rates, self.job.settings, self.job.task
        first = next(iter(self.network.learnt)).partition("/")[0]
        row = {
            "epoch": len(self.log) + 1,
            "n_steps": step,
            "lr": rates[first] * factor,
            "train_loss": self._loss / len(self.train),
        }
        score = None
        if logits is not None and self.valid is not None:
            row["valid_loss"] = float(np.mean(self.losses(logits, self.valid)))
            earlier = [each["valid_score"] for each in self.log]
            score = validation_score(task, logits, self.valid, settings.scoring, earlier)
            row["valid_score"] = score
        self.log.append({**row, "dur": time.perf_counter() - self._began})
        return score
