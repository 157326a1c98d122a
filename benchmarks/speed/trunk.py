"""Tuning the top two of six blocks, whose trunk is computed once, beside tuning all."""

from __future__ import annotations

import time
from typing import Any

from sklearn.model_selection import GridSearchCV

from sklearn_lntune.tuning import LayerNormTuning

from . import ours
from .workloads import Task, forget

EPOCHS = 8
RATES = [3e-3, 5e-3, 1e-2]


def fit(task: Task, layers: Any) -> dict[str, float]:
    """Seconds of one fit of `EPOCHS` epochs."""
    forget()
    clf = ours.classifier(task, tuning=LayerNormTuning(layers=layers), max_epochs=EPOCHS)
    start = time.perf_counter()
    clf.fit(task.X, task.y)
    taken = time.perf_counter() - start
    return {"seconds": taken, "accuracy": clf.score(task.X_test, task.y_test)}


def grid(task: Task, layers: Any) -> dict[str, float]:
    """Seconds of a grid over three learning rates, two folds each."""
    forget()
    clf = ours.classifier(task, tuning=LayerNormTuning(layers=layers), max_epochs=EPOCHS)
    search = GridSearchCV(clf, {"lr": RATES}, cv=2, refit=False)
    start = time.perf_counter()
    search.fit(task.X, task.y)
    return {"seconds": time.perf_counter() - start, "accuracy": search.best_score_}
