"""Open an `X` of texts or sentence pairs: in memory, or in the columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_lntune.checks import column_names
from sklearn_lntune.inputs.base import Input, Opened, Rows
from sklearn_lntune.inputs.stream import TextStream
from sklearn_lntune.inputs.tables import Source, open_source
from sklearn_lntune.inputs.text.check import check_texts


class TextInput(Input):
    """Texts, or sentence pairs.

    Parameters
    ----------
    text_column : "auto", str or two str
        The columns of a table that hold the texts.
    label_column : str or sequence of str
        That of the labels, or those; never taken for text by ``"auto"``.
    """

    def __init__(self, text_column: Any = "auto", label_column: Any = "label") -> None:
        self.text_column = text_column
        self.label_column = label_column

    def open(self, X: Any, y: Any = None) -> Opened:
        """Check ``X``; the texts of a table are not read yet.

        Parameters
        ----------
        X : array-like of str, ``datasets.Dataset``, ``datasets.IterableDataset`` or path
            A path is that of a Parquet file, or of a folder of them.
        y : array-like, optional

        Raises
        ------
        ValueError, TypeError
            As `check_texts`; or if the columns are not there, or hold no text.
        """
        source = open_source(X)
        if source is None:
            _check_frame(X, self.text_column, self.label_column)
            return Opened(self.rows(X), X if _has_columns(X) else None, y, self.label_column)
        _check_label_column(self.label_column)
        stream = TextStream(source, _chosen(source, self.text_column, self.label_column))
        return Opened(stream, stream.header(), y, self.label_column)

    def rows(self, X: Any) -> Rows:
        """The texts of an ``X`` that is in memory.

        Raises
        ------
        ValueError, TypeError
            As `check_texts`.
        """
        return Rows(check_texts(X))


def _check_label_column(label_column: Any) -> None:
    several = isinstance(label_column, list | tuple) and len(label_column) > 1
    names = list(label_column) if several else [label_column]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            "label_column must be the name of a column, or a list of two or more different ones; "
            f"got {label_column!r}."
        )


def _has_columns(X: Any) -> bool:
    """Whether ``X`` is a table (a list of pairs is), rather than one sequence of texts."""
    if hasattr(X, "shape") or hasattr(X, "__array__"):
        return len(getattr(X, "shape", None) or np.asarray(X).shape) == 2
    return not isinstance(next(iter(X)), str)


def _check_frame(X: Any, text_column: Any, label_column: Any) -> None:
    """Refuse a frame from which columns would have to be chosen; that is for who passes it."""
    names = column_names(X)
    if names is None or len(names) < 2:
        return
    if label_column in names:  # several may be there: y then holds them, and X the texts
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


def _chosen(source: Source, text_column: Any, label_column: Any) -> tuple[str, ...]:
    labels = [label_column] if isinstance(label_column, str) else label_column
    strings = [name for name in source.strings if name not in labels]
    if isinstance(text_column, str) and text_column == "auto":
        for names in (("text",), ("text_a", "text_b")):
            if set(names) <= set(strings):
                return names
        if len(strings) == 1:
            return (strings[0],)
        if not source.names:
            raise ValueError("X contains no texts (0 sample(s)).")
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
                f"text_column={text_column!r} is not a column of X, which has {source.names}."
            )
        if name not in source.strings:
            raise TypeError(f"column {name!r} of X does not hold strings; {strings} do.")
    return tuple(names)
