"""Texts and labels from the columns that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from sklearn_lntune.cli.formats import Format, Record, Table, open_table
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row

Text: TypeAlias = str | tuple[str, str]


@dataclass(frozen=True)
class Columns:
    """The columns that hold texts and labels.

    Attributes
    ----------
    text : str
    pair : str or None
        The second text of a pair.
    label : str or None
        None if labels are not needed.
    """

    text: str
    pair: str | None = None
    label: str | None = None

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
        """The text of ``record``, or its pair of texts."""
        text = _text_in(record, self.text)
        return text if self.pair is None else (text, _text_in(record, self.pair))

    def label_of(self, record: Record) -> str:
        """The label of ``record``, as text in every format."""
        label = record.cells.get(str(self.label))
        if label is None or label == "":
            raise ValueError(f"{record.place} has no label in the column {self.label!r}")
        if not isinstance(label, str | int | float | bool):
            raise ValueError(
                f"{record.place}: the column {self.label!r} holds {label!s:.40}, not one label"
            )
        return str(label)


def _text_in(record: Record, column: str) -> str:
    text = record.cells.get(column)
    if not isinstance(text, str):
        found = "nothing" if text is None else f"{text!s:.40} ({type(text).__name__})"
        raise ValueError(f"{record.place}: the column {column!r} holds {found}, not a text")
    if surrogate_row([text]) is not None:  # from an escape in JSON
        raise surrogate_error(f"{record.place}: the column {column!r}", text)
    return text


@dataclass(frozen=True)
class Labelled:
    """Texts with a label each."""

    texts: list[Text]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Any) -> Labelled:
        """Some of the rows, by number."""
        return Labelled([self.texts[i] for i in rows], [self.labels[i] for i in rows])


def read_labelled(path: str, columns: Columns, given: Format | None = None) -> Labelled:
    """All texts and labels at ``path``.

    Raises
    ------
    ValueError
        If a column is not there, a row has no text or no label, or there are no rows.
    """
    with open_table(path, given) as table:
        columns.check(table)
        texts, labels = [], []
        for record in table.records:
            texts.append(columns.text_of(record))
            labels.append(columns.label_of(record))
    if not labels:
        raise ValueError(f"{path} has no rows")
    return Labelled(texts, labels)


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
        return data, read_labelled(test, columns)
    if not held_out:
        return data, None
    train, scored = _split(data, held_out, seed)
    return data.take(train), data.take(scored)


def _split(data: Labelled, share: float, seed: int) -> Iterator[Any]:
    from sklearn.model_selection import train_test_split

    rows = range(len(data))
    if len(data) < 2:
        raise ValueError("there is one row only, so that none can be held out")
    try:
        found = train_test_split(rows, test_size=share, random_state=seed, stratify=data.labels)
    except ValueError:  # a class with one row, or more classes than rows to hold out
        found = train_test_split(rows, test_size=share, random_state=seed)
    return iter(found)
