"""The score of a validation set after an epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_lntune.task import Task
from sklearn_lntune.training.datasets import EncodedDataset


def validation_score(
    task: Task, logits: np.ndarray, valid: EncodedDataset, scoring: Any, earlier: Sequence[float]
) -> float:
    """The score of ``logits``; the first score of a fit that is not finite causes a warning.

    Parameters
    ----------
    task : Task
    logits : ndarray of shape (n_rows, n_outputs)
    valid : EncodedDataset
    scoring : {"loss"}, str or callable
    earlier : sequence of float
        The scores of the previous epochs.
    """
    score = task.score(logits, valid.targets, valid.weights, scoring)
    if not math.isfinite(score) and np.isfinite(earlier).all():
        warnings.warn(
            f"the validation score of epoch {len(earlier) + 1} is {score}, so scoring={scoring!r} "
            "says nothing of it. Early stopping passes over such epochs: none of them is the best, "
            "and patience does not count them. Choose another scoring, or validation rows that it "
            "can score.",
            UserWarning,
            stacklevel=2,
        )
    return score
