"""A fit stopped at any step and called again ends as one that was never stopped."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from skorch.callbacks import Callback

from sklearn_lntune import LNTunedTransformerClassifier, clear_backbones
from sklearn_lntune.exceptions import DamagedFileError, TrainingDivergedError
from sklearn_lntune.persistence.sealed import read_sealed, write_sealed
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.net import DeltaNet
from sklearn_lntune.tuning import LayerNormTuning, PrefixTuning

Clf = Callable[..., LNTunedTransformerClassifier]

#: Each shape of a fit that has a state of its own.
FITS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.4},
    "float32": {"precision": "float32"},
    "early stopping": {"early_stopping": True, "patience": 1, "max_epochs": 5, "lr": 0.3},
    "accumulate": {"accumulate": 2, "dropout": 0.0},
    "projection": {"tuning": LayerNormTuning() + PrefixTuning(2, projection=4)},
    "full": {"tuning": "full", "lr": 1e-3},
    "trunk": {"tuning": LayerNormTuning(layers=1), "precision": "float32"},
    "native": {"pooling": "native"},
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
        self._tick()  # validation batches are events too

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


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """``seeded()``: from here on, fresh entropy is 1, 2, 3 ..."""

    def start() -> None:
        seeds = count(1)
        monkeypatch.setattr(LNTunedTransformerClassifier, "_seed", lambda self, steps: next(seeds))

    return start


@pytest.mark.parametrize(
    ("kind", "every"),
    [*((kind, 1) for kind in FITS), ("dropout", 2), ("early stopping", 3)],
)
def test_a_fit_stopped_anywhere_ends_as_one_never_stopped(
    kind: str,
    every: int,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    seeded: Callable[[], None],
) -> None:
    def fit(folder: Path | None, callbacks: list[Any]) -> LNTunedTransformerClassifier:
        clf = tiny_clf(checkpoint=folder, checkpoint_every=every, callbacks=callbacks, **FITS[kind])
        return clf.fit(texts[:21], labels[:21])

    if kind == "fresh entropy":
        seeded()
    whole = fit(None, [])
    n_events = 0
    for at in count():
        if kind == "fresh entropy":
            seeded()
        try:
            fit(tmp_path / str(at), [Cut(at)])
            break
        except PowerCutError:
            n_events += 1
        if kind == "fresh entropy" and not (tmp_path / str(at) / "state").exists():
            seeded()  # the seed that counts is that of the first call that wrote
        same(fit(tmp_path / str(at), []), whole)
    assert n_events > 8


def test_a_validation_set_of_ones_own_and_weights_go_on_too(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    weights = np.linspace(0.0, 2.0, 21)

    def fit(folder: Path | None, callbacks: Any = None) -> LNTunedTransformerClassifier:
        clf = tiny_clf(
            early_stopping=True, scoring=scorer, checkpoint=folder, checkpoint_every=2,
            class_weight="balanced", callbacks=callbacks,
        )  # fmt: skip
        validation = {"X_val": texts[21:], "y_val": labels[21:]}
        return clf.fit(texts[:21], labels[:21], weights, **validation)

    with pytest.raises(PowerCutError):
        fit(tmp_path, [Cut(7)])
    same(fit(tmp_path), fit(None))


def scorer(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    return float(np.mean(estimator.predict(X) == y))


def test_a_warm_start_goes_on_too(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    first = tiny_clf(warm_start=True).fit(texts, labels)
    whole = copy.deepcopy(first).fit(texts, labels)
    stopped = copy.deepcopy(first).set_params(checkpoint=tmp_path, callbacks=[Cut(8)])
    with pytest.raises(PowerCutError):
        stopped.fit(texts, labels)
    again = copy.deepcopy(first).set_params(checkpoint=tmp_path)
    same(again.fit(texts, labels), whole)
    with pytest.raises(ValueError, match="the delta to start from differs"):
        again.fit(texts, labels)


def test_kept_states_do_not_depend_on_what_was_fitted_before(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    params = FITS["trunk"]
    clf = tiny_clf(checkpoint=tmp_path / "a", **params).fit(texts[:21], labels[:21])
    clear_backbones()
    tiny_clf(**params).fit(texts[7:], labels[7:])
    same(tiny_clf(checkpoint=tmp_path / "b", **params).fit(texts[:21], labels[:21]), clf)


# -- the end of a fit ----------------------------------------------------------------------


def test_a_finished_fit_returns_at_once(
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = {"checkpoint": tmp_path, "early_stopping": True, "lr": 0.3}
    clf = tiny_clf(**params).fit(texts, labels)
    monkeypatch.setattr(DeltaNet, "train_step", None)
    monkeypatch.setattr(DeltaNet, "validation_step", None)
    monkeypatch.setattr(Checkpoint, "_write", None)
    again = tiny_clf(**params).fit(texts, labels)
    same(again, clf)
    assert again.log_ == clf.log_
    assert np.array_equal(again.predict_proba(texts), clf.predict_proba(texts))


def test_a_finished_fit_is_kept_without_what_only_training_needs(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    size = sum(value.nbytes for value in clf.delta_.values())
    assert (tmp_path / "state" / "arrays.safetensors").stat().st_size < size + 2 * 5056 + 8192
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        "SHA256SUMS",
        "arrays.safetensors",
        "fit.json",
    ]


def test_an_interrupted_fit_can_predict_and_goes_on(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    whole = tiny_clf().fit(texts, labels)

    clf = tiny_clf(checkpoint=tmp_path, checkpoint_every=2)
    real = DeltaNet._step

    def interrupted(self: DeltaNet, batch: Any) -> Any:
        if self.progress_.step == 7:
            raise KeyboardInterrupt
        return real(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaNet, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(texts, labels)
    assert clf.n_steps_ == 7
    assert len(clf.predict(texts)) == len(texts)
    same(clf.fit(texts, labels), whole)


def test_a_fit_that_diverges_does_so_again_with_the_same_delta(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    class Poison(Callback):
        def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
            if net.progress_.step == 6:
                named_parameters[0][1].grad.fill_(np.nan)

    def fit(folder: Path | None) -> LNTunedTransformerClassifier:
        clf = tiny_clf(checkpoint=folder, checkpoint_every=1, callbacks=[Poison()])
        with pytest.raises(TrainingDivergedError, match="step 7"):
            clf.fit(texts, labels)
        return clf

    whole = fit(None)
    same(fit(tmp_path), whole)
    same(fit(tmp_path), whole)


def test_partial_fit_leaves_the_folder_alone(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(checkpoint=tmp_path / "run").partial_fit(
        texts, labels, classes=sorted(set(labels))
    )
    assert clf.n_epochs_ == 1
    assert not (tmp_path / "run").exists()


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": 0.5}, "lr differs|lr is"),
        ({"batch_size": 4}, "batch_size is 8 there and 4 here"),
        ({"max_epochs": 3}, "max_epochs is 2 there and 3 here"),
        ({"tuning": "bias"}, "tuning"),
        ({"pooling": "max"}, "pooling is 'mean' there and 'max' here"),
        ({"precision": "float32"}, "precision is 'float64' there and 'float32' here"),
        ({"random_state": 1}, "random_state differs"),
        ({"scoring": scorer}, "scoring is 'loss' there"),
        ({"family": "roberta"}, "the backbone differs"),
        ({"class_weight": "balanced"}, "another fit: sample_weight or class_weight differs. "),
    ],
)
def test_other_parameters_are_refused(
    change: dict[str, Any],
    told: str,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    tiny_clf(checkpoint=tmp_path, max_epochs=2).fit(texts, labels)
    with pytest.raises(ValueError, match=f"({told}).*Choose another folder, or delete it"):
        tiny_clf(checkpoint=tmp_path, **change).fit(texts, labels)


@pytest.mark.parametrize("what", ["X", "y", "order", "labels", "validation"])
def test_other_data_is_refused(
    what: str, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    validation: dict[str, Any] = {}
    if what == "X":
        texts = ["bad", *texts[1:]]
    elif what == "y":
        labels = [*labels[1:], labels[0]]
    elif what == "order":
        texts, labels = texts[::-1], labels[::-1]
    elif what == "labels":
        labels = [label.upper() for label in labels]
    else:
        validation = {"X_val": texts, "y_val": labels}
    told = {"order": "X", "labels": "y", "validation": "the validation rows"}.get(what, what)
    with pytest.raises(ValueError, match=f"another fit: {told} differs"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels, **validation)


def test_what_does_not_change_the_delta_may_change(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    same(tiny_clf(checkpoint=str(tmp_path), checkpoint_every=7, verbose=2).fit(texts, labels), clf)


def test_a_folder_in_use_is_refused(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(ValueError, match="in use by another fit"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    with pytest.raises(PowerCutError):  # which gives the lock back
        tiny_clf(checkpoint=tmp_path, callbacks=[Cut(3)]).fit(texts, labels)
    tiny_clf(checkpoint=tmp_path).fit(texts, labels)


def test_what_is_no_folder_of_a_fit_is_refused(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="has other things in it"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    with pytest.raises(ValueError, match="is a file"):
        tiny_clf(checkpoint=tmp_path / "notes.txt").fit(texts, labels)
    with pytest.raises(TypeError, match="checkpoint must be a string or a path"):
        tiny_clf(checkpoint=3).fit(texts, labels)
    with pytest.raises(ValueError, match="checkpoint_every must be an int"):
        tiny_clf(checkpoint_every=0).fit(texts, labels)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("file", ["fit.json", "arrays.safetensors", "SHA256SUMS"])
def test_a_changed_byte_is_noticed(
    file: str, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    damaged = tmp_path / "state" / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(DamagedFileError, match="delete it to start the fit anew"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels)


def test_another_format_is_refused(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    files = read_sealed(tmp_path / "state")
    fit = json.loads(files["fit.json"]) | {"format_version": 2}
    write_sealed(tmp_path / "state", files | {"fit.json": json.dumps(fit).encode()})
    with pytest.raises(ValueError, match="another version of sklearn-lntune"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels)


def test_an_identity_of_another_type_is_damage(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    """`dict` would take an empty list for an empty object."""
    tiny_clf(checkpoint=tmp_path).fit(texts, labels)
    files = read_sealed(tmp_path / "state")
    fit = json.loads(files["fit.json"]) | {"identity": []}
    write_sealed(tmp_path / "state", files | {"fit.json": json.dumps(fit).encode()})
    with pytest.raises(DamagedFileError, match="is damaged; delete it"):
        tiny_clf(checkpoint=tmp_path).fit(texts, labels)
