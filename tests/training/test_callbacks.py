"""What is passed as ``callbacks`` is checked before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import make_scorer
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    LRScheduler,
    PrintLog,
    TrainEndCheckpoint,
)

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.training.callbacks import check_callbacks

TRAIN = EarlyStopping(monitor="train_loss")


class Watch(Callback):
    """Of the user's own: nobody knows what it records."""

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        pass


class Patient(EarlyStopping):  # type: ignore[misc]
    """Of the user's own, but in its arguments only."""

    def __init__(self, monitor: str = "valid_loss") -> None:
        super().__init__(monitor, patience=20)


@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        (TRAIN, TypeError, "must be a list of skorch callbacks; got EarlyStopping alone"),
        (EarlyStopping, TypeError, "got EarlyStopping alone"),
        ("disable", TypeError, "must be a list of skorch callbacks; got 'disable'"),
        (b"disable", TypeError, "must be a list"),
        ({"stop": TRAIN}, TypeError, "must be a list"),
        (5, TypeError, "must be a list of skorch callbacks; got 5"),
        (np.array(1), TypeError, "must be a list of skorch callbacks; got array"),
        (object(), TypeError, "must be a list"),
        (print, TypeError, "must be a list"),
        (["early_stopping"], TypeError, "holds 'early_stopping', which is not a skorch callback"),
        ([TRAIN, object()], TypeError, "which is not a skorch callback"),
        ([print], TypeError, "which is not a skorch callback"),
        ([[TRAIN]], TypeError, "a pair is a name and a callback"),
        ([("stop",)], TypeError, "a pair is a name and a callback"),
        ([(1, TRAIN)], TypeError, "a pair is a name and a callback"),
        ([("stop", "now")], TypeError, "holds 'now', which is not a skorch callback"),
        ([EpochScoring], TypeError, "the class EpochScoring, which needs arguments"),
        ([("train_loss", TRAIN)], ValueError, "holds the name 'train_loss', which is taken"),
        ([("a", TRAIN), ("a", PrintLog())], ValueError, "holds the name 'a', which is taken"),
        ([EpochScoring("nonsense")], ValueError, "EpochScoring cannot start: .*nonsense"),
        ([BatchScoring({"a": "accuracy"})], ValueError, "BatchScoring cannot start"),
        ([LRScheduler("nonsense")], ValueError, "LRScheduler cannot start: .*nonsense"),
        ([EarlyStopping(monitor=len)], TypeError, "EarlyStopping monitors the name of an entry"),
        ([Freezer("head", at=0)], ValueError, "Freezer cannot start: .*at=0"),
    ],
)
def test_what_is_no_list_of_callbacks(callbacks: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=f"^callbacks.*{message}"):
        check_callbacks(callbacks, validated=True)
    # So early that not even the backbone is looked for.
    with pytest.raises(error, match=f"^callbacks.*{message}"):
        LNTunedTransformerClassifier("nowhere", callbacks=callbacks).fit(["a", "b"], [0, 1])


def test_what_skorch_takes() -> None:
    assert check_callbacks(None, validated=False) == []
    assert check_callbacks([], validated=False) == []
    assert check_callbacks((TRAIN, None, ("log", PrintLog)), validated=False)[0] is TRAIN
    found = check_callbacks(iter([Watch, EarlyStopping, EarlyStopping]), validated=True)
    assert [type(each) for each in found] == [Watch, EarlyStopping, EarlyStopping]
    name, callback = check_callbacks([["stop", TRAIN]], validated=False)[0]
    assert (name, callback) == ("stop", TRAIN)


PLATEAU = {"policy": "ReduceLROnPlateau"}
ACCURACY = EpochScoring("accuracy", name="acc", lower_is_better=False)


