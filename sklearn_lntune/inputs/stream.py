"""Texts of a table that is read chunk by chunk and never held whole."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sklearn_lntune.checks import column_names
from sklearn_lntune.inputs.tables import Source, open_source
from sklearn_lntune.inputs.text.check import Text, check_texts, is_missing, plain_texts
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row

if TYPE_CHECKING:
    import pandas as pd


class TextTable:
    """The texts, or pairs, in one or two columns of a table.

    Parameters
    ----------
    source : Source
    columns : sequence of str
    """

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self._source = source
        self.columns = tuple(columns)

    @property
    def n_rows(self) -> int | None:
        """Rows, or None if only reading them all can tell."""
        return self._source.n_rows

    def __len__(self) -> int:
        if self.n_rows is None:
            raise TypeError("the rows of a stream are not counted yet.")
        return self.n_rows

    def header(self, named: bool) -> pd.DataFrame | np.ndarray:
        """The columns without rows, for scikit-learn's checks, with their names or without."""
        import pandas as pd

        frame = pd.DataFrame(columns=list(self.columns))
        return frame if named else frame.to_numpy()

    def chunks(self, size: int) -> Iterator[list[Text]]:
        """The texts in order, at most ``size`` at a time.

        Raises
        ------
        ValueError, TypeError
            If a cell is missing or not text, or there is none at all.
        """
        done = 0
        for batch in self._source.batches(self.columns):
            cells = [_checked(batch[name], name, done) for name in self.columns]
            texts: list[Any] = cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))
            for start in range(0, len(texts), size):
                yield texts[start : start + size]
            done += len(texts)
        if not done:
            raise ValueError("X holds no texts (0 sample(s)).")

    def kept(self, label_column: str | None) -> TextTable:
        """The same texts where they can be read again, with the labels if they are named.

        Raises
        ------
        ValueError
            If there is no such column of labels.
        """
        columns = [*self.columns]
        if label_column is not None:
            if label_column not in self._source.names:
                raise ValueError(
                    f"label_column={label_column!r} is no column of X, which has "
                    f"{self._source.names}. Name the one that holds the labels, or pass y."
                )
            columns.append(label_column)
        if self.n_rows == 0:
            raise ValueError("X holds no texts (0 sample(s)).")
        return TextTable(self._source.kept(columns), self.columns)

    def labels(self, column: str) -> LabelColumn:
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
                    f"column {column!r} must hold one label a row; it holds {cells[0]!r:.60}."
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
        return LabelColumn(f"column {column!r} of X", values, np.frombuffer(codes, np.int32))


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
    """

    where: str
    values: Sequence[Any]
    codes: np.ndarray


#: What `open_texts` gives.
Texts: TypeAlias = Sequence[Text] | TextTable


def open_texts(X: Any, text_column: Any = "auto", label_column: Any = "label") -> Texts:
    """Check ``X`` and return its texts; those of a table are not read yet.

    Parameters
    ----------
    X : array-like of str, ``datasets.Dataset``, ``datasets.IterableDataset`` or path
        A path is that of a Parquet file, or of a folder of them.
    text_column : "auto", str or two str
        Of a table only.
    label_column : str
        Of a table only; never taken for text by ``"auto"``.

    Raises
    ------
    ValueError, TypeError
        As `check_texts`; or if the columns are not there, or hold no text.
    """
    source = open_source(X)
    if source is None:
        _check_frame(X, text_column, label_column)
        return check_texts(X)
    if not isinstance(label_column, str):
        raise ValueError(f"label_column must be the name of a column; got {label_column!r}.")
    return TextTable(source, _chosen(source, text_column, label_column))


def _check_frame(X: Any, text_column: Any, label_column: Any) -> None:
    """Refuse a frame from which columns would have to be chosen; that is for who passes it."""
    names = column_names(X)
    if names is None or len(names) < 2:
        return
    if label_column in names:
        raise ValueError(
            f"X is a table with the columns {names}, and {label_column!r} is that of the labels "
            f"(label_column). Pass the column of the texts as X, for instance "
            f"X[{next(name for name in names if name != label_column)!r}], and "
            f"X[{label_column!r}] as y."
        )
    wanted = [text_column] if isinstance(text_column, str) else text_column
    if not isinstance(wanted, list | tuple) or wanted == ["auto"] or list(wanted) == names:
        return
    if all(name in names for name in wanted):
        chosen = wanted[0] if len(wanted) == 1 else list(wanted)
        raise ValueError(
            f"text_column={text_column!r} chooses columns of datasets and Parquet files, and X is "
            f"a frame with the columns {names}. Choose them yourself: X[{chosen!r}]."
        )


def with_labels(texts: Texts, y: Any, label_column: str) -> tuple[Texts, Any]:
    """Texts that can be read more than once, and ``y`` or the labels beside the texts."""
    if not isinstance(texts, TextTable):
        return texts, y
    texts = texts.kept(label_column if y is None else None)
    return texts, texts.labels(label_column) if y is None else y


def _chosen(source: Source, text_column: Any, label_column: str) -> tuple[str, ...]:
    strings = [name for name in source.strings if name != label_column]
    if isinstance(text_column, str) and text_column == "auto":
        for names in (("text",), ("text_a", "text_b")):
            if set(names) <= set(strings):
                return names
        if len(strings) == 1:
            return (strings[0],)
        if not source.names:
            raise ValueError("X holds no texts (0 sample(s)).")
        raise ValueError(
            f"text_column='auto' does not know which column of X holds the texts: it has "
            f"{source.names}, of which {strings} hold strings. Name one, or two for pairs."
        )
    names = (text_column,) if isinstance(text_column, str) else text_column
    if (
        not isinstance(names, tuple | list)
        or len(names) not in (1, 2)
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            f"text_column must be 'auto', a name, or two names for pairs; got {text_column!r}."
        )
    for name in names:
        if name not in source.names:
            raise ValueError(
                f"text_column={text_column!r} is no column of X, which has {source.names}."
            )
        if name not in source.strings:
            raise TypeError(f"column {name!r} of X does not hold strings; {strings} do.")
    return tuple(names)


def _checked(cells: Sequence[Any], column: str, start: int) -> list[str]:
    """``cells`` if all of them are texts; the first is row ``start`` of the table."""
    if not all(issubclass(kind, str) for kind in set(map(type, cells))):
        row, cell = next((i, cell) for i, cell in enumerate(cells) if not isinstance(cell, str))
        if is_missing(cell):
            raise ValueError(
                f"column {column!r} of X has a missing text in row {start + row}; drop such rows "
                "or fill them."
            )
        raise TypeError(
            f"row {start + row} of column {column!r} of X is {type(cell).__name__} ({cell!r:.60}), "
            "not a string."
        )
    texts = plain_texts(cells)
    broken = surrogate_row(texts)
    if broken is not None:
        raise surrogate_error(f"row {start + broken} of column {column!r} of X", texts[broken])
    return texts
