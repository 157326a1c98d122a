"""Fits and predictions of sklearn-lntune itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_lntune import LNTunedTransformerClassifier

from .workloads import BATCH_SIZE, LR, SEED, Task

Predict = Callable[[list[Any]], np.ndarray]


def classifier(task: Task, **options: Any) -> LNTunedTransformerClassifier:
    """The estimator with the settings that all contestants share."""
    shared = {
        "lr": LR,
        "batch_size": BATCH_SIZE,
        "max_epochs": 1,
        "min_steps": 0,
        "max_length": task.workload.max_length,
        "random_state": SEED,
    }
    return LNTunedTransformerClassifier(**(shared | options))


def fit(task: Task, **options: Any) -> Predict:
    """Train, and return what predicts."""
    return classifier(task, **options).fit(task.X, task.y).predict
