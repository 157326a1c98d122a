"""Weights of rows: sample weights times class weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

#: Weights are scaled if the largest is above 2 to this power, or below its inverse.
_MAX_EXPONENT = 256


def check_sample_weight(
    sample_weight: Any, n_rows: int, name: str = "sample_weight"
) -> np.ndarray | None:
    """``sample_weight`` as an array of finite numbers of 0 or more, or None.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,), number or None
    n_rows : int
    name : str
        Name of ``sample_weight`` in error messages.

    Returns
    -------
    ndarray of float of shape (n_rows,), or None

    Raises
    ------
    ValueError
        If there is not one such number for each row.

    Examples
    --------
    >>> check_sample_weight([1, 2], 2)
    array([1., 2.])
    """
    if sample_weight is None:
        return None
    try:
        if np.asarray(sample_weight).dtype.kind == "c":  # of which NumPy would keep the real parts
            raise TypeError("they are complex")
        with np.errstate(invalid="ignore", over="ignore"):  # it sums weights, infinite ones, too
            weights = _check_sample_weight(
                sample_weight, np.empty((n_rows, 1)), dtype=float, ensure_non_negative=True
            )
    except Exception as error:  # any library may have implemented the weights
        raise _bad_sample_weight(name, n_rows, str(error)) from error
    if not np.isfinite(weights).all():  # scikit-learn does not check a single number
        raise _bad_sample_weight(name, n_rows, f"got {sample_weight!r:.60}")
    if not np.any(weights):  # which scikit-learn does not refuse in older versions
        raise _bad_sample_weight(name, n_rows, "none of them is non-zero")
    return np.asarray(weights)


def _bad_sample_weight(name: str, n_rows: int, found: str) -> ValueError:
    return ValueError(
        f"{name} must hold a finite number of 0 or more for each of the {n_rows} rows: {found}"
    )


def row_weights(
    classes: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray | None, class_weight: Any
) -> np.ndarray:
    """Sample weight times class weight of each row; only their ratios matter.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int of shape (n_rows,)
        The class of each row.
    sample_weight : ndarray of shape (n_rows,) or None
    class_weight : None, "balanced" or dict

    Raises
    ------
    ValueError
        If ``class_weight`` is none of these, or a weight or label in it is wrong.
    """
    weights = plain_weights(len(codes), sample_weight)
    if class_weight is None:
        return weights
    if isinstance(class_weight, str) and class_weight == "balanced":
        # A row of weight 2 counts as two rows, as if it were repeated.
        counts = np.bincount(codes, weights=weights, minlength=len(classes))
        of_class = counts[codes]
        shares = np.divide(weights, of_class, out=np.zeros(len(codes)), where=of_class > 0)
        return shares * (counts.sum() / max(np.count_nonzero(counts), 1))
    return weights * _tame(_factors(class_weight, classes))[codes]


def plain_weights(n_rows: int, sample_weight: np.ndarray | None) -> np.ndarray:
    """Sample weights, or ones, of which only the ratios matter."""
    if sample_weight is None:
        return np.broadcast_to(1.0, n_rows)  # no memory, however many rows there are
    return _tame(sample_weight.astype(float))


def label_weights(
    indicator: np.ndarray, sample_weight: np.ndarray | None, class_weight: Any
) -> np.ndarray:
    """Weights of the absence and the presence of each of several labels.

    Parameters
    ----------
    indicator : ndarray of shape (n_rows, n_labels)
    sample_weight : ndarray of shape (n_rows,) or None
        Counted for "balanced".
    class_weight : "balanced", dict or list of dict
        A dict has the weight of the presence of labels, by number. A list has a dict for each
        label, with the weights of 0 and 1, as for scikit-learn's forests.

    Returns
    -------
    ndarray of shape (2, n_labels)

    Raises
    ------
    ValueError
        If ``class_weight`` is none of these, or a weight or label in it is wrong.

    Examples
    --------
    >>> label_weights(np.array([[1, 0], [0, 0]]), None, {0: 3})
    array([[1., 1.],
           [3., 1.]])
    """
    n_labels = indicator.shape[1]
    if isinstance(class_weight, list | tuple):
        if len(class_weight) != n_labels:
            raise ValueError(
                f"class_weight has {len(class_weight)} entries, and y has {n_labels} labels: a "
                "list holds a dict with the weights of 0 and 1 for each label."
            )
        return np.transpose([_factors(each, np.arange(2)) for each in class_weight])
    if not (isinstance(class_weight, str) and class_weight == "balanced"):
        present = _factors(class_weight, np.arange(n_labels))
        return np.stack([np.ones(n_labels), present])
    weights = plain_weights(len(indicator), sample_weight)
    n_present = weights @ indicator
    counts = np.stack([weights.sum() - n_present, n_present])
    n_seen = np.maximum(np.count_nonzero(counts, axis=0), 1)
    # One that never occurs weighs nothing, so any number does.
    return np.divide(counts.sum(0) / n_seen, counts, out=np.ones(counts.shape), where=counts > 0)


def _factors(class_weight: Any, classes: np.ndarray) -> np.ndarray:
    """The weight of each class in a dict, 1 by default."""
    if not isinstance(class_weight, dict):
        hint = "."
        if isinstance(class_weight, Mapping) or hasattr(class_weight, "to_dict"):
            hint = "; pass dict(class_weight)."
        elif hasattr(class_weight, "__len__") and not isinstance(class_weight, str):
            hint = ". Weights in the order of the classes become one: dict(zip(classes, weights))."
        raise ValueError(
            f"class_weight must be None, 'balanced' or a dict; got {class_weight!r:.80}{hint}"
        )
    # Not as a list of Python objects, in which NumPy's dates would become integers.
    labels = list(classes) if classes.dtype.kind in "mM" else classes.tolist()
    known = set(labels)
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise ValueError(
            f"class_weight names labels that are not among the classes: {unknown[:5]}. The "
            f"classes are {labels[:20]}."
        )
    given = {label: _number(label, weight) for label, weight in class_weight.items()}
    return np.array([given.get(label, 1.0) for label in labels])


def _number(label: Any, weight: Any) -> float:
    number = math.nan
    if not isinstance(weight, str | bytes | complex | np.complexfloating):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            number = float(weight) if np.ndim(weight) == 0 else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(
            f"class_weight must hold finite numbers of 0 or more; that of {label!r} is "
            f"{weight!r:.60}."
        )
    return number


def _tame(weights: np.ndarray) -> np.ndarray:
    """Scale weights that are so large or so small that their sums would overflow or underflow.

    The factor is a power of two, so nothing is rounded.
    """
    _, exponent = np.frexp(weights.max(initial=0))
    return weights if abs(exponent) <= _MAX_EXPONENT else np.ldexp(weights, -exponent)
