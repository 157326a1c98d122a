"""The kinds of targets: how cells of a table hold them, and how answers become cells again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from sklearn_lntune.cli.formats import Record
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.estimators.regressor import LNTunedTransformerRegressor
from sklearn_lntune.estimators.tagger import LNTunedTransformerTagger
from sklearn_lntune.task import ManyLabels, Numbers, OneLabel, TokenTags

SEPARATOR = ";"


class Target(StrEnum):
    """What a row is answered with."""

    label = "label"
    labels = "labels"
    number = "number"
    tags = "tags"


ESTIMATORS: dict[Target, type[BaseTuned]] = {
    Target.label: LNTunedTransformerClassifier,
    Target.labels: LNTunedTransformerClassifier,
    Target.number: LNTunedTransformerRegressor,
    Target.tags: LNTunedTransformerTagger,
}
_OF_KINDS = {
    OneLabel.kind: Target.label,
    ManyLabels.kind: Target.labels,
    Numbers.kind: Target.number,
    TokenTags.kind: Target.tags,
}


def target_of(estimator: Any) -> Target:
    """What a fitted estimator answers with."""
    return _OF_KINDS[estimator.target_kind_]


def names_of(estimator: Any) -> list[str]:
    """The names of the classes, labels or tags of a fitted estimator; none of a regressor."""
    names = getattr(estimator, "label_names_", getattr(estimator, "classes_", np.array([])))
    return [str(name) for name in names.tolist()]


# -- cells ---------------------------------------------------------------------------


def read_target(record: Record, column: str, target: Target, separator: str) -> Any:
    """The target in the cell of ``record`` in ``column``.

    Returns
    -------
    str, list of str, float or list of float
        Labels and tags are text in every format.

    Raises
    ------
    ValueError
        If the cell holds something else.
    """
    return _READERS[target](record, column, separator)


def _read_label(record: Record, column: str, _: str) -> str:
    cell = record.cells.get(column)
    if cell is None or cell == "":
        raise ValueError(f"{record.place} has no label in the column {column!r}")
    if not _is_single(cell):
        hint = " (see --target)" if isinstance(cell, list) else ""
        raise ValueError(
            f"{record.place}: the column {column!r} holds {cell!s:.40}, not one label{hint}"
        )
    return str(cell)


def _read_labels(record: Record, column: str, separator: str) -> list[str]:
    cell = _cell(record, column, "labels", "; write an empty list or text if it has none")
    parts = [part.strip() for part in cell.split(separator)] if isinstance(cell, str) else cell
    return list(dict.fromkeys(_listed(parts, record, column)))


def _read_tags(record: Record, column: str, _: str) -> list[str]:
    cell = _cell(record, column, "tags")
    return _listed(cell.split() if isinstance(cell, str) else cell, record, column)


def _read_number(record: Record, column: str, separator: str) -> float | list[float]:
    cell = _cell(record, column, "number")
    parts = cell.split(separator) if isinstance(cell, str) else cell
    if not isinstance(parts, list):
        return _number(cell, record, column)
    numbers = [_number(part, record, column) for part in parts]
    return numbers[0] if isinstance(cell, str) and len(numbers) == 1 else numbers


_READERS: dict[Target, Callable[[Record, str, str], Any]] = {
    Target.label: _read_label,
    Target.labels: _read_labels,
    Target.number: _read_number,
    Target.tags: _read_tags,
}


def _cell(record: Record, column: str, what: str, hint: str = "") -> Any:
    cell = record.cells.get(column)
    if cell is None:
        raise ValueError(f"{record.place} has no {what} in the column {column!r}{hint}")
    return cell


def _listed(cells: Any, record: Record, column: str) -> list[str]:
    """``cells``, or the single one that there is, as text, without those that are empty."""
    cells = cells if isinstance(cells, list) else [cells]
    if odd := [cell for cell in cells if not _is_single(cell)]:
        raise ValueError(
            f"{record.place}: the column {column!r} holds {odd[0]!s:.40}, where a text is expected"
        )
    return [str(cell) for cell in cells if cell != ""]


def _number(cell: Any, record: Record, column: str) -> float:
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{record.place}: the column {column!r} holds {cell!s:.40}, not a number")
    return number


def _is_single(cell: Any) -> bool:
    return isinstance(cell, str | int | float | bool)


# -- estimators ----------------------------------------------------------------------


def for_fit(targets: Sequence[Any], target: Target) -> Any:
    """``targets`` in the form that estimators are fitted on.

    Raises
    ------
    ValueError
        If there are fewer than two labels, of which a row could have several.
    """
    if target is not Target.labels:
        return targets
    import pandas as pd
    from sklearn.preprocessing import MultiLabelBinarizer

    binarizer = MultiLabelBinarizer()
    marks = binarizer.fit_transform(targets)
    names = binarizer.classes_.tolist()
    if len(names) < 2:
        raise ValueError(
            f"the rows to train on have no other label than {names}; several labels per row need "
            "at least two"
        )
    return pd.DataFrame(marks, columns=names)


def as_answers(predicted: Any, target: Target, names: Sequence[str]) -> list[Any]:
    """What ``predict`` returned, in the form of `read_target`.

    Parameters
    ----------
    predicted : array-like or list
    target : Target
    names : sequence of str
        Those of the columns of an indicator.
    """
    if target is Target.tags:
        return [list(map(str, tags)) for tags in predicted]
    if target is Target.labels:
        return [[names[i] for i in np.flatnonzero(row).tolist()] for row in np.asarray(predicted)]
    return [str(each) if target is Target.label else each for each in predicted.tolist()]
