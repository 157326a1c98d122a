"""Rows with targets and weights, before and after tokenisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sklearn_lntune.inputs.base import Examples, Table

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RawDataset:
    """Checked rows with their targets and weights, not yet as the model takes them.

    Attributes
    ----------
    examples : Examples
    targets : ndarray of shape (n_rows, ...)
        As the task encodes them.
    weights : ndarray of float of shape (n_rows,)
        Sample weight times class weight.
    """

    examples: Examples
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class EncodedDataset:
    """Inputs, targets and weights of a training or validation set.

    Attributes
    ----------
    table : Table
    targets : ndarray of shape (n_rows, ...)
    weights : ndarray of float of shape (n_rows,)
        With mean one.
    states : list of torch.Tensor or None
        Cached activations that enter the lowest trained block, if any.
    """

    table: Table
    targets: np.ndarray
    weights: np.ndarray
    states: list[torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def longest(self, n_rows: int) -> EncodedDataset:
        """The ``n_rows`` longest rows, or all if there are fewer."""
        rows = np.argsort(-self.table.lengths, kind="stable")[:n_rows]
        states = None if self.states is None else [self.states[row] for row in rows]
        return EncodedDataset(self.table.take(rows), self.targets[rows], self.weights[rows], states)


def encoded(table: Table, data: RawDataset, rows: np.ndarray | None = None) -> EncodedDataset:
    """Rows of ``data``, all or some, whose tokens are in ``table``.

    Weights are scaled to mean one, so that learning rates keep their meaning.
    """
    targets, weights = data.targets, data.weights
    if rows is not None and len(rows) < len(table):
        table, targets, weights = table.take(rows), targets[rows], weights[rows]
    mean = weights.mean()
    return EncodedDataset(table, targets, weights if mean == 1 else weights / mean)
