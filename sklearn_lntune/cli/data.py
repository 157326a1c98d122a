"""Texts and targets from the columns that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sklearn_lntune.cli.formats import Format, Record, Table, open_table
from sklearn_lntune.cli.targets import SEPARATOR, Target, read_target
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row

#: A text, a pair of texts, or the words of a sentence.
Text: TypeAlias = str | tuple[str, str] | list[str]


@dataclass(frozen=True)
class Columns:
    """The columns that hold texts and targets.

    Attributes
    ----------
    text : str
    pair : str or None
        The second text of a pair.
    label : str or None
        The column of the targets; None if they are not needed.
    target : Target
        What a row is answered with. To be tagged, a text is split into words.
    separator : str
        What separates several labels or numbers in one text.

    Raises
    ------
    ValueError
        If options do not go together.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    target: Target = Target.label
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        if self.pair is not None and self.target is Target.tags:
            raise ValueError("--text-pair: a tagger takes sentences, not pairs of texts")
        if not self.separator:
            raise ValueError("--separator must not be empty")

    def check(self, table: Table) -> None:
        """Raise a ValueError that lists the columns of ``table`` if it lacks one of these."""
        wanted = {"--text": self.text, "--text-pair": self.pair, "--label": self.label}
        for option, column in wanted.items():
            if column is not None and column not in table.columns:
                there = ", ".join(table.columns)
                raise ValueError(
                    f"{table.name} has no column {column!r} ({option}); its columns are: {there}"
                )

    def text_of(self, record: Record) -> Text:
        """The text of ``record``, or its pair of texts, or its words."""
        if self.target is Target.tags:
            return _words_in(record, self.text)
        text = _text_in(record, self.text)
        return text if self.pair is None else (text, _text_in(record, self.pair))

    def target_of(self, record: Record) -> Any:
        """The target of ``record``."""
        return read_target(record, str(self.label), self.target, self.separator)


def _words_in(record: Record, column: str) -> list[str]:
    words = record.cells.get(column)
    if not isinstance(words, list):
        return _text_in(record, column).split()
    return [_checked(word, record, column) for word in words]


def _text_in(record: Record, column: str) -> str:
    return _checked(record.cells.get(column), record, column)


def _checked(text: Any, record: Record, column: str) -> str:
    if not isinstance(text, str):
        found = "nothing" if text is None else f"{text!s:.40} ({type(text).__name__})"
        raise ValueError(f"{record.place}: the column {column!r} holds {found}, not a text")
    if surrogate_row([text]) is not None:  # from an escape in JSON
        raise surrogate_error(f"{record.place}: the column {column!r}", text)
    return text


@dataclass(frozen=True)
class Labelled:
    """Texts with a target each."""

    texts: list[Text]
    targets: list[Any]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Any) -> Labelled:
        """Some of the rows, by number."""
        return Labelled([self.texts[i] for i in rows], [self.targets[i] for i in rows])


def read_labelled(path: str, columns: Columns, given: Format | None = None) -> Labelled:
    """All texts and targets at ``path``.

    Raises
    ------
    ValueError
        If a column is not there, a row has no text or no target, or there are no rows.
    """
    with open_table(path, given) as table:
        columns.check(table)
        texts, targets = [], []
        for record in table.records:
            texts.append(columns.text_of(record))
            targets.append(columns.target_of(record))
            _check_size(record, columns.target, texts[-1], targets)
    if not targets:
        raise ValueError(f"{path} has no rows")
    return Labelled(texts, targets)


def _check_size(record: Record, target: Target, text: Text, targets: list[Any]) -> None:
    """Raise a ValueError unless words have a tag each, and all rows as many numbers."""
    if target is Target.tags and len(text) != len(targets[-1]):
        raise ValueError(f"{record.place} has {len(text)} words and {len(targets[-1])} tags")
    if target is Target.number:
        check_as_many(targets[0], targets[-1], record.place)


def check_as_many(first: Any, other: Any, place: str) -> None:
    """Raise a ValueError unless ``other``, which is at ``place``, is as many numbers."""
    if np.shape(first) != np.shape(other):
        raise ValueError(
            f"{place} has {other!s:.60} where {first!s:.60} was expected: each row needs as many "
            "numbers"
        )


def read_parts(
    path: str,
    columns: Columns,
    given: Format | None = None,
    *,
    test: str | None,
    held_out: float,
    seed: int,
) -> tuple[Labelled, Labelled | None]:
    """The rows to train on, and those to score: of the file ``test``, or held out.

    Returns
    -------
    tuple of Labelled
        The second is None if nothing is held out.
    """
    data = read_labelled(path, columns, given)
    if test is not None:
        scored = read_labelled(test, columns)
        if columns.target is Target.number:
            check_as_many(data.targets[0], scored.targets[0], test)
        return data, scored
    if not held_out:
        return data, None
    strata = data.targets if columns.target is Target.label else None
    train, rest = _split(len(data), strata, held_out, seed)
    return data.take(train), data.take(rest)


def _split(n_rows: int, strata: list[str] | None, share: float, seed: int) -> Iterator[Any]:
    from sklearn.model_selection import train_test_split

    rows = range(n_rows)
    if n_rows < 2:
        raise ValueError("there is one row only, so that none can be held out")
    try:
        found = train_test_split(rows, test_size=share, random_state=seed, stratify=strata)
    except ValueError:  # a class with one row, or more classes than rows to hold out
        found = train_test_split(rows, test_size=share, random_state=seed)
    return iter(found)
