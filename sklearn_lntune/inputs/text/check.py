"""Turn every accepted form of ``X`` into a list of texts or of sentence pairs."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_array

from sklearn_lntune.checks import column_names, read_column
from sklearn_lntune.inputs.text.utf8 import surrogate_error, surrogate_row, undecodable_error

Text: TypeAlias = str | tuple[str, str]

_FORMS = (
    "a list, a 1-D array, a Series, a one-column frame or a datasets column of strings; "
    "two columns (or a list of pairs) for sentence pairs"
)
#: What lists of strings may be meant for.
_WORDS_HINT = (
    "Lists of words are for LNTunedTransformerTagger, or joined for the others: ' '.join(words)."
)


def check_texts(X: Any) -> list[Text]:
    """Check ``X`` and return its rows.

    The cells decide, not the type of the container: all strings are texts (one
    column) or sentence pairs (two columns); all numbers are joined a row into one
    text, with a warning, which is what scikit-learn's own checks send.

    Parameters
    ----------
    X : array-like of str of shape (n_samples,), (n_samples, 1) or (n_samples, 2)
        A list, array, pandas or polars Series or frame, or a ``datasets`` column.

    Returns
    -------
    list of str or list of (str, str)
        One entry a row, in order.

    Raises
    ------
    TypeError
        If ``X`` is no sequence, or a cell is neither text nor number.
    ValueError
        If ``X`` is empty, has missing or mixed cells, or too many columns.

    Examples
    --------
    >>> check_texts(["a text", "another"])
    ['a text', 'another']
    >>> check_texts([("is it raining?", "it is pouring")])
    [('is it raining?', 'it is pouring')]
    """
    texts = X if type(X) is list and _are_texts_or_pairs(X) else _rows(X)
    broken = surrogate_row(texts)
    if broken is not None:
        raise surrogate_error(f"row {broken} of X", texts[broken])
    return texts


def _rows(X: Any) -> list[Text]:
    if hasattr(X, "toarray") or (isinstance(X, np.ndarray) and X.dtype.kind in "biufc"):
        return _numbers_as_texts(X)
    if isinstance(X, str | bytes | Mapping | Set) or X is None:
        hint = ""
        if isinstance(X, Mapping) and len(X):
            hint = f" Pass one of its values: X[{next(iter(X))!r}]."
        raise TypeError(f"X must be {_FORMS}; got {type(X).__name__} ({X!r:.60}).{hint}")
    lacks = {"__len__": "has no length", "__getitem__": "has no rows by number"}
    lack = next((text for name, text in lacks.items() if not hasattr(X, name)), None)
    if lack and not hasattr(X, "__array__"):
        raise TypeError(
            f"X must be {_FORMS}; got {type(X).__name__}, which {lack}. "
            "Turn an iterator or a view into a list first: list(X)."
        )

    cells = _cells(X)
    if cells.ndim == 0:
        raise TypeError(f"X must be {_FORMS}; got a single value ({X!r:.60}).")
    if cells.ndim > 2:
        raise ValueError(f"X must be {_FORMS}; got an array with {cells.ndim} dimensions.")
    if len(cells) == 0:
        raise ValueError(f"X contains no texts (0 sample(s)): it must be {_FORMS}.")

    types = set(map(type, cells.ravel().tolist()))
    if all(issubclass(kind, str) for kind in types):
        return _texts_or_pairs(cells, column_names(X))
    if cells.ndim == 2 and all(_is_number(kind) for kind in types):
        return _numbers_as_texts(cells)
    raise _bad_column(cells, column_names(X)) or _bad_cell(cells, types)


def _are_texts_or_pairs(rows: list[Any]) -> bool:
    """Whether ``rows`` are in the form we want, so that large lists are not copied."""
    kinds = set(map(type, rows))
    if kinds == {tuple} and set(map(len, rows)) == {2}:
        kinds = set(map(type, chain.from_iterable(rows)))
    return kinds == {str}


def plain_texts(texts: Iterable[str]) -> list[str]:
    """``texts`` as ``str`` and no subclass of it, some of which are printed as something else.

    Examples
    --------
    >>> from enum import Enum
    >>> Colour = Enum("Colour", {"RED": "red"}, type=str)
    >>> str(Colour.RED), plain_texts([Colour.RED])
    ('Colour.RED', ['red'])
    """
    return [text if type(text) is str else str.__str__(text) for text in texts]


def _cells(X: Any) -> np.ndarray:
    """``X`` as an object array with one cell a text; ragged rows stay one cell."""
    try:
        X = read_column(X)
        if hasattr(X, "__array__"):
            X = np.asarray(X, dtype=object)
    except Exception:  # of whatever library X is from
        return _cell_by_cell(X)
    if isinstance(X, np.ndarray) and X.ndim != 1:
        return X
    rows = list(X)
    cells = np.empty(len(rows), dtype=object)
    cells[:] = [row if isinstance(row, str) else _plain(row) for row in rows]
    widths = {len(row) if isinstance(row, list) else None for row in cells}
    if len(widths) == 1 and None not in widths:
        return np.array(cells.tolist(), dtype=object)
    return cells


def _cell_by_cell(X: Any) -> np.ndarray:
    """The cells of an ``X`` that cannot give them all at once; an error names the first bad row."""
    columns = [X]
    if column_names(X) is not None:
        columns = [X.iloc[:, i] for i in range(X.shape[1])] if hasattr(X, "iloc") else X.columns
    cells = np.empty((len(X), len(columns)), dtype=object)
    for i, column in enumerate(columns):
        row = 0
        try:
            for cell in column:
                cells[row, i] = cell.as_py() if hasattr(cell, "as_py") else cell
                row += 1
        except UnicodeDecodeError as error:
            raise undecodable_error(f"row {row} of X") from error
        except Exception as error:
            raise ValueError(f"row {row} of X cannot be read: {error}") from error
    return cells if column_names(X) is not None else cells[:, 0]


def _plain(row: Any) -> Any:
    return list(row) if isinstance(row, tuple | list | np.ndarray) else row


def _texts_or_pairs(cells: np.ndarray, names: list[str] | None) -> list[Text]:
    if cells.ndim == 1 or cells.shape[1] == 1:
        return list(plain_texts(cells.flat))
    if cells.shape[1] == 2:
        return list(zip(plain_texts(cells[:, 0]), plain_texts(cells[:, 1]), strict=True))
    which, hint = (f" {names}", "") if names else ("", f" {_WORDS_HINT}")
    raise ValueError(
        f"X has {cells.shape[1]} text columns{which}; one column holds texts and two hold sentence "
        "pairs. Join or choose columns first, for instance "
        f"{f'X[{names[0]!r}], or ' if names else ''}with a ColumnTransformer.{hint}"
    )


def _numbers_as_texts(X: Any) -> list[Text]:
    """Each row of numbers as one text, so that an all-numeric ``X`` is not an error."""
    X = check_array(X, dtype=None, ensure_all_finite=False)
    try:
        numbers = X.astype(float)
    except (OverflowError, TypeError) as error:
        raise ValueError(
            f"X holds numbers, not texts, and some are not floats: {error}."
        ) from error
    warnings.warn(
        "X holds numbers, not texts; each row is joined into one text. If these are "
        "features, another classifier will serve better.",
        UserWarning,
        stacklevel=2,
    )
    return [" ".join(f"{value:.6g}" for value in row) for row in numbers]


def _bad_column(cells: np.ndarray, names: list[str] | None) -> TypeError | None:
    """The error that names the columns of a frame which do not hold texts."""
    if names is None or len(names) < 2:
        return None
    texts: list[Any] = []
    others: list[Any] = []
    for name, column in zip(names, cells.T, strict=True):
        is_text = [isinstance(cell, str) for cell in column if not is_missing(cell)]
        (texts if is_text and all(is_text) else others).append(name)
    if not others:
        return None
    remedy = "It must have one of texts, or two for sentence pairs."
    if texts:
        remedy = (
            f"Pass the one of the texts, X[{texts[0]!r}] (or two for sentence pairs); in a "
            "pipeline, choose it with a ColumnTransformer."
        )
    return TypeError(
        f"X is a table with the columns {names}, of which {others} do not hold strings. {remedy}"
    )


def _bad_cell(cells: np.ndarray, types: set[type]) -> TypeError | ValueError:
    """The error that names the first cell which is not text."""
    rows = cells if cells.ndim == 2 else cells[:, None]
    for index, row in enumerate(rows):
        for cell in row:
            if isinstance(cell, str):
                continue
            if is_missing(cell):
                return ValueError(
                    f"X has a missing text in row {index} ({cell!r}); drop such rows or fill "
                    "them, for instance with X.fillna('')."
                )
            if isinstance(cell, list | tuple):
                return ValueError(
                    f"the rows of X are not of one kind: row {index} is a sequence of {len(cell)}. "
                    f"X must be {_FORMS}. {_WORDS_HINT}"
                )
            if all(_is_number(kind) for kind in types):
                return ValueError(
                    f"X is 1-D and holds numbers (row {index}: {cell!r}), not texts; it must be "
                    f"{_FORMS}. Reshape your data if these are features."
                )
            remedy = ""
            if isinstance(cell, bytes):
                remedy = " Decode it: cell.decode()."
            elif isinstance(cell, Enum):
                remedy = " Pass its value: cell.value."
            return TypeError(
                f"row {index} of X is {type(cell).__name__} ({cell!r:.60}); every argument must "
                f"be a string (all cells texts) or a number (all cells numbers).{remedy}"
            )
    raise AssertionError("called without a bad cell")


def _is_number(kind: type) -> bool:
    return issubclass(kind, numbers.Number | np.number | np.bool_)


def is_missing(cell: Any) -> bool:
    """Whether ``cell`` is None, NaN, NaT or ``pandas.NA`` (the others do not equal themselves)."""
    if cell is None:
        return True
    try:
        return not bool(cell == cell)
    except TypeError:  # pandas.NA refuses to be true or false
        return True
    except ValueError:  # an array
        return False
