"""Figures about predictions, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.metrics import precision_recall_fscore_support as per_class_scores

from sklearn_lntune.cli.output import print_line, print_table, shown
from sklearn_lntune.cli.targets import Target, as_answers, names_of
from sklearn_lntune.task.entities import entity_f1, mark_entities

#: The largest confusion matrix that is printed whole.
_MAX_CLASSES = 15


def predicted(
    estimator: Any, texts: Sequence[Any], target: Target, names: Sequence[str] | None = None
) -> list[Any]:
    """The answers to ``texts``, in the form of targets from files.

    ``names`` are those of labels, if the estimator does not know them.
    """
    found = estimator.predict(texts)
    return as_answers(found, target, names_of(estimator) if names is None else names)


def figures(target: Target, y_true: Sequence[Any], y_pred: Sequence[Any]) -> dict[str, Any]:
    """All figures about answers, as plain values; the most telling one comes first."""
    if target is Target.label:
        return report(y_true, y_pred)
    if target is Target.labels:
        return _report_labels(y_true, y_pred)
    if target is Target.number:
        return _report_numbers(y_true, y_pred)
    return _report_tags(y_true, y_pred)


def summary(y_true: Sequence[str], y_pred: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro F1."""
    return {
        "accuracy": float(accuracy_score(y_true, y_pred)),
        "macro_f1": float(f1_score(y_true, y_pred, average="macro", zero_division=0)),
    }


def report(y_true: Sequence[str], y_pred: Sequence[str]) -> dict[str, Any]:
    """All figures as plain values: the summary, those of each class, the confusion matrix."""
    classes = sorted({*y_true, *y_pred})
    columns = per_class_scores(y_true, y_pred, labels=classes, zero_division=0)
    return {
        **summary(y_true, y_pred),
        "rows": len(y_true),
        "classes": _by_class(classes, columns),
        "confusion": confusion_matrix(y_true, y_pred, labels=classes).tolist(),
    }


def _by_class(classes: Sequence[str], columns: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "rows": int(rows),
        }
        for name, precision, recall, f1, rows in zip(classes, *columns, strict=True)
    }


def _report_labels(y_true: Sequence[list[str]], y_pred: Sequence[list[str]]) -> dict[str, Any]:
    """F1 over all labels and rows, its mean over labels, and the share of rows without error."""
    classes = sorted({*chain.from_iterable(y_true), *chain.from_iterable(y_pred)})
    truth, found = (
        np.array([[name in row for name in classes] for row in rows]).reshape(len(rows), -1)
        for rows in (y_true, y_pred)
    )
    # No row has a label, and none was found.
    sums = {"micro": 0.0, "macro": 0.0}
    if classes:
        sums = {each: float(f1_score(truth, found, average=each, zero_division=0)) for each in sums}
    return {
        "micro_f1": sums["micro"],
        "macro_f1": sums["macro"],
        "exact_match": float((truth == found).all(axis=1).mean()),
        "rows": len(y_true),
        "classes": _by_class(
            classes, per_class_scores(truth, found, zero_division=0) if classes else [()] * 4
        ),
    }


def _report_numbers(y_true: Sequence[Any], y_pred: Sequence[Any]) -> dict[str, Any]:
    """R2 and two mean errors, which are means over the columns if there are several."""
    truth, found = (np.array(rows, float).reshape(len(rows), -1) for rows in (y_true, y_pred))
    if truth.shape != found.shape:
        raise ValueError(
            f"there are {truth.shape[1]} numbers per row, and {found.shape[1]} are predicted"
        )
    constant = len(truth) < 2 or (truth == truth[0]).all()
    return {
        # Without a variance there is no share of it.
        **({} if constant else {"r2": float(r2_score(truth, found))}),
        "mean_absolute_error": float(mean_absolute_error(truth, found)),
        "root_mean_squared_error": float(root_mean_squared_error(truth, found)),
        "rows": len(truth),
    }


def _report_tags(y_true: Sequence[list[str]], y_pred: Sequence[list[str]]) -> dict[str, Any]:
    """F1 of entities, if the tags mark them and seqeval is there; else as labels of words."""
    flat = [list(chain.from_iterable(rows)) for rows in (y_true, y_pred)]
    if not flat[0]:
        raise ValueError("the sentences have no words to score")
    entities = {}
    if mark_entities({*flat[0], *flat[1]}) and find_spec("seqeval") is not None:
        entities["entity_f1"] = float(entity_f1(y_true, y_pred))
    of_words = report(*flat)
    return {**entities, **of_words, "words": of_words["rows"], "rows": len(y_true)}


def print_report(found: dict[str, Any]) -> None:
    """Print `figures`: the classes, the sums, and who is taken for whom."""
    if "classes" in found:
        rows = [[name, *values.values()] for name, values in found["classes"].items()]
        print_table(["class", "precision", "recall", "f1", "rows"], rows)
        print_line()
    sums = {name: value for name, value in found.items() if isinstance(value, float)}
    print_line("  ".join(f"{name.replace('_', ' ')} {shown(sums[name])}" for name in sums))
    if "confusion" not in found:
        return
    print_line()
    names, matrix = list(found["classes"]), np.array(found["confusion"])
    if len(names) <= _MAX_CLASSES:
        lines = [[name, *row.tolist()] for name, row in zip(names, matrix, strict=True)]
        print_table(["actual \\ predicted", *names], lines, "confusion matrix")
        return
    np.fill_diagonal(matrix, 0)
    order = np.argsort(matrix, axis=None, kind="stable")[::-1][:_MAX_CLASSES]
    pairs = [divmod(int(place), len(names)) for place in order]
    most = [[names[i], names[j], int(matrix[i, j])] for i, j in pairs if matrix[i, j]]
    print_table(["actual", "predicted", "rows"], most, "most frequent confusions")
