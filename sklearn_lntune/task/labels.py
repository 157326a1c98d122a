"""Check labels: accept those that scikit-learn's classifiers accept, and explain the rest."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from sklearn_lntune.checks import column_names, read_column
from sklearn_lntune.task.reading import LISTS_HINT, as_array, refuse_missing

_FORMS = "a list, an array, a Series or a column of a table, with one label for each row"
_LABELS = "labels are strings, whole numbers or booleans"


def check_labels(y: Any, name: str = "y", *, warn: bool = True) -> np.ndarray:
    """``y`` as a 1-D array of labels.

    Labels that scikit-learn's classifiers accept are accepted, and others are refused, with
    two exceptions. Nullable integers and booleans stay integers and booleans, while
    scikit-learn converts them to floats. A missing label is always an error, while
    scikit-learn treats some as a class (``["a", nan]`` has a class ``'nan'``).

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, 1)
    name : str
        Name of ``y`` in error messages.
    warn : bool
        Whether to warn of a column vector, as scikit-learn does.

    Returns
    -------
    ndarray of shape (n_samples,)
        Strings, whole numbers, booleans or dates; if the type is object, all are ``str``.

    Raises
    ------
    TypeError
        If ``y`` is not a sequence of labels.
    ValueError
        If a label is missing or of a kind that cannot be one, or a row has several.

    Examples
    --------
    >>> check_labels([True, False])
    array([ True, False])
    >>> check_labels(["a", None])
    Traceback (most recent call last):
    ...
    ValueError: y contains NaN or another missing label: row 1 is None. Leave such rows out, ...
    """
    if y is None:
        raise ValueError(f"requires {name} to be passed, but the target {name} is None")
    labels = as_array(y, name, _FORMS)
    if labels.dtype.kind == "T":
        raise TypeError(
            f"{name} is an array of NumPy's StringDType, which scikit-learn does not take for "
            f"labels; pass {name}.astype(object)."
        )
    cells = labels
    if labels.dtype.kind == "U" and not hasattr(y, "__array__"):
        # NumPy has converted other values to strings, a missing label to 'nan'.
        cells = np.asarray(read_column(y), dtype=object)
    refuse_missing(y, cells, name, "label")
    if cells is not labels:
        _refuse_misread(cells, name)
    labels = _one_column(y, labels, name, warn)
    if labels.dtype == object:
        return _strings(labels, name)
    _check_type(labels, name)
    return labels


def _refuse_misread(cells: np.ndarray, name: str) -> None:
    """Refuse strings whose `str` is another string, since NumPy stores that.

    Members of ``(str, Enum)`` become their names, which NumPy then truncates.
    """
    for cell in cells.flat:
        if type(cell) is not str and isinstance(cell, str) and str(cell) != str.__str__(cell):
            remedy = "label.value" if isinstance(cell, Enum) else "str.__str__(label)"
            raise ValueError(
                f"{name} holds strings of type {type(cell).__name__} ({cell!r}), which NumPy reads "
                f"as something else. Pass {remedy} for each label."
            )


def _one_column(y: Any, labels: np.ndarray, name: str, warn: bool) -> np.ndarray:
    if labels.ndim == 1:
        return np.asarray(labels)
    if labels.shape[1] == 1:
        return np.asarray(column_or_1d(labels, warn=warn))
    columns = column_names(y)
    if columns is not None:
        raise ValueError(
            f"{name} has several labels per row: it is a table with the columns {columns}. Pass "
            f"the one that holds the labels, for instance {name}[{columns[-1]!r}]."
        )
    if labels.shape[1] == 0:
        raise ValueError(f"{name} must be {_FORMS}; it has no column.")
    try:
        kind = type_of_target(labels)
    except (TypeError, ValueError):
        kind = f"its shape is {labels.shape}"
    advice = (
        "Wrap the classifier in sklearn.multioutput.MultiOutputClassifier; a tag for each word is "
        "for LNTunedTransformerTagger."
    )
    if kind == "continuous-multioutput":
        advice = "Quantities are for LNTunedTransformerRegressor."
    elif kind == "multilabel-indicator":
        advice = "An indicator holds 0 and 1, and here one label per row is expected."
    raise ValueError(f"{name} has several labels per row ({kind}). {advice}")


def _strings(labels: np.ndarray, name: str) -> np.ndarray:
    """``labels`` of type object as plain strings; raises if one is not a string."""
    kinds = set(map(type, labels.tolist()))
    if kinds <= {str}:
        return labels
    if not all(issubclass(kind, str) for kind in kinds):
        raise ValueError(f"Unknown label type: {_object_error(labels, kinds, name)}")
    plain = np.empty(len(labels), dtype=object)
    # `str` of a member of (str, Enum) is its name, but the string itself is its value.
    plain[:] = [str.__str__(label) for label in labels]
    return plain


def _object_error(labels: np.ndarray, kinds: set[type], name: str) -> str:
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    if kinds <= {list, tuple, set, frozenset, np.ndarray}:
        return f"{name} holds {names}, and {_LABELS}. {LISTS_HINT}"
    if any(issubclass(kind, bytes) for kind in kinds):
        return f"{name} holds bytes, and {_LABELS}. Pass label.decode() for each label."
    if any(issubclass(kind, str) for kind in kinds):
        return (
            f"{name} holds labels of several types ({names}). Pass one type, for instance "
            "str(label) for each label."
        )
    for base, remedy in (
        (Enum, "label.value for each label"),
        (bool | np.bool_, f"{name}.astype(bool)"),
        (int | np.integer, f"{name}.astype(int)"),
        (float | np.floating, f"{name}.astype(float)"),
    ):
        if all(issubclass(kind, base) for kind in kinds):
            if base == int | np.integer and max(abs(label) for label in labels) >= 2**63:
                break
            return f"{name} holds objects of type {names}. Pass {remedy}."
    return (
        f"{_LABELS}, and {name} holds {names} ({labels[0]!r:.60}). Pass strings, for instance "
        "str(label) for each label."
    )


def _check_type(labels: np.ndarray, name: str) -> None:
    """Refuse arrays of bytes, and of numbers that cannot be labels."""
    if labels.dtype.kind == "S":
        raise ValueError(f"{name} holds bytes, and {_LABELS}. Pass label.decode() for each label.")
    for kind, what in (("c", "complex numbers"), ("V", "records")):
        if labels.dtype.kind == kind:
            raise ValueError(f"{name} holds {what}, and {_LABELS}.")
    if labels.dtype.kind != "f":
        return
    wide = labels.astype(np.result_type(labels, float))  # float16 overflows before 64-bit integers
    whole = (np.trunc(wide) == wide) & (wide >= -(2.0**63)) & (wide < 2.0**63)
    if whole.all():
        return
    value = labels[~whole][0]
    if np.isinf(value):
        raise ValueError(f"{name} contains infinity ({value}), which is not a label.")
    raise ValueError(
        f"Unknown label type: continuous. {name} holds numbers that are not whole, or beyond 64 "
        f"bits, such as {value}, and {_LABELS}. pandas.cut makes classes of ranges; a quantity "
        "itself is for LNTunedTransformerRegressor."
    )
