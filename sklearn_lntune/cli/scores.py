"""Figures about predictions, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.metrics import precision_recall_fscore_support as per_class_scores

from sklearn_lntune.cli.data import Labelled
from sklearn_lntune.cli.output import print_line, print_table

#: The largest confusion matrix that is printed whole.
_MAX_CLASSES = 15


def predicted(clf: Any, data: Labelled) -> list[str]:
    """The labels that ``clf`` predicts, as text, which labels from files are."""
    return [str(label) for label in clf.predict(data.texts).tolist()]


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
        "classes": {
            name: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "rows": int(rows),
            }
            for name, precision, recall, f1, rows in zip(classes, *columns, strict=True)
        },
        "confusion": confusion_matrix(y_true, y_pred, labels=classes).tolist(),
    }


def print_report(found: dict[str, Any]) -> None:
    """Print a `report`: the classes, the sums, and who is taken for whom."""
    rows = [[name, *values.values()] for name, values in found["classes"].items()]
    print_table(["class", "precision", "recall", "f1", "rows"], rows)
    print_line()
    print_line(f"accuracy {found['accuracy']:.4f}  macro f1 {found['macro_f1']:.4f}")
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
