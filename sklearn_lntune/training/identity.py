"""What makes two fits one and the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.persistence.values import encode, encode_array
from sklearn_lntune.tuning.registry import as_plain

if TYPE_CHECKING:
    from sklearn_lntune.training.fitting import Job

_DIGEST = "sha256:"


def identity(job: Job) -> dict[str, Any]:
    """All that the delta of ``job`` depends on, as JSON, by the name its user knows it by.

    Callbacks are left out: they have state of their own, which nobody else can tell.
    """
    place, train, valid, start = job.placement, job.train, job.valid, job.start
    settings = {**vars(job.settings), "scoring": _name(job.settings.scoring)}
    settings["lr"] = dict(settings.pop("rates"))
    return {
        "X": _DIGEST + train.table.digest(),
        "y": [_digest(train.codes), encode_array(job.task.classes)],
        "sample_weight or class_weight": _digest(train.weights),
        "the validation rows": valid
        and [valid.table.digest(), _digest(valid.codes, valid.weights)],
        "the backbone": _DIGEST + job.backbone.fingerprint,
        "the tokenizer": _DIGEST + job.backbone.tokenizer_fingerprint,
        "tuning": encode(as_plain(job.methods)),
        "pooling": job.pooling,
        "max_length": job.max_length,
        "precision": str(place.train_type).removeprefix("torch."),
        "device": place.device.type,
        "random_state": _digest(np.array(job.seed)),
        "the delta to start from": start and _digest(*(start[name] for name in sorted(start))),
        **{name: encode(value) for name, value in settings.items()},
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What is another in two identities, in words; small values are told.

    Examples
    --------
    >>> differences({"lr": 0.1, "X": "sha256:a"}, {"lr": 0.2, "X": "sha256:b"})
    ['lr is 0.1 there and 0.2 here', 'X differs']
    """
    told = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        short = all(_DIGEST not in str(each) and len(str(each)) <= 40 for each in (old, new))
        told.append(f"{name} is {old!r} there and {new!r} here" if short else f"{name} differs")
    return told


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return _DIGEST + digest.hexdigest()


def _name(scoring: Any) -> str:
    """A scorer's name; of a callable, the same in every process."""
    if isinstance(scoring, str):
        return scoring
    if hasattr(scoring, "__qualname__"):
        return f"{scoring.__module__}.{scoring.__qualname__}"
    return repr(scoring)  # scikit-learn's scorers tell their function and its arguments
