"""Turn every accepted form of ``X`` into a list of images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np

from sklearn_lntune.checks import column_names, has_length, is_column
from sklearn_lntune.inputs.image.picture import Picture
from sklearn_lntune.inputs.looks import is_pil_image
from sklearn_lntune.inputs.tables import open_source

_FORMS = (
    "a list, array, Series, one-column frame or datasets column of images: paths of files, arrays "
    "(height, width) or (height, width, 3), or PIL images"
)


def check_images(X: Any) -> list[Picture]:
    """Check ``X`` and return its rows.

    Parameters
    ----------
    X : array-like of images of shape (n_samples,), or array of numbers of shape \
            (n_samples, height, width) or (n_samples, height, width, channels)
        Arrays of floating-point numbers range from 0 to 1, those of integers from 0 to 255.

    Returns
    -------
    list of Picture
        One per row, in order.

    Raises
    ------
    TypeError
        If ``X`` is not a sequence, or a cell is no image.
    ValueError
        If ``X`` is empty, an image is missing, its file is not there or holds something else,
        or an array has another shape or range.

    Examples
    --------
    >>> import numpy as np
    >>> len(check_images(np.zeros((5, 8, 8))))
    5
    """
    return [Picture(cell, f"row {row} of X") for row, cell in enumerate(_cells(X))]


def _cells(X: Any) -> Any:
    """The images of ``X``, one after another."""
    if X is None or isinstance(X, str | bytes | os.PathLike | Mapping | Set) or is_pil_image(X):
        raise TypeError(
            f"X must be {_FORMS}; got {type(X).__name__} ({X!r:.80}). Put a single image into a "
            "list."
        )
    names = column_names(X)
    if names is not None:
        if len(names) != 1:
            raise ValueError(
                f"X is a table with the columns {names}; pass the one of the images, X[name], or "
                "choose it with a ColumnTransformer."
            )
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X[names[0]]
    if hasattr(X, "toarray"):
        raise _flat(X)
    if hasattr(X, "__array__") and not hasattr(X, "iloc"):
        X = _cells_of_array(np.asarray(X))
    elif not has_length(X):
        raise TypeError(f"X must be {_FORMS}; got {type(X).__name__}, which has no length.")
    if len(X) == 0:
        raise ValueError(f"X contains no images (0 sample(s)): it must be {_FORMS}.")
    return _each(X)


def _cells_of_array(X: np.ndarray) -> np.ndarray:
    if X.dtype == object or X.dtype.kind in "US":
        if X.ndim == 2 and X.shape[1] == 1:
            return X[:, 0]
        if X.ndim == 1:
            return X
        raise ValueError(f"X must be {_FORMS}; got an array of objects of shape {X.shape}.")
    if X.ndim < 3:
        raise _flat(X)
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"X is an array of shape {X.shape}, which is one image in colour rather than several: "
            "pass it in a list, or as X[None]."
        )
    if X.ndim > 4:
        raise ValueError(
            f"X must be {_FORMS}, or several as an array (n, height, width, 3); got an array with "
            f"{X.ndim} dimensions."
        )
    return X


def _flat(X: Any) -> ValueError:
    return ValueError(
        f"X is an array of numbers of shape {X.shape}, and the backbone takes images: an array "
        "(n, height, width) or (n, height, width, 3). Give flattened images their shape back, for "
        "instance with X.reshape(-1, height, width)."
    )


def _each(X: Any) -> Iterator[Any]:
    """The cells of ``X``; an error of the library it is from names the row."""
    row = 0
    try:
        for cell in _cells_of_column(X) if is_column(X) else X:
            yield cell
            row += 1
    except Exception as error:
        why = " ".join(str(error).split())
        raise ValueError(f"row {row} of X cannot be read: {why:.300}") from error


def _cells_of_column(X: Any) -> Iterator[Any]:
    """The cells of a column of ``datasets``, with images as the bytes of their files."""
    source = open_source(X.source)
    if source is None or X.column_name not in source.images:
        yield from X
        return
    for batch in source.batches([X.column_name]):
        yield from batch[X.column_name]
