"""Sentences of words: every accepted form of ``X``, in memory or in a column of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar

import numpy as np

from sklearn_lntune.checks import column_names, has_length, read_column
from sklearn_lntune.inputs.base import Examples, Input, Opened, Rows
from sklearn_lntune.inputs.stream import Stream
from sklearn_lntune.inputs.tables import Source, open_source
from sklearn_lntune.inputs.text.check import is_missing, plain_texts
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row

_FORMS = (
    "a list (or Series, or column of a table) with one sentence per row: a list of its words, or a "
    "text, which is split at white space"
)


class Sentences(Rows):
    """Sentences in memory, each a tuple of words."""

    per_word: ClassVar[bool] = True

    @property
    def n_columns(self) -> int:
        """One."""
        return 1


class SentenceStream(Stream):
    """The sentences in a column of a table that is read chunk by chunk."""

    per_word: ClassVar[bool] = True
    noun = "sentence"
    rows = Sentences

    def _checked(self, cells: Sequence[Any], column: str, start: int) -> list[Any]:
        """The words of each cell; the first is row ``start`` of the table."""
        return split_words(cells, f"column {column!r} of X", start)

    def labels(self, column: str) -> list[Any]:
        """The cells of a column of tags; numbers that stand for names become the names."""
        names = self._source.tag_names.get(column)
        cells = [cell for batch in self._source.batches([column]) for cell in batch[column]]
        return cells if names is None else [named(cell, names, column) for cell in cells]


def named(cell: Any, names: Sequence[str], column: str) -> Any:
    """The names that the numbers in ``cell`` stand for.

    Raises
    ------
    ValueError
        If a number stands for no name, such as -1.
    """
    if not isinstance(cell, list):
        return cell  # the check of tags says what is wrong with it
    if bad := [tag for tag in cell if tag is not None and not 0 <= tag < len(names)]:
        raise ValueError(
            f"column {column!r} of X holds the number {bad[0]}, and its {len(names)} tags are "
            "numbered from 0."
        )
    return [None if tag is None else names[tag] for tag in cell]


class WordInput(Input):
    """Sentences of words.

    Parameters
    ----------
    text_column : "auto" or str
        The column of a table that holds the sentences.
    label_column : str
        That of the tags.
    """

    def __init__(self, text_column: Any = "auto", label_column: Any = "tags") -> None:
        self.text_column = text_column
        self.label_column = label_column

    def open(self, X: Any, y: Any = None) -> Opened:
        """Check ``X``; the sentences of a table are not read yet.

        Raises
        ------
        ValueError, TypeError
            As `check_sentences`; or if the column is not there, or holds no sentences.
        """
        source = open_source(X)
        if source is None:
            names = column_names(X)
            header = None if names is None or len(names) > 1 else X
            return Opened(self.rows(X), header, y, self.label_column)
        if not isinstance(self.label_column, str):
            raise ValueError(
                f"label_column must be the name of one column; got {self.label_column!r}."
            )
        column = _chosen(source, self.text_column, self.label_column)
        stream = SentenceStream(source, (column,))
        return Opened(stream, stream.header(), y, self.label_column)

    def rows(self, X: Any) -> Rows:
        """The sentences of an ``X`` that is in memory.

        Raises
        ------
        ValueError, TypeError
            As `check_sentences`.
        """
        return Sentences(check_sentences(X))


def _chosen(source: Source, text_column: Any, label_column: str) -> str:
    able = [*source.string_lists, *source.strings]
    able = [name for name in able if name != label_column]
    if isinstance(text_column, str) and text_column == "auto":
        for name in ("tokens", "words", "text"):
            if name in able:
                return name
        if len(able) == 1:
            return able[0]
        raise ValueError(
            "text_column='auto' does not know which column of X holds the sentences: it has "
            f"{source.names}, of which {able} hold texts or lists of words. Name one."
        )
    if not isinstance(text_column, str):
        raise ValueError(f"text_column must be 'auto' or a name; got {text_column!r}.")
    if text_column not in source.names:
        raise ValueError(
            f"text_column={text_column!r} is not a column of X, which has {source.names}."
        )
    if text_column not in [*source.string_lists, *source.strings]:
        raise TypeError(
            f"column {text_column!r} of X holds neither texts nor lists of words; {able} do."
        )
    return text_column


def check_sentences(X: Any) -> list[tuple[str, ...]]:
    """Check ``X`` and return its rows, each a tuple of words.

    Parameters
    ----------
    X : array-like of shape (n_samples,)
        Lists of words; or texts, which are split at white space. A sentence may be empty.

    Raises
    ------
    TypeError
        If ``X`` is not a sequence, or a row or a word is of another type.
    ValueError
        If ``X`` is empty, a row or a word is missing, or ``X`` is a table of several columns.

    Examples
    --------
    >>> check_sentences([["New", "York"], "is large"])
    [('New', 'York'), ('is', 'large')]
    """
    if isinstance(X, str | bytes | Mapping | Set) or X is None:
        raise TypeError(f"X must be {_FORMS}; got {type(X).__name__} ({X!r:.60}).")
    if not has_length(X) or not hasattr(X, "__getitem__"):
        hint = " Turn it into a list first: list(X)." if hasattr(X, "__iter__") else ""
        raise TypeError(f"X must be {_FORMS}; got {type(X).__name__} ({X!r:.60}).{hint}")
    names = column_names(X)
    if names is not None:
        X = _only_column(X, names)
    rows = list(read_column(X))
    if not rows:
        raise ValueError(f"X contains no sentences (0 sample(s)): it must be {_FORMS}.")
    return split_words(rows, "X")


def _only_column(X: Any, names: list[Any]) -> Any:
    if len(names) != 1:
        chosen = next((name for name in names if name in ("tokens", "words")), names[0])
        raise ValueError(
            f"X is a table with the columns {names}; pass the one that holds the sentences, for "
            f"instance X[{chosen!r}]."
        )
    return X.iloc[:, 0] if hasattr(X, "iloc") else X[names[0]]


def split_words(rows: Sequence[Any], where: str, start: int = 0) -> list[tuple[str, ...]]:
    """The words of each of ``rows``, the first of which is row ``start`` of ``where``."""
    return [_words(row, f"row {start + i} of {where}") for i, row in enumerate(rows)]


def _words(row: Any, where: str) -> tuple[str, ...]:
    row = row.as_py() if hasattr(row, "as_py") else row
    if isinstance(row, str):
        words = plain_texts([row])[0].split()
    elif isinstance(row, list | tuple) or _is_column(row):
        words = _checked_words(list(row), where)
    elif isinstance(row, bytes):
        raise TypeError(f"{where} is bytes; decode it: row.decode().")
    elif isinstance(row, Mapping | Set) or not is_missing(row):
        raise TypeError(
            f"{where} is {type(row).__name__} ({row!r:.60}), neither a list of words nor a text."
        )
    else:
        raise ValueError(f"{where} is missing ({row!r}); leave such rows out.")
    broken = surrogate_row(words)
    if broken is not None:
        raise surrogate_error(f"word {broken} of {where}", words[broken])
    return tuple(words)


def _is_column(row: Any) -> bool:
    """Whether ``row`` is a sequence of another library, with one dimension."""
    return hasattr(row, "__array__") and len(getattr(row, "shape", ())) == 1


def _checked_words(words: Iterable[Any], where: str) -> list[str]:
    words = [word.as_py() if hasattr(word, "as_py") else word for word in words]
    for number, word in enumerate(words):
        if isinstance(word, str):
            continue
        if word is None or (isinstance(word, float) and np.isnan(word)):
            raise ValueError(f"word {number} of {where} is missing ({word!r}).")
        hint = " Decode it: word.decode()." if isinstance(word, bytes) else ""
        if isinstance(word, list | tuple):
            hint = " Each row is one list of words, not a list of sentences."
        raise TypeError(
            f"word {number} of {where} is {type(word).__name__} ({word!r:.60}), not a string.{hint}"
        )
    return plain_texts(words)


def check_lengths(examples: Examples, n_tags: Sequence[int], name: str = "y") -> None:
    """Raise a ValueError that names the first sentence with another number of words than tags."""
    suffix, row = name.removeprefix("y"), 0
    for chunk in examples.chunks(8192):
        for words in chunk.rows:
            n_words = len(words)  # type: ignore[arg-type]
            if row < len(n_tags) and n_words != n_tags[row]:
                raise ValueError(
                    f"row {row} of X{suffix} has {n_words} words, and row {row} of {name} has "
                    f"{n_tags[row]} tags: each word needs one."
                )
            row += 1
    if row != len(n_tags):
        raise ValueError(
            f"X{suffix} and {name} have inconsistent numbers of samples: {row} and {len(n_tags)}."
        )
