"""Rows with an output for each word, and how their outputs become those of whole sentences.

A sentence longer than the model is several rows, its windows. Each word has its output in one of
them, and the windows of a sentence follow each other, so in the order of a table the outputs are in
the order of the words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np

from sklearn_lntune.inputs.base import AnyTable, Table


class PerWord(ABC):
    """A table whose rows have an output for each word."""

    #: For each row, the number of its sentence.
    sentences: np.ndarray
    #: For each row, how many words have their output in it.
    n_words: np.ndarray

    @abstractmethod
    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Where in ``rows`` these words begin.

        Returns
        -------
        ndarray of int of shape (len(rows), most words of any)
            Numbers of tokens; zeros behind the last word.
        """

    @abstractmethod
    def take_sentences(self, numbers: np.ndarray) -> Self:
        """The windows of some of the sentences in this table, which may repeat.

        Parameters
        ----------
        numbers : ndarray of int
            Which of them, counted in this table.
        """

    @property
    def first_words(self) -> np.ndarray:
        """For each row, the number in its sentence of the first of its words."""
        before = np.cumsum(self.n_words, dtype=np.int64) - self.n_words
        return before - before[self.first_rows()][self.ranks()]

    def first_rows(self) -> np.ndarray:
        """The first row of each sentence."""
        return np.flatnonzero(self._begins_sentence())

    def ranks(self) -> np.ndarray:
        """For each row, which of the sentences in this table it belongs to, counted from 0."""
        return np.cumsum(self._begins_sentence()) - 1

    def words_of_sentences(self) -> np.ndarray:
        """How many words each sentence in this table has."""
        return np.bincount(self.ranks(), weights=self.n_words).astype(np.int64)

    def _begins_sentence(self) -> np.ndarray:
        new = np.ones(len(self.sentences), bool)
        new[1:] = self.sentences[1:] != self.sentences[:-1]
        return new


def n_outputs(table: Table) -> np.ndarray | None:
    """How many outputs each row has; None if each has one."""
    return table.n_words if isinstance(table, PerWord) else None


def total_outputs(table: Table) -> int:
    """How many outputs all rows have."""
    sizes = n_outputs(table)
    return len(table) if sizes is None else int(sizes.sum())


def first_windows(table: AnyTable) -> AnyTable:
    """Of each sentence the first window; all rows of other tables."""
    return table.take(table.first_rows()) if isinstance(table, PerWord) else table


def take_examples(table: AnyTable, numbers: np.ndarray) -> AnyTable:
    """The rows of the examples ``numbers``, which may repeat."""
    return table.take_sentences(numbers) if isinstance(table, PerWord) else table.take(numbers)


def for_rows(values: np.ndarray, table: Table) -> np.ndarray:
    """``values`` of examples, for each row of the table that contains them."""
    return values[table.ranks()] if isinstance(table, PerWord) else values


def for_examples(outputs: np.ndarray, table: Table) -> np.ndarray:
    """The outputs of each example of ``table``.

    Parameters
    ----------
    outputs : ndarray of shape (n_outputs, ...)
        In the order of the table.
    table : Table

    Returns
    -------
    ndarray of shape (n_examples, ...)
        Of words: an array of arrays, of shape (n_words, ...) for each sentence.
    """
    return pieces(outputs, table.words_of_sentences()) if isinstance(table, PerWord) else outputs


def pieces(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``values`` cut into pieces of these ``sizes``, as an array of arrays.

    Examples
    --------
    >>> pieces(np.arange(3), np.array([2, 1])).tolist()
    [array([0, 1]), array([2])]
    """
    ends = np.cumsum(sizes).tolist()
    return cells([values[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)])


def cells(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """An array of ``arrays``; NumPy would make more dimensions of those of one shape."""
    found = np.empty(len(arrays), object)
    for number, array in enumerate(arrays):
        found[number] = array
    return found


def ranges(starts: np.ndarray, sizes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Indexes of some pieces of an array, one piece after the other.

    Parameters
    ----------
    starts, sizes : ndarray of int of shape (n_pieces,)
    numbers : ndarray of int
        Which pieces.

    Examples
    --------
    >>> ranges(np.array([0, 3]), np.array([3, 2]), np.array([1, 0]))
    array([3, 4, 0, 1, 2])
    """
    chosen = sizes[numbers].astype(np.int64)
    ends = np.cumsum(chosen)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(
        starts[numbers] - (ends - chosen), chosen
    )


def in_row_order(
    parts: Sequence[np.ndarray], batches: Sequence[np.ndarray], sizes: np.ndarray | None
) -> np.ndarray:
    """The outputs of all batches, in the order of the rows.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_rows, ...) or (n_rows, n_words, ...)
        The outputs of each batch, those of words padded at the end.
    batches : sequence of ndarray of int
        The rows of each batch; together, every row once.
    sizes : ndarray of int of shape (n_rows,) or None
        How many outputs each row has; None if each has one.

    Returns
    -------
    ndarray of shape (n_outputs, ...)
    """
    if sizes is None:
        found = np.concatenate(list(parts))
        answers = np.empty_like(found)
        answers[np.concatenate(list(batches))] = found
        return answers
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    answers = np.empty((int(sizes.sum()), *parts[0].shape[2:]), parts[0].dtype)
    for part, rows in zip(parts, batches, strict=True):
        real = np.arange(part.shape[1]) < sizes[rows][:, None]
        answers[ranges(starts, sizes, rows)] = part[real]
    return answers
