"""The batches that skorch loops over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklearn_lntune.backbone.placement import PREDICT_TOKENS
from sklearn_lntune.inputs.batches import moved, ordered_batches, shuffled_batches
from sklearn_lntune.inputs.per_word import in_row_order, n_outputs
from sklearn_lntune.inputs.windows import parts
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.training.datasets import EncodedDataset
from sklearn_lntune.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Begun:
    """The batches of an epoch that were finished when a fit was interrupted.

    Attributes
    ----------
    losses : list of float
    sizes : list of int
        Number of rows of each.
    random_state : torch.Tensor
        State of the generator after them; meaningless if there are none.
    """

    losses: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    random_state: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def __len__(self) -> int:
        return len(self.sizes)

    def records(self) -> list[dict[str, Any]]:
        """The batches as skorch's history has them."""
        return [
            {"train_loss": loss, "train_batch_size": size}
            for loss, size in zip(self.losses, self.sizes, strict=True)
        ]


class Batches:
    """Iterate over ``rows``, for training in a new random order in each epoch.

    With several processes, each gets a share of every batch. The batches in ``begun`` are
    skipped, in the first epoch only.
    """

    def __init__(
        self,
        rows: EncodedDataset,
        batch_size: int,
        network: Network,
        training: bool = False,
        ranks: Ranks = ALONE,
        begun: Begun | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self._network = network
        self._training = training
        self._ranks = ranks
        self._begun = begun if training else None
        # The most tokens of a batch in which each row is as long as a row, or a window, can be.
        self._n_tokens = batch_size * int(parts(rows.table).lengths.max())
        self._ordered = [] if training else self._by_length()

    def __len__(self) -> int:
        return len(self._ordered) or -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Batch, Any]]:
        network = self._network
        for rows in self._plan():
            weights = torch.from_numpy(self.rows.weights[rows]).to(network.delta_type)
            whole = dataclasses.replace(
                network.batch(
                    self.rows.table, rows, states=self.rows.states, n_tokens=self._n_tokens
                ),
                targets=moved(torch.from_numpy(self.rows.targets[rows]), network.device),
                weights=moved(weights, network.device),
            )
            batch = self._ranks.part(whole)
            yield batch, batch.targets  # a pair, as skorch's callbacks know it

    def in_row_order(self, batches: list[np.ndarray]) -> np.ndarray:
        """Join the results of the batches, and undo the ordering by length."""
        return in_row_order(batches, self._ordered, n_outputs(self.rows.table))

    def _plan(self) -> list[np.ndarray]:
        if not self._training:
            return self._ordered
        generator = self._network.generator
        plan = shuffled_batches(self.rows.table.lengths, self.batch_size, generator)
        begun, self._begun = self._begun, None
        if not begun:
            return plan
        generator.set_state(begun.random_state)
        return plan[len(begun) :]

    def _by_length(self) -> list[np.ndarray]:
        lengths = self.rows.table.lengths
        # As in a prediction, but no batch takes more memory than a training batch may.
        most = min(self._n_tokens, PREDICT_TOKENS[self._network.device.type])
        return list(ordered_batches(lengths, most))