@pytest.mark.parametrize(
    ("callbacks", "validated", "monitor"),
    [
        ([EarlyStopping()], False, "valid_loss"),
        ([EarlyStopping(monitor="valid_acc")], True, "valid_acc"),
        ([EarlyStopping(monitor="valid_score")], False, "valid_score"),
        ([Checkpoint()], False, "valid_loss_best"),
        ([Checkpoint(monitor="acc_best")], True, "acc_best"),
        ([LRScheduler(monitor="valid_loss", **PLATEAU)], False, "valid_loss"),
        ([EarlyStopping(monitor="acc"), ACCURACY], True, "acc"),  # not yet, at its turn
        ([ACCURACY, EarlyStopping(monitor="acc")], False, "acc"),
        ([BatchScoring("accuracy", lower_is_better=None), EarlyStopping("accuracy_best")], True,
         "accuracy_best"),
        ([("stop", EarlyStopping("event_cp"))], True, "event_cp"),
        ([Patient()], False, "valid_loss"),
    ],
)  # fmt: skip
def test_what_is_never_recorded_cannot_be_monitored(
    callbacks: Any, validated: bool, monitor: str
) -> None:
    with pytest.raises(ValueError, match=f"monitors '{monitor}', which no epoch") as told:
        check_callbacks(callbacks, validated=validated)
    assert "'train_loss'" in str(told.value)
    assert ("'valid_batch_count'" in str(told.value)) == validated


@pytest.mark.parametrize(
    ("callbacks", "validated"),
    [
        ([TRAIN, EarlyStopping("train_loss_best"), EarlyStopping("dur")], False),
        ([EarlyStopping(), EarlyStopping("valid_score"), Checkpoint()], True),
        ([Checkpoint(monitor=None), Checkpoint(monitor=len), TrainEndCheckpoint()], False),
        ([LRScheduler("StepLR", monitor="nonsense", step_size=1)], False),  # not read
        ([LRScheduler(monitor=len, **PLATEAU), EarlyStopping("event_lr")], False),
        ([ACCURACY, EarlyStopping("acc"), Checkpoint("acc_best")], True),
        ([EpochScoring("accuracy", on_train=True), EarlyStopping("accuracy")], False),
        ([BatchScoring(make_scorer(max, greater_is_better=False)), EarlyStopping("max")], True),
        ([EarlyStopping("mine"), Watch()], False),
        ([Patient("train_loss")], False),
    ],
)
def test_what_is_recorded_can_be_monitored(callbacks: list[Any], validated: bool) -> None:
    assert check_callbacks(callbacks, validated=validated) == callbacks


class Keys(Callback):
    """Notes what is recorded when a callback's turn comes."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.seen_ = net.history[-1].keys() - {"batches"}


@pytest.mark.parametrize("validated", [False, True])
def test_the_names_told_are_those_recorded(
    validated: bool, tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    keys = Keys()
    clf = tiny_clf(max_epochs=1, early_stopping=validated, callbacks=[keys]).fit(texts, labels)
    with pytest.raises(ValueError, match="monitors 'x'") as told:
        clf.set_params(callbacks=[EarlyStopping("x")]).fit(texts, labels)
    assert f"Recorded are {sorted(keys.seen_)}." in str(told.value)


def test_beside_callbacks_of_the_users_the_first_epoch_tells(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    class Records(Watch):
        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            net.history.record("mine", 1.0)

    callbacks = [EarlyStopping(monitor="mine", sink=str), Records()]
    assert tiny_clf(callbacks=callbacks).fit(texts, labels).n_epochs_ == 2
    for stop in (EarlyStopping(monitor="mine"), Checkpoint(monitor="mine")):
        with pytest.raises(ValueError, match=r"monitors 'mine'.* Recorded are \['dur'"):
            tiny_clf(callbacks=[stop, Watch()]).fit(texts, labels)


def test_an_error_of_a_callback_of_the_users_is_theirs(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    class Fails(EarlyStopping):  # type: ignore[misc]
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tiny_clf(callbacks=[Fails("train_loss")]).fit(texts, labels)


def test_partial_fit_scores_no_rows(tiny_clf: Any, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(early_stopping=True, callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="monitors 'valid_loss'"):
        clf.partial_fit(texts, labels, classes=["blue", "green", "red"])
