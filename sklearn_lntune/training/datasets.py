"""Rows with targets and weights, before and after tokenisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.inputs.base import Examples, Table
from sklearn_lntune.inputs.per_word import PerWord
from sklearn_lntune.task.token_tags import NO_TARGET

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
    if isinstance(table, PerWord):
        return _of_windows(table, data, rows)
    if rows is not None and len(rows) < len(table):
        table, targets, weights = table.take(rows), targets[rows], weights[rows]
    mean = weights.mean()
    return EncodedDataset(table, targets, weights if mean == 1 else weights / mean)


def _of_windows(table: Any, data: RawDataset, rows: np.ndarray | None) -> EncodedDataset:
    """The windows of the sentences ``rows``, each with the targets of its own words.

    The weight of a sentence is divided among its windows by their numbers of words.
    """
    n_words = np.bincount(table.sentences, weights=table.n_words)
    first_words = table.first_words
    chosen = table.n_words > 0
    if rows is not None:
        chosen &= np.isin(table.sentences, rows)
    windows = np.flatnonzero(chosen)
    table, first_words = table.take(windows), first_words[windows]
    targets = np.full((len(table), 1 + int(table.n_words.max())), NO_TARGET, np.int32)
    targets[:, 0] = first_words == 0
    for window, (sentence, first, n) in enumerate(
        zip(table.sentences, first_words, table.n_words, strict=True)
    ):
        targets[window, 1 : n + 1] = data.targets[sentence][first : first + n]
    weights = data.weights[table.sentences] * table.n_words / n_words[table.sentences]
    return EncodedDataset(table, targets, weights / weights.mean())


def joined_targets(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The targets of ``parts``, one after the other; shorter rows of words are padded."""
    width = max(part.shape[-1] for part in parts)
    if parts[0].ndim == 2 and any(part.shape[1] < width for part in parts):
        padded = [
            np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=NO_TARGET) for p in parts
        ]
        return np.concatenate(padded)
    return np.concatenate(list(parts))
