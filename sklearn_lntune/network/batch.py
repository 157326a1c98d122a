"""The input of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklearn_lntune.inputs.batches import moved


@dataclass(frozen=True)
class Windows:
    """Which windows the rows of a batch consist of; on the host, to plan without waiting.

    Attributes
    ----------
    counts : ndarray of int of shape (n_rows,)
        Windows of each row, one row after the other.
    lengths : ndarray of int of shape (n_windows,)
        Tokens of each window.
    n_tokens : int
        Tokens that run through the backbone at once.
    """

    counts: np.ndarray
    lengths: np.ndarray
    n_tokens: int

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each row."""
        return np.add.reduceat(self.lengths, np.cumsum(self.counts) - self.counts)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the windows of ``rows``."""
        starts, counts = (np.cumsum(self.counts) - self.counts)[rows], self.counts[rows]
        before = np.cumsum(counts) - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum())

    def take(self, rows: np.ndarray) -> Windows:
        """Those of some rows."""
        return Windows(self.counts[rows], self.lengths[self.numbers(rows)], self.n_tokens)


@dataclass(frozen=True)
class Batch:
    """Rows on a device, with everything that training needs to know about them.

    Attributes
    ----------
    inputs : dict of str to torch.Tensor
        Arguments of the backbone's forward; the first axis is that of the rows, or of their
        windows.
    targets : torch.Tensor, optional
        As the task encodes them.
    weights : torch.Tensor of shape (n_rows,), optional
        Weight of each row in the loss.
    fits : torch.Tensor of int64 of shape (n_rows,), optional
        The fit that each row belongs to. Without it, the batch consists of as many groups
        of the same size as there are fits.
    entering : torch.Tensor of shape (n_rows, n_tokens, size), optional
        Cached activations that enter the lowest trained block; their first axis is that of
        ``inputs``.
    dropout : torch.Tensor of shape (n_rows, embedding_size), optional
        Dropout factors for the pooled vectors, instead of those that the network would draw.
    words : torch.Tensor of int64 of shape (n_rows, n_words), optional
        The tokens of each row that have outputs, if not the row as a whole has one.
    share : torch.Tensor of bool, optional
        Which rows of the whole batch these are, if other processes compute the rest.
    windows : Windows, optional
        If some rows consist of several windows.
    is_padded : bool, optional
        Whether the mask hides anything; None if only the device knows.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    fits: torch.Tensor | None = None
    entering: torch.Tensor | None = None
    dropout: torch.Tensor | None = None
    words: torch.Tensor | None = None
    share: torch.Tensor | None = None
    windows: Windows | None = None
    is_padded: bool | None = None

    def __len__(self) -> int:
        if self.windows is not None:
            return len(self.windows.counts)
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, name: str) -> torch.Tensor:
        """One of the inputs, since skorch's callbacks expect a mapping of inputs."""
        return self.inputs[name]

    @property
    def n_rows(self) -> int:
        """Number of rows in all processes together."""
        return len(self) if self.share is None else len(self.share)

    def take(self, rows: slice | torch.Tensor) -> Batch:
        """Some of the rows."""
        values: dict[str, Any] = {
            name: value[rows]
            for name, value in vars(self).items()
            if torch.is_tensor(value) and name != "entering"
        }
        of_inputs = rows
        if self.windows is not None:
            numbers = np.arange(len(self))[rows if isinstance(rows, slice) else rows.cpu()]
            device = next(iter(self.inputs.values())).device
            of_inputs = moved(torch.from_numpy(self.windows.numbers(numbers)), device)
            values["windows"] = self.windows.take(numbers)
        if self.entering is not None:
            values["entering"] = self.entering[of_inputs]
        inputs = {name: value[of_inputs] for name, value in self.inputs.items()}
        return dataclasses.replace(self, inputs=inputs, **values)

    def narrowed(self, n_tokens: int) -> Batch:
        """The batch without what stands behind the first ``n_tokens`` of its inputs."""
        inputs = {name: value[:, :n_tokens] for name, value in self.inputs.items()}
        entering = None if self.entering is None else self.entering[:, :n_tokens]
        return dataclasses.replace(self, inputs=inputs, entering=entering)

    def pieces(self) -> Iterator[Batch]:
        """The batch in pieces of whole rows that run at once, each of them at least one row.

        A batch without windows is one piece. Dropout has to be drawn before.
        """
        if self.windows is None:
            yield self
            return
        whole = dataclasses.replace(self, share=None)
        ends = np.cumsum(self.windows.sizes)
        start = 0
        while start < len(ends):
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + self.windows.n_tokens, side="right"))
            stop = max(stop, start + 1)
            yield whole.take(slice(start, stop))
            start = stop
