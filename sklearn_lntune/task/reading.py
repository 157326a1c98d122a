"""Read the targets that a user passes, in any form, as an array."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklearn_lntune.checks import read_column

#: What lists of labels may be meant for.
LISTS_HINT = (
    "For several labels per row, make an indicator of them with "
    "sklearn.preprocessing.MultiLabelBinarizer; a tag for each word is for "
    "LNTunedTransformerTagger."
)


def as_array(y: Any, name: str, forms: str) -> np.ndarray:
    """``y`` as an array of one or two dimensions; ``forms`` tells errors what is accepted.

    Raises
    ------
    TypeError, ValueError
        If ``y`` is not a sequence, or cannot be read, or has other dimensions.
    """
    is_sequence = hasattr(y, "__len__") and hasattr(y, "__getitem__")
    if (
        isinstance(y, str | bytes | Mapping | Set | np.matrix)
        or issparse(y)
        or not (is_sequence or hasattr(y, "__array__"))
    ):
        hint = ""
        if hasattr(y, "__iter__") and not is_sequence:
            hint = f" Turn it into a list first: list({name})."
        raise TypeError(f"{name} must be {forms}; got {type(y).__name__} ({y!r:.60}).{hint}")
    try:
        cells = np.asarray(read_column(y))
    except Exception as error:  # any library may have implemented the values
        if _holds_lists(y):
            raise ValueError(
                f"{name} must be {forms}; it cannot be read: it holds lists of different lengths. "
                f"{LISTS_HINT}"
            ) from error
        raise ValueError(f"{name} must be {forms}; it cannot be read: {error}") from error
    if cells.ndim == 0:
        raise TypeError(f"{name} must be {forms}; got a single value ({y!r:.60}).")
    if cells.ndim > 2:
        raise ValueError(f"{name} must be {forms}; got an array with {cells.ndim} dimensions.")
    return cells


def refuse_missing(y: Any, cells: np.ndarray, name: str, what: str) -> None:
    """Raise a ValueError that tells the row of the first of ``cells`` that is missing.

    Parameters
    ----------
    y : array-like
        As passed by the user; may be masked.
    cells : ndarray
        What ``y`` holds.
    name : str
        Name of ``y`` in error messages.
    what : str
        What a cell should be.
    """
    import pandas as pd

    missing = np.zeros(cells.shape, bool)
    if cells.dtype.kind in "fcmMO":
        missing = np.asarray(pd.isna(cells))
    if np.ma.isMaskedArray(y):
        missing = missing | np.ma.getmaskarray(y)
    if not missing.any():
        return
    first = tuple(np.argwhere(missing)[0].tolist())
    value = "masked" if np.ma.isMaskedArray(y) else str(cells[first])
    at = f"row {first[0]}" + (f", column {first[1]}" if cells.shape[1:] > (1,) else "")
    raise ValueError(
        f"{name} contains NaN or another missing {what}: {at} is {value}. Leave such rows "
        f"out, or give them a {what}."
    )


def _holds_lists(y: Any) -> bool:
    """Whether the rows of ``y`` are lists of strings."""
    rows = [row for row in list(y)[:1000] if isinstance(row, list | tuple | set | np.ndarray)]
    return any(isinstance(cell, str) for row in rows for cell in row)
