"""Turn every accepted form of ``X`` into a list of texts or of sentence pairs."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_array

Text: TypeAlias = str | tuple[str, str]

_FORMS = (
    "a list, a 1-D array, a Series, a one-column frame or a datasets column of strings; "
    "two columns (or a list of pairs) for sentence pairs"
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
    if type(X) is list and _are_texts_or_pairs(X):
        return X
    if isinstance(X, str | bytes | dict | set | frozenset) or X is None:
        raise TypeError(f"X must be {_FORMS}; got {type(X).__name__} ({X!r:.60}).")
    if not hasattr(X, "__len__") and not hasattr(X, "__array__"):
        raise TypeError(
            f"X must be {_FORMS}; got {type(X).__name__}, which has no length. "
            "Turn an iterator into a list first."
        )
    if hasattr(X, "toarray") or (isinstance(X, np.ndarray) and X.dtype.kind in "biufc"):
        return _numbers_as_texts(X)

    cells = _cells(X)
    if cells.ndim == 0:
        raise TypeError(f"X must be {_FORMS}; got a single value ({X!r:.60}).")
    if cells.ndim > 2:
        raise ValueError(f"X must be {_FORMS}; got an array with {cells.ndim} dimensions.")
    if len(cells) == 0:
        raise ValueError(f"X holds no texts (0 sample(s)): it must be {_FORMS}.")

    types = set(map(type, cells.ravel().tolist()))
    if all(issubclass(kind, str) for kind in types):
        return _texts_or_pairs(cells)
    if cells.ndim == 2 and all(_is_number(kind) for kind in types):
        return _numbers_as_texts(cells)
    raise _bad_cell(cells, types)


def _are_texts_or_pairs(rows: list[Any]) -> bool:
    """Whether ``rows`` are in the form we want, so that large lists are not copied."""
    kinds = set(map(type, rows))
    if kinds == {tuple} and set(map(len, rows)) == {2}:
        kinds = set(map(type, chain.from_iterable(rows)))
    return kinds == {str}


def distinct(texts: Sequence[Text]) -> tuple[list[Text], np.ndarray]:
    """The distinct ones of ``texts``, and for each text the number of its equal among them.

    Examples
    --------
    >>> distinct(["a", "b", "a"])
    (['a', 'b'], array([0, 1, 0]))
    """
    import pandas as pd

    numbers, unique = pd.factorize(np.fromiter(texts, object, len(texts)))
    return unique.tolist(), numbers


def _cells(X: Any) -> np.ndarray:
    """``X`` as an object array with one cell a text; ragged rows stay one cell."""
    if hasattr(X, "__array__"):
        X = np.asarray(X, dtype=object)
        if X.ndim != 1:
            return X
    rows = list(X)
    cells = np.empty(len(rows), dtype=object)
    cells[:] = [row if isinstance(row, str) else _plain(row) for row in rows]
    widths = {len(row) if isinstance(row, list) else None for row in cells}
    if len(widths) == 1 and None not in widths:
        return np.array(cells.tolist(), dtype=object)
    return cells


def _plain(row: Any) -> Any:
    return list(row) if isinstance(row, tuple | list | np.ndarray) else row


def _texts_or_pairs(cells: np.ndarray) -> list[Text]:
    if cells.ndim == 1 or cells.shape[1] == 1:
        return [str(text) for text in cells.flat]
    if cells.shape[1] == 2:
        return [(str(first), str(second)) for first, second in cells]
    raise ValueError(
        f"X has {cells.shape[1]} text columns; one column holds texts and two hold sentence "
        "pairs. Join or choose columns first, for instance with a ColumnTransformer."
    )


def _numbers_as_texts(X: Any) -> list[Text]:
    """Each row of numbers as one text, so that an all-numeric ``X`` is not an error."""
    X = check_array(X, dtype=None, ensure_all_finite=False)
    warnings.warn(
        "X holds numbers, not texts; each row is joined into one text. If these are "
        "features, another classifier will serve better.",
        UserWarning,
        stacklevel=2,
    )
    return [" ".join(f"{value:.6g}" for value in row) for row in X.astype(float)]


def _bad_cell(cells: np.ndarray, types: set[type]) -> TypeError | ValueError:
    """The error that names the first cell which is not text."""
    rows = cells if cells.ndim == 2 else cells[:, None]
    for index, row in enumerate(rows):
        for cell in row:
            if isinstance(cell, str):
                continue
            if cell is None or _is_missing(cell):
                return ValueError(
                    f"X has a missing text in row {index} ({cell!r}); drop such rows or fill "
                    "them, for instance with X.fillna('')."
                )
            if isinstance(cell, list | tuple):
                return ValueError(
                    f"the rows of X are not of one kind: row {index} is a sequence of {len(cell)}. "
                    f"X must be {_FORMS}."
                )
            if all(_is_number(kind) for kind in types):
                return ValueError(
                    f"X is 1-D and holds numbers (row {index}: {cell!r}), not texts; it must be "
                    f"{_FORMS}. Reshape your data if these are features."
                )
            return TypeError(
                f"row {index} of X is {type(cell).__name__} ({cell!r:.60}); every argument must "
                "be a string (all cells texts) or a number (all cells numbers)."
            )
    raise AssertionError("called without a bad cell")


def _is_number(kind: type) -> bool:
    return issubclass(kind, numbers.Number | np.number | np.bool_)


def _is_missing(cell: Any) -> bool:
    """Whether ``cell`` is NaN, NaT or ``pandas.NA`` (none equals itself)."""
    try:
        return not bool(cell == cell)
    except TypeError:  # pandas.NA refuses to be true or false
        return True
    except ValueError:  # an array
        return False
