"""The signature of a fit: everything that its delta depends on."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from sklearn_lntune.persistence.values import encode, encode_array
from sklearn_lntune.training.checkpoint import DIGEST
from sklearn_lntune.training.job import Job
from sklearn_lntune.tuning.registry import as_plain


def fit_signature(job: Job) -> dict[str, Any]:
    """All that the delta of ``job`` depends on, as JSON, by the name its user knows it by.

    Callbacks are left out: they have state of their own, which nobody else can tell.
    """
    place, train, valid, start = job.placement, job.train, job.valid, job.start
    settings = {**vars(job.settings), "scoring": _name(job.settings.scoring)}
    settings["lr"] = dict(settings.pop("rates"))
    return {
        "X": DIGEST + train.table.digest(),
        "y": [_digest(train.targets), *map(encode_array, job.task.state().values())],
        "sample_weight or class_weight": _digest(train.weights),
        "the validation rows": valid
        and [valid.table.digest(), _digest(valid.targets, valid.weights)],
        "the backbone": DIGEST + job.backbone.fingerprint,
        "the tokenizer": DIGEST + job.backbone.tokenizer_fingerprint,
        "tuning": encode(as_plain(job.methods)),
        "pooling": job.pooling,
        "max_length": job.max_length,
        "precision": str(place.train_type).removeprefix("torch."),
        "device": place.device.type,
        "random_state": _digest(np.array(job.seed)),
        "the delta to start from": start and _digest(*(start[name] for name in sorted(start))),
        # Left out of a fit that truncates, whose checkpoints may be older than windows.
        **(
            {"stride": job.stride, "window_pooling": job.window_pooling}
            if job.window_pooling
            else {}
        ),
        **{name: encode(value) for name, value in (settings | job.task.options()).items()},
    }


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return DIGEST + digest.hexdigest()


def _name(scoring: Any) -> str:
    """A scorer's name; of a callable, the same in every process."""
    if isinstance(scoring, str):
        return scoring
    if hasattr(scoring, "__qualname__"):
        return f"{scoring.__module__}.{scoring.__qualname__}"
    return repr(scoring)  # scikit-learn's scorers tell their function and its arguments
