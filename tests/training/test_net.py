"""The loop of one fit: how callbacks end it, and what its last step has led to."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skorch
import torch
from skorch.callbacks import Callback, EarlyStopping

from sklearn_lntune import TrainingDivergedError, load
from sklearn_lntune.training import net
from sklearn_lntune.training.rules import finite_fits

CLASSES = ["blue", "green", "red"]


class Stops(Callback):
    """Ends the fit when ``when`` is called for the ``count``-th time."""

    def __init__(self, when: str, count: int = 1) -> None:
        self.when, self.count, self.calls_ = when, count, 0

    def _count(self, when: str) -> None:
        self.calls_ += when == self.when
        if when == self.when and self.calls_ == self.count:
            raise KeyboardInterrupt

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self._count("on_train_begin")

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self._count("on_train_end")

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self._count("on_epoch_begin")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self._count("on_epoch_end")

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        self._count("on_batch_end")

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        self._count("on_grad_computed")


class Hears(Callback):
    """Notes which events it is told of."""

    def __init__(self) -> None:
        self.events_: list[str] = []

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.events_.append("on_train_begin")

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.events_.append("on_train_end")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.events_.append("on_epoch_end")


@pytest.mark.parametrize(
    ("when", "n_steps", "heard"),
    [
        ("on_train_begin", 0, []),
        ("on_epoch_begin", 0, []),
        ("on_grad_computed", 0, []),
        ("on_batch_end", 1, []),
        ("on_epoch_end", 5, ["on_epoch_end"]),
        ("on_train_end", 10, ["on_epoch_end", "on_epoch_end"]),
    ],
)
def test_a_callback_may_end_a_fit_at_any_event(
    when: str, n_steps: int, heard: list[str], tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    after, stopping = Hears(), EarlyStopping("train_loss")
    clf = tiny_clf(callbacks=[Stops(when), stopping, after]).fit(texts, labels)
    assert (clf.n_steps_, clf.n_epochs_) == (n_steps, len(heard))
    assert after.events_ == ["on_train_begin", *heard, "on_train_end"]
    assert len(clf.history_) == clf.n_epochs_
    assert len(clf.predict(texts)) == len(texts)


def test_a_fit_of_no_step_is_one(
    tiny_clf: Any, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(callbacks=[Stops("on_train_begin")], early_stopping=True, verbose=1)
    clf.set_params(checkpoint=tmp_path / "checkpoint").fit(texts, labels)
    assert (clf.n_steps_, clf.n_epochs_) == (0, 0)
    clf.save(tmp_path / "saved", drop=["callbacks"])
    loaded = load(tmp_path / "saved")
    assert (loaded.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert len(loaded.net().history) == len(loaded.history_) == 0
    again = clf.set_params(callbacks=None).fit(texts, labels)  # the folder holds its result
    assert again.n_steps_ == 0


def test_an_error_in_a_callback_is_what_comes_out(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    class Fails(Hears):
        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            raise RuntimeError("mine")

    fails = Fails()
    with pytest.raises(RuntimeError, match="mine"):
        tiny_clf(callbacks=[fails]).fit(texts, labels)
    assert fails.events_ == []


# -- the last step ---------------------------------------------------------------------

AFTER = r"not finite after the last step in epoch (\d), step (\d+), at a learning rate of"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"precision": "float32", "lr": 1e30},
        {"accumulate": 2},
        {"tuning": "head", "head_lr": 1e308},
        {"tuning": "lora+adapter"},
        {"tuning": "full"},
        {"pooling": "native"},
        {"early_stopping": True},
    ],
)
def test_what_the_last_step_led_to_is_checked(
    params: dict[str, Any], tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    one_step = {"max_epochs": 1, "batch_size": len(texts), "warmup": 0.0, "lr": 1e300}
    clf = tiny_clf(**one_step | params)
    with pytest.raises(TrainingDivergedError, match=AFTER):
        clf.fit(texts, labels)
    assert clf.n_steps_ == 1
    assert np.isfinite(clf.predict_proba(texts)).all()
    with pytest.raises(TrainingDivergedError, match=AFTER):
        clf.partial_fit(texts, labels)
    assert np.isfinite(clf.predict_proba(texts)).all()


class Poison(Callback):
    """Spoils what is learnt, as a step may, once ``step`` steps have been taken."""

    def __init__(self, step: int, stop: bool = False) -> None:
        self.step, self.stop = step, stop

    def on_batch_end(self, net: Any, training: bool, **kwargs: Any) -> None:
        if training and net.progress_.step == self.step:
            with torch.no_grad():
                net.module_.learnt["head/bias"].fill_(float("inf"))
            if self.stop:
                raise KeyboardInterrupt


def test_so_is_a_step_after_which_a_callback_ends_the_fit(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(callbacks=[Poison(3, stop=True)])
    with pytest.raises(TrainingDivergedError, match=AFTER) as told:
        clf.fit(texts, labels)
    assert re.search(AFTER, str(told.value)).groups() == ("1", "3")  # type: ignore[union-attr]
    assert np.isfinite(clf.predict_proba(texts)).all()


def test_the_output_for_validation_rows_is_checked_before_it_is_scored(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    called = []
    clf = tiny_clf(callbacks=[Poison(10)], scoring=lambda *_: called.append(0) or 0.5)
    with pytest.raises(TrainingDivergedError, match=f"validation row is {AFTER}"):
        clf.fit(texts, labels, X_val=texts[:5], y_val=labels[:5])
    assert called == [0]
    assert (clf.n_steps_, clf.n_epochs_) == (10, 1)
    assert np.isfinite(clf.predict_proba(texts)).all()


def test_a_sound_fit_is_not_changed_by_the_check(
    tiny_clf: Any, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = tiny_clf(dropout=0.3).fit(texts, labels)
    monkeypatch.setattr(net.DeltaNet, "_check_last_step", lambda self, rows: None)
    unchecked = tiny_clf(dropout=0.3).fit(texts, labels)
    for name, value in unchecked.delta_.items():
        np.testing.assert_array_equal(checked.delta_[name], value)


def test_each_fit_is_looked_at_by_itself() -> None:
    parameters = [torch.zeros(3, 2), torch.zeros(3, 2, 2)]
    assert finite_fits(parameters, 3).tolist() == [True, True, True]
    parameters[0][1, 0], parameters[1][2, 1, 1] = float("nan"), -float("inf")
    assert finite_fits(parameters, 3).tolist() == [True, False, False]
    assert finite_fits(parameters, 1).tolist() == [False]


# -- skorch's version ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.9.0", "0.15.0", "1.0.0", "1.1.0rc1"])
def test_an_old_skorch_is_named_on_import(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skorch, "__version__", version)
    with pytest.raises(ImportError, match=rf"needs skorch 1.1 or newer, but {version} is"):
        runpy.run_path(str(net.__file__))


@pytest.mark.parametrize("version", ["1.1.0", "1.10.2", "2.0.0"])
def test_a_newer_skorch_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skorch, "__version__", version)
    runpy.run_path(str(net.__file__))


def test_the_oldest_version_is_that_of_the_package() -> None:
    from importlib.metadata import requires

    wanted = [each for each in requires("sklearn-lntune") or () if each.startswith("skorch")]
    assert wanted == [f"skorch>={net.OLDEST_SKORCH}"]
