"""Rows that consist of several windows, each a row of another table."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sklearn_lntune.inputs.base import Table, joined


@dataclass(frozen=True)
class WindowTable:
    """Rows of one or more windows.

    Attributes
    ----------
    windows : Table
        The windows of all rows; may hold those of other rows, too.
    starts : ndarray of int64 of shape (n_rows,)
        Row ``i`` consists of ``counts[i]`` windows from number ``starts[i]`` on.
    counts : ndarray of int64 of shape (n_rows,)
    """

    windows: Table
    starts: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of all windows of each row."""
        return np.add.reduceat(self.window_lengths, np.cumsum(self.counts) - self.counts)

    @property
    def window_lengths(self) -> np.ndarray:
        """Tokens of each window, row after row."""
        return self.windows.lengths[self.numbers].astype(np.int64)

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of the windows, row after row."""
        before = np.cumsum(self.counts) - self.counts
        return np.repeat(self.starts - before, self.counts) + np.arange(self.counts.sum())

    @property
    def n_truncated(self) -> int:
        """Windows that were cut: none of a text, but a text of a pair may be longer."""
        return self.windows.take(self.numbers).n_truncated

    @property
    def kind(self) -> Hashable:
        """Equal for tables that can be joined."""
        return "windows", self.windows.kind

    @property
    def nbytes(self) -> int:
        """Memory or disk that it takes."""
        return self.windows.nbytes + self.starts.nbytes + self.counts.nbytes

    def take(self, rows: np.ndarray) -> WindowTable:
        """Only ``rows``, in their order; the windows themselves are shared."""
        return dataclasses.replace(self, starts=self.starts[rows], counts=self.counts[rows])

    def join(self, others: Sequence[WindowTable]) -> WindowTable:
        """These rows and after them those of ``others``, with no windows but theirs."""
        tables = [self, *others]
        windows = joined([table.windows.take(table.numbers) for table in tables])
        return window_table(windows, np.concatenate([table.counts for table in tables]))

    def key(self, row: int) -> bytes:
        """Equal for rows that the model cannot tell apart."""
        first = self.starts[row]
        windows = range(first, first + self.counts[row])
        lengths = self.windows.lengths[first : first + self.counts[row]]
        return lengths.tobytes() + b"".join(map(self.windows.key, windows))

    def digest(self) -> str:
        """SHA-256 of what the rows hold."""
        digest = hashlib.sha256(np.ascontiguousarray(self.counts).data)
        digest.update(self.windows.take(self.numbers).digest().encode())
        return digest.hexdigest()

    def n_tokens(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of all windows of each of ``rows``."""
        return self.take(rows).lengths

    def mask(self, rows: np.ndarray, padded_length: Callable[[int], int] = int) -> np.ndarray:
        """Which tokens of the windows of ``rows`` are theirs, and not padding."""
        return self.windows.mask(self.take(rows).numbers, padded_length)

    def collate(
        self, rows: np.ndarray, padded_length: Callable[[int], int] = int
    ) -> dict[str, np.ndarray]:
        """The model's inputs for the windows of ``rows``, padded to one length."""
        return self.windows.collate(self.take(rows).numbers, padded_length)


def window_table(windows: Table, counts: np.ndarray) -> WindowTable:
    """The table of rows that have so many of ``windows``, one row after the other."""
    return WindowTable(windows, np.cumsum(counts) - counts, counts)


def parts(table: Table) -> Table:
    """What the model computes one by one: the windows, or the rows themselves."""
    return table.windows.take(table.numbers) if isinstance(table, WindowTable) else table
