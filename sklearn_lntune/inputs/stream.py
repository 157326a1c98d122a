"""Rows of a table that is read chunk by chunk and never held whole."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.tables import Source
from sklearn_lntune.inputs.text.check import is_missing, plain_texts
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row

if TYPE_CHECKING:
    import pandas as pd


class Stream(Examples):
    """The rows in some columns of a table; a subclass says what their cells must be.

    Parameters
    ----------
    source : Source
    columns : sequence of str
    """

    #: What a cell is called in errors.
    noun: ClassVar[str]
    #: What a chunk is.
    rows: ClassVar[type[Rows]] = Rows

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self._source = source
        self.columns = tuple(columns)

    @property
    def n_rows(self) -> int | None:
        """Rows, or None if only reading them all can tell."""
        return self._source.n_rows

    def header(self) -> pd.DataFrame:
        """The columns without rows."""
        import pandas as pd

        return pd.DataFrame(columns=list(self.columns))

    def chunks(self, size: int) -> Iterator[Rows]:
        """The rows in order, at most ``size`` at a time.

        Raises
        ------
        ValueError, TypeError
            If a cell is missing or not what it must be, or there is none at all.
        """
        done = 0
        for batch in self._source.batches(self.columns):
            cells = [self._checked(batch[name], name, done) for name in self.columns]
            read: list[Any] = cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))
            for start in range(0, len(read), size):
                yield self.rows(read[start : start + size])
            done += len(read)
        if not done:
            raise self._empty()

    @property
    def n_columns(self) -> int:
        """The columns that are read."""
        return len(self.columns)

    @abstractmethod
    def _checked(self, cells: Sequence[Any], column: str, start: int) -> list[Any]:
        """``cells`` if all of them are valid; the first is row ``start`` of the table."""

    def _empty(self) -> ValueError:
        return ValueError(f"X contains no {self.noun}s (0 sample(s)).")

    def for_training(self, y: Any, label_column: str | Sequence[str]) -> tuple[Self, Any]:
        """The same rows where they can be read again, and ``y`` or the labels beside them.

        Raises
        ------
        ValueError
            If there is no such column of labels, or a row has no label, or several.
        """
        if y is not None:
            return self._kept(()), y
        if isinstance(label_column, str):
            kept = self._kept([label_column])
            return kept, kept.labels(label_column)
        kept = self._kept(label_column)
        return kept, LabelTable(tuple(kept.labels(name) for name in label_column))

    def _kept(self, label_columns: Sequence[str]) -> Self:
        """The same rows where they can be read again, with the columns of labels."""
        columns = [*self.columns]
        for name in label_columns:
            if name not in self._source.names:
                raise ValueError(
                    f"label_column={name!r} is not a column of X, which has "
                    f"{self._source.names}. Name the one that holds the labels, or pass y."
                )
            columns.append(name)
        if self.n_rows == 0:
            raise self._empty()
        return type(self)(self._source.kept(columns), self.columns)

    def labels(self, column: str) -> Any:
        """The cells of a column of labels.

        Raises
        ------
        ValueError
            If a row has no label, or several.
        """
        seen: dict[Any, int] = {}
        codes, done = array("i"), 0
        for batch in self._source.batches([column]):
            cells, n_known = batch[column], len(seen)
            try:
                part = [seen.setdefault(cell, len(seen)) for cell in cells]
            except TypeError:
                raise ValueError(
                    f"column {column!r} must hold one label per row; it holds {cells[0]!r:.60}."
                ) from None
            for label in list(seen)[n_known:]:
                if is_missing(label):
                    row = done + part.index(seen[label])
                    raise ValueError(
                        f"column {column!r} has rows without a label: row {row} is {label!r}. "
                        "Leave such rows out."
                    )
            codes.extend(part)
            done += len(part)
        if column in self._source.class_numbers and -1 in seen:
            raise ValueError(
                f"column {column!r} holds -1, which marks rows without a label; leave them out, "
                f"for instance with X.filter(lambda row: row[{column!r}] >= 0)."
            )
        values: Any = list(seen)
        if any(type(label) is int and label >= 2**63 for label in values):
            values = np.array(values, np.uint64)  # NumPy would make floats of a mixture
        where = f"column {column!r} of X"
        return LabelColumn(where, values, np.frombuffer(codes, np.int32), column)


@dataclass(frozen=True)
class LabelColumn:
    """The labels in a column of a table, each distinct one held once.

    Attributes
    ----------
    where : str
        What errors call the column.
    values : sequence
        The distinct labels.
    codes : ndarray of int of shape (n_rows,)
        For each row, the number of its label among them.
    name : str, optional
    """

    where: str
    values: Sequence[Any]
    codes: np.ndarray
    name: str | None = None


@dataclass(frozen=True)
class LabelTable:
    """Several columns of labels, or of other targets.

    Attributes
    ----------
    columns : tuple of LabelColumn
    """

    columns: tuple[LabelColumn, ...]

    @property
    def where(self) -> str:
        """What errors call them."""
        return ", ".join(column.where for column in self.columns)


class TextStream(Stream):
    """The texts, or pairs, in one or two columns of a table."""

    noun = "text"

    def _checked(self, cells: Sequence[Any], column: str, start: int) -> list[str]:
        """``cells`` if all of them are texts; the first is row ``start`` of the table."""
        if not all(issubclass(kind, str) for kind in set(map(type, cells))):
            row, cell = next((i, cell) for i, cell in enumerate(cells) if not isinstance(cell, str))
            if is_missing(cell):
                raise ValueError(
                    f"column {column!r} of X has a missing text in row {start + row}; drop such "
                    "rows or fill them."
                )
            raise TypeError(
                f"row {start + row} of column {column!r} of X is {type(cell).__name__} "
                f"({cell!r:.60}), not a string."
            )
        texts = plain_texts(cells)
        broken = surrogate_row(texts)
        if broken is not None:
            raise surrogate_error(f"row {start + broken} of column {column!r} of X", texts[broken])
        return texts


def check_label_column(label_column: Any) -> None:
    """Refuse what can name no columns of labels.

    Raises
    ------
    ValueError
    """
    several = isinstance(label_column, list | tuple) and len(label_column) > 1
    names = list(label_column) if several else [label_column]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            "label_column must be the name of a column, or a list of two or more different ones; "
            f"got {label_column!r}."
        )
