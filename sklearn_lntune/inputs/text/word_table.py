"""The tokens of sentences, cut into windows, and where their words begin."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_lntune.inputs.per_word import PerWord, ranges
from sklearn_lntune.inputs.text.table import TokenTable


@dataclass(frozen=True, kw_only=True)
class WordTable(TokenTable, PerWord):
    """The windows of sentences.

    Attributes
    ----------
    begins : ndarray of int32 of shape (n_all_words,)
        Numbers, in its row, of the first token of each word; may hold those of other rows, too.
    first_begins : ndarray of int64 of shape (n_rows,)
        Where in ``begins`` the words of each row start.
    n_words : ndarray of int32 of shape (n_rows,)
        Words that have their output in the row.
    sentences : ndarray of int32 of shape (n_rows,)
        The sentence of each row.
    """

    begins: np.ndarray
    first_begins: np.ndarray
    n_words: np.ndarray
    sentences: np.ndarray

    @property
    def kind(self) -> tuple[str, bool]:  # type: ignore[override]
        """Not that of a table of texts."""
        return "words", self.with_segments

    @property
    def nbytes(self) -> int:
        """Memory that it takes; tokens in a file count, too."""
        words = (self.begins, self.first_begins, self.n_words, self.sentences)
        return super().nbytes + sum(each.nbytes for each in words)

    def take(self, rows: np.ndarray) -> WordTable:
        """Only ``rows``, in their order; sentences keep their numbers."""
        return self._with_words(
            super().take(rows),
            first_begins=self.first_begins[rows],
            n_words=self.n_words[rows],
            sentences=self.sentences[rows],
        )

    def take_sentences(self, numbers: np.ndarray) -> WordTable:
        """The windows of some of the sentences, which may repeat; they are numbered anew."""
        firsts, sizes = self.first_rows(), np.bincount(self.ranks())
        return dataclasses.replace(
            self.take(ranges(firsts, sizes, numbers)),
            sentences=np.repeat(np.arange(len(numbers), dtype=np.int32), sizes[numbers]),
        )

    def join(self, others: Sequence[TokenTable]) -> WordTable:
        """These rows and after them those of ``others``; the sentences are numbered anew."""
        tables = [self, *(table for table in others if isinstance(table, WordTable))]
        begins = [
            table.begins[ranges(table.first_begins, table.n_words, np.arange(len(table)))]
            for table in tables
        ]
        n_words = np.concatenate([table.n_words for table in tables])
        numbers = [table.ranks() for table in tables]
        n_before = np.cumsum([0, *(each[-1] + 1 for each in numbers[:-1])])
        return self._with_words(
            super().join(others),
            begins=np.concatenate(begins),
            first_begins=np.cumsum(n_words, dtype=np.int64) - n_words,
            n_words=n_words,
            sentences=np.concatenate(
                [each + before for each, before in zip(numbers, n_before, strict=True)]
            ).astype(np.int32),
        )

    @staticmethod
    def _with_words(table: TokenTable, **words: Any) -> WordTable:
        """``table``, whose tokens `TokenTable` has chosen, with the words that belong to them."""
        assert isinstance(table, WordTable)
        return dataclasses.replace(table, **words)

    def digest(self) -> str:
        """SHA-256 of what the rows hold, and of where their words begin."""
        whole = self.join([])
        digest = hashlib.sha256(super().digest().encode())
        for each in (whole.begins, whole.n_words, whole.sentences):
            digest.update(np.ascontiguousarray(each).data)
        return digest.hexdigest()

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Where in ``rows`` their words begin, padded with zeros."""
        n_words = self.n_words[rows]
        column = np.arange(max(int(n_words.max(initial=0)), 1))
        real = column < n_words[:, None]
        at = np.where(real, self.first_begins[rows][:, None] + column, 0)
        # A table of sentences without words has nothing to point to.
        return np.where(real, self.begins[at], 0) if len(self.begins) else np.zeros_like(at)
