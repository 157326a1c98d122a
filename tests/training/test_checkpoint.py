"""A fit stopped at any step and called again ends as one that was never stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from skorch.callbacks import Callback

from sklearn_lntune import LNTunedTransformerClassifier, clear_backbones
from sklearn_lntune.exceptions import DamagedFileError, TrainingDivergedError
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.net import DeltaNet
from sklearn_lntune.tuning import LayerNormTuning, PrefixTuning

Clf = Callable[..., LNTunedTransformerClassifier]

#: Each shape of a fit that has a state of its own.
FITS: dict[str, dict[str, Any]] = {
    "plain": {"dropout": 0.0},
    "dropout": {"dropout": 0.4},
    "float32": {"precision": "float32"},
    "early stopping": {"early_stopping": True, "patience": 1, "max_epochs": 6, "lr": 0.3},
    "accumulate": {"accumulate": 2, "max_epochs": 3},
    "projection": {"tuning": LayerNormTuning() + PrefixTuning(2, projection=4)},
    "full": {"tuning": "full", "lr": 1e-3, "max_epochs": 1},
    "trunk": {"tuning": LayerNormTuning(layers=1), "precision": "float32"},
    "native": {"pooling": "native", "early_stopping": True},
    "fresh entropy": {"random_state": None, "early_stopping": True},
}


class PowerCutError(Exception):
    """Ends a fit where nothing in it expects an end."""


class Cut(Callback):
    """The power goes off after so many events of the loop."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        self._tick()

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        self._tick()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self._tick()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self._tick()


def same(a: LNTunedTransformerClassifier, b: LNTunedTransformerClassifier) -> None:
    assert a.delta_.keys() == b.delta_.keys()
    for name, value in a.delta_.items():
        assert value.dtype == b.delta_[name].dtype
        assert value.tobytes() == b.delta_[name].tobytes(), name
    drop = [{key: own for key, own in row.items() if key != "dur"} for row in a.log_]
    assert drop == [{key: own for key, own in row.items() if key != "dur"} for row in b.log_]
    assert (a.n_steps_, a.n_epochs_) == (b.n_steps_, b.n_epochs_)


def events(fit: Callable[[list[Any]], Any]) -> int:
    """How many events a whole fit has."""
    counter = Cut(1 << 30)
    fit([counter])
    return (1 << 30) - counter.left


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("kind", FITS)
def test_a_fit_stopped_anywhere_ends_as_one_never_stopped(
    kind: str,
    every: int,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if every == 3 and kind not in ("dropout", "accumulate", "early stopping"):
        pytest.skip("the same path as with every=1")
    if kind == "fresh entropy":  # the seed that a fit draws is the first one's
        seeds = iter(range(1_000_000, 2_000_000))
        monkeypatch.setattr(
            LNTunedTransformerClassifier, "_seed", lambda self, steps: next(seeds)
        )

    def fit(folder: Path | None, callbacks: list[Any]) -> LNTunedTransformerClassifier:
        clf = tiny_clf(checkpoint=folder, checkpoint_every=every, callbacks=callbacks, **FITS[kind])
        return clf.fit(texts, labels)

    whole = fit(tmp_path / "whole", [])
    if kind == "fresh entropy":
        seeds = iter(range(1_000_000, 2_000_000))
    else:
        same(fit(None, []), whole)  # a checkpoint changes nothing
    n_events = events(lambda callbacks: fit(tmp_path / "counted", callbacks))
    assert n_events > 12
    for at in range(n_events):
        if kind == "fresh entropy":
            seeds = iter(range(1_000_000, 2_000_000))
        with pytest.raises(PowerCutError):
            fit(tmp_path / str(at), [Cut(at)])
        same(fit(tmp_path / str(at), []), whole)
