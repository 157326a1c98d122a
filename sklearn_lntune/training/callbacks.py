"""The user's skorch callbacks, checked before training."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from sklearn.metrics import get_scorer
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    PassthroughScoring,
    TrainEndCheckpoint,
)

#: The methods of a callback that skorch calls.
_METHODS = (
    *("initialize", "set_params", "on_train_begin", "on_train_end", "on_epoch_begin"),
    *("on_epoch_end", "on_batch_begin", "on_batch_end", "on_grad_computed"),
)
#: Callbacks that the package adds to those of the user.
_OURS = (
    *("epoch_timer", "train_loss", "valid_loss", "report", "on_epoch", "checkpoint"),
    "fused_fits",
)
#: Modules of callbacks that may be initialised twice, since that only sets attributes.
_STARTED = tuple(f"skorch.callbacks.{name}" for name in ("lr_scheduler", "scoring", "training"))
_WITH_FILES = (Checkpoint, TrainEndCheckpoint)
#: Entries of every epoch in ``net.history``, and of an epoch with validation rows.
_RECORDED = ("epoch", "n_steps", "lr", "dur", "train_batch_count", "train_loss", "train_loss_best")
_VALIDATED = ("valid_batch_count", "valid_loss", "valid_loss_best", "valid_score")


def check_callbacks(callbacks: Any, *, validated: bool) -> list[Any]:
    """``callbacks`` as skorch takes them: instances, or pairs of a name and an instance.

    Parameters
    ----------
    callbacks : None or iterable
        Callbacks, their classes, or pairs of a name and one of these.
    validated : bool
        Whether validation rows are scored after each epoch.

    Raises
    ------
    ValueError, TypeError
        If one is not a callback, or monitors what an epoch does not record.

    Examples
    --------
    >>> from skorch.callbacks import EarlyStopping
    >>> check_callbacks(EarlyStopping(), validated=True)
    Traceback (most recent call last):
    TypeError: callbacks must be a list of skorch callbacks; got EarlyStopping alone.
    """
    if callbacks is None:
        return []
    if _is_callback(callbacks):
        name = getattr(callbacks, "__name__", type(callbacks).__name__)
        raise TypeError(f"callbacks must be a list of skorch callbacks; got {name} alone.")
    try:
        if isinstance(callbacks, str | bytes | Mapping):
            raise TypeError
        entries = iter(callbacks)
    except TypeError:
        raise TypeError(
            f"callbacks must be a list of skorch callbacks; got {callbacks!r}."
        ) from None
    named = [pair for pair in map(_named, entries) if pair[1] is not None]
    _check_names([name for name, _ in named])
    instances = [callback for _, callback in named]
    for callback in instances:
        _check_start(callback)
    if all(map(_is_of_skorch, instances)):
        _check_monitors(instances, validated)
    return [callback if name is None else (name, callback) for name, callback in named]


def not_recorded(callback: Any, recorded: Collection[str]) -> ValueError | None:
    """An error that lists the recorded entries, unless ``callback`` monitors one of them."""
    monitor = _monitored(callback)
    if monitor is None or monitor in recorded:
        return None
    return ValueError(
        f"callbacks: {type(callback).__name__} monitors {monitor!r}, which no epoch has recorded "
        f"when it looks. Recorded are {sorted(recorded)}. Validation rows are scored with "
        "early_stopping=True, or where X_val and y_val are passed; an EpochScoring before it in "
        "the list records more."
    )


def _is_callback(value: Any) -> bool:
    return all(callable(getattr(value, method, None)) for method in _METHODS)


def _is_of_skorch(callback: Any) -> bool:
    """Whether all its methods are skorch's; it is not known what other callbacks record."""
    methods = [getattr(type(callback), method, None) for method in _METHODS]
    return all(getattr(method, "__module__", "").startswith("skorch.") for method in methods)


def _named(entry: Any) -> tuple[str | None, Any]:
    """Name, if it has one, and instance of an entry of the list."""
    name, callback = None, entry
    if isinstance(entry, tuple | list):
        if len(entry) != 2 or not isinstance(entry[0], str):
            raise TypeError(f"callbacks holds {entry!r}; a pair is a name and a callback.")
        name, callback = entry
    if callback is not None and not _is_callback(callback):
        raise TypeError(f"callbacks holds {callback!r}, which is not a skorch callback.")
    if isinstance(callback, type):
        try:
            callback = callback()
        except TypeError as error:
            raise TypeError(
                f"callbacks holds the class {callback.__name__}, which needs arguments ({error}); "
                "pass an instance."
            ) from error
    return name, callback


def _check_names(names: list[str | None]) -> None:
    for name in names:
        if name is not None and (name in _OURS or names.count(name) > 1):
            raise ValueError(
                f"callbacks holds the name {name!r}, which is taken; {list(_OURS)} are the names "
                "of callbacks that every fit has."
            )


def _check_start(callback: Any) -> None:
    """Raise if one of skorch's callbacks cannot be initialised with its arguments."""
    if isinstance(callback, EarlyStopping) and not isinstance(callback.monitor, str):
        raise TypeError(
            "callbacks: EarlyStopping monitors the name of an entry, such as 'train_loss'; got "
            f"monitor={callback.monitor!r}."
        )
    try:
        if isinstance(callback, BatchScoring | EpochScoring) and isinstance(callback.scoring, str):
            get_scorer(callback.scoring)
        if type(callback).__module__ in _STARTED and not isinstance(callback, _WITH_FILES):
            copy.copy(callback).initialize()
    except Exception as error:  # skorch may raise anything
        raise ValueError(f"callbacks: {type(callback).__name__} cannot start: {error}") from error


def _check_monitors(callbacks: list[Any], validated: bool) -> None:
    """Raise if one of skorch's callbacks monitors an entry that is not recorded before it."""
    recorded = {*_RECORDED, *(_VALIDATED if validated else ())}
    for callback in callbacks:
        error = not_recorded(callback, recorded)
        if error is not None:
            raise error
        recorded |= _records(callback, validated)


def _monitored(callback: Any) -> str | None:
    """The entry of an epoch that ``callback`` reads, if it reads one by name."""
    if isinstance(callback, LRScheduler):
        by_score = getattr(callback.policy, "__name__", callback.policy) == "ReduceLROnPlateau"
        reads = by_score and callback.step_every == "epoch"
    else:
        reads = isinstance(callback, EarlyStopping | Checkpoint)
    monitor = callback.monitor if reads else None
    return monitor if isinstance(monitor, str) else None


def _records(callback: Any, validated: bool) -> set[str]:
    """The entries of an epoch that one of skorch's callbacks adds."""
    if isinstance(callback, Checkpoint | LRScheduler):
        return {callback.event_name} - {None}
    if isinstance(callback, PassthroughScoring):
        name = callback.name
    elif isinstance(callback, BatchScoring | EpochScoring) and (callback.on_train or validated):
        name = copy.copy(callback).initialize().name_
    else:
        return set()
    return {name} if callback.lower_is_better is None else {name, f"{name}_best"}
