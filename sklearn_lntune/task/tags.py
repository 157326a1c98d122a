"""Check tags: a sequence for each sentence, with one for each of its words."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklearn_lntune.checks import column_names, has_length, read_column
from sklearn_lntune.inputs.text.check import is_missing

_FORMS = "a list of tags for each sentence, with one tag for each word"


def check_tags(y: Any, name: str = "y") -> list[list[Any]]:
    """``y`` as lists of tags.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        A list, tuple or array of tags for each sentence, which may be empty.
    name : str
        Name of ``y`` in error messages.

    Raises
    ------
    TypeError
        If ``y`` is not such a sequence.
    ValueError
        If ``y`` is missing, has one target per sentence rather than per word, or a tag is missing.

    Examples
    --------
    >>> check_tags([["O", "B-place"], ()])
    [['O', 'B-place'], []]
    """
    if y is None:
        raise ValueError(f"requires {name} to be passed, but the target {name} is None")
    if issparse(y):
        raise ValueError(_of_rows(name, "is a sparse matrix", "Classifier"))
    if isinstance(y, str | bytes | Mapping | Set) or not has_length(y) or column_names(y):
        raise TypeError(f"{name} must be {_FORMS}; got {type(y).__name__} ({y!r:.60}).")
    rows = [_tags(cell, f"row {row} of {name}", name) for row, cell in enumerate(read_column(y))]
    first = next((tag for tags in rows for tag in tags), None)
    for row, tags in enumerate(rows):
        for tag in tags:
            if isinstance(tag, str) != isinstance(first, str):
                raise ValueError(
                    f"the tags of {name} are of several types: the first is {first!r}, and row "
                    f"{row} has {tag!r}. Pass one type, for instance str(tag) for each tag."
                )
    return rows


def _tags(cell: Any, where: str, name: str) -> list[Any]:
    cell = cell.as_py() if hasattr(cell, "as_py") else cell
    shape = np.shape(cell) if hasattr(cell, "__array__") else None
    if isinstance(cell, list | tuple):
        tags = list(cell)
    elif shape is not None and len(shape) == 1:
        tags = cell.tolist() if hasattr(cell, "tolist") else list(cell)
    elif is_missing(cell):
        raise ValueError(f"{where} is missing ({cell!r}); leave such rows out.")
    elif isinstance(cell, numbers.Real) and not float(cell).is_integer():
        raise ValueError(
            _of_rows(name, f"has one number for each sentence ({cell!r})", "Regressor")
        )
    else:
        raise ValueError(
            _of_rows(name, f"has one label for each sentence ({cell!r:.60})", "Classifier")
        )
    for word, tag in enumerate(tags):
        if isinstance(tag, list | tuple):
            raise ValueError(f"tag {word} of {where} is a sequence ({tag!r:.60}), not one tag.")
        if is_missing(tag):
            raise ValueError(f"tag {word} of {where} is missing ({tag!r}).")
    return tags


def _of_rows(name: str, what: str, better: str) -> str:
    return (
        f"{name} {what}, but LNTunedTransformerTagger needs {_FORMS}. For a target of the whole "
        f"sentence use LNTunedTransformer{better}."
    )
