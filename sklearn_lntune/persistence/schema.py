"""Check the fields of a saved classifier before they are used.

A file may be malicious, and a few bytes in it may claim any size. So each field is compared
with the rest of the file, whose actual size is known. The same checks run before writing, so
that whatever is saved can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sklearn_lntune.backbone.poolings import COMPARED, POOLINGS, WINDOW_POOLINGS
from sklearn_lntune.checks import check_choice, check_number
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.task import Task
from sklearn_lntune.tuning.base import TuningMethod, TuningSum, check_methods
from sklearn_lntune.tuning.registration import HEAD
from sklearn_lntune.tuning.registry import from_plain

#: Tokens are counted in int32.
_MAX_LENGTH = 2**31 - 1
#: Columns of texts, or of pairs.
_COLUMNS = (1, 2)


def check_state(state: FittedState) -> None:
    """Raise a ValueError if a part of ``state`` is not what a fit leaves behind."""
    _check_backbone(state.backbone)
    methods = _methods(state.tuning)
    check_choice("pooling", state.pooling, POOLINGS)
    check_number("max_length", state.max_length, integer=True, low=1, high=_MAX_LENGTH)
    _check_windows(state)
    check_number("embedding_size", state.embedding_size, integer=True, low=1)
    check_number("n_steps", state.n_steps, integer=True)
    check_number("n_epochs", state.n_epochs, integer=True)
    _check_log(state.log)
    _check_targets(state)
    _check_delta(state, methods)


def check_params(params: Mapping[str, Any]) -> None:
    """Raise a ValueError if the tuning methods among ``params`` cannot be.

    Other parameters are checked by the fit that uses them.
    """
    tuning = params.get("tuning")
    if isinstance(tuning, TuningMethod | TuningSum):
        for method in tuning.methods if isinstance(tuning, TuningSum) else (tuning,):
            method.check_arguments()


def check_columns(columns: Mapping[str, Any], window_pooling: str | None) -> None:
    """Raise a ValueError if ``columns`` cannot be those of ``X``, or be read in such windows."""
    n_columns = columns.get("n_features_in")
    if unknown := set(columns) - {"n_features_in", "feature_names_in"}:
        raise ValueError(f"columns has {sorted(unknown)[:3]}, which means nothing")
    if type(n_columns) is not int or n_columns not in _COLUMNS:
        raise ValueError(f"n_features_in must be one of {_COLUMNS}; got {n_columns!r}")
    if window_pooling is not None and (window_pooling == COMPARED) != (n_columns == 2):
        raise ValueError(f"window_pooling={window_pooling!r}, with {n_columns} texts a row")
    names = columns.get("feature_names_in")
    if names is not None and not (
        isinstance(names, np.ndarray)
        and names.shape == (n_columns,)
        and all(isinstance(name, str) for name in names.tolist())
    ):
        raise ValueError(f"feature_names_in must be {n_columns} strings")


def check_notes(metrics: Mapping[str, float], data: str | None) -> None:
    """Raise a ValueError if ``metrics`` and ``data`` are not numbers by name, and a line."""
    for name, value in metrics.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(name, str) or not number:
            raise ValueError(f"metrics must be numbers by name; got {name!r}: {value!r}")
    if not isinstance(data, str | None):
        raise ValueError(f"data must be a string; got {type(data).__name__}")


def _check_backbone(backbone: dict[str, Any]) -> None:
    if not isinstance(backbone, dict):
        raise TypeError("backbone must be an object")
    kinds = {"name": str, "revision": str | None, "fingerprint": str, "tokenizer": str}
    for key, kind in kinds.items():
        if not isinstance(backbone.get(key, 0), kind):
            raise ValueError(f"backbone: {key} is {backbone.get(key, 'missing')!r}")
    check_number("parameters", backbone.get("parameters", 1), integer=True, low=1)


def _methods(tuning: list[dict[str, Any]]) -> tuple[TuningMethod, ...]:
    methods = from_plain(tuning)
    check_methods(methods)
    for method in methods:
        method.check_arguments()
    return methods


def _check_windows(state: FittedState) -> None:
    if state.stride is None and state.window_pooling is None:
        return
    high = 0 if state.window_pooling == COMPARED else state.max_length - 1
    check_number("stride", state.stride, integer=True, low=0, high=high)
    check_choice("window_pooling", state.window_pooling, (*WINDOW_POOLINGS, COMPARED))
    if state.pooling == "native":
        raise ValueError("pooling='native' has no windows")


def _check_log(log: Sequence[Mapping[str, Any]]) -> None:
    plain = bool | int | float | str | np.generic | None
    if not isinstance(log, list) or not all(isinstance(row, dict) for row in log):
        raise ValueError("log must be a list of records")
    for row in log:
        for key, value in row.items():
            if not isinstance(key, str) or not isinstance(value, plain):
                raise ValueError(f"log has {str(value)[:40]!r} for {str(key)[:40]!r}")


def _check_targets(state: FittedState) -> None:
    task = Task.of_kind(state.target_kind)
    if set(state.target_state) - set(task.optional_state_names) != set(task.state_names):
        raise ValueError(
            f"a fit of the kind {task.kind!r} has {list(task.state_names)}; there is "
            f"{sorted(state.target_state)[:4]}"
        )
    task.check_state(state.target_state)
    if task.per_token and state.pooling == "native":
        raise ValueError("a tagger has no native head, but pooling is 'native'")


def _check_delta(state: FittedState, methods: Sequence[TuningMethod]) -> None:
    for name, value in state.delta.items():
        if value.dtype not in (np.float32, np.float64):
            raise ValueError(f"delta: {name!r} has the type {value.dtype}")
        if not np.isfinite(value).all():
            raise ValueError(f"delta: {name!r} has values that are not finite numbers")
    learnt: dict[str, dict[str, tuple[int, ...]]] = {HEAD: {}}
    learnt |= {method.name: {} for method in methods}
    for name, value in state.delta.items():
        owner, _, key = name.partition("/")
        if owner not in learnt:
            raise ValueError(
                f"delta: {name!r} does not belong to any method of tuning={list(learnt)[1:]}"
            )
        learnt[owner][key] = value.shape
    for method in methods:
        _check_learnt(method, learnt[method.name])
    _check_query(state, learnt[HEAD].pop("query", None))
    _check_head(learnt[HEAD], state.task.n_outputs, state.embedding_size, state.pooling)


def _check_query(state: FittedState, query: tuple[int, ...] | None) -> None:
    wanted = (state.embedding_size,) if state.window_pooling == "attention" else None
    if query != wanted:
        raise ValueError(f"delta: 'head/query' has the shape {query}, and {wanted} is needed")


def _check_learnt(method: TuningMethod, learnt: Mapping[str, tuple[int, ...]]) -> None:
    """Compare ``learnt``, shapes by path and name, with what ``method`` learns."""
    if not learnt:
        raise ValueError(f"delta has nothing that {method.name!r} has learnt")
    expected = method.shapes()
    if expected is None:
        return
    names: dict[str, set[str]] = {}
    for key, shape in learnt.items():
        path, _, name = key.rpartition("/")
        names.setdefault(path, set()).add(name)
        wanted = expected.get(name)
        if wanted is None or not _fits(shape, wanted):
            raise ValueError(
                f"delta: {key!r} has the shape {shape}, and {method!r} learns "
                f"{expected.get(name, 'no such array')}"
            )
    for path, found in names.items():
        if lacking := set(expected) - set(method.optional) - found:
            raise ValueError(f"delta: {path!r} has no {sorted(lacking)}, which {method!r} learns")


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    same = [length in (None, found) for length, found in zip(wanted, shape, strict=False)]
    return len(shape) == len(wanted) and all(same)


def _check_head(
    learnt: Mapping[str, tuple[int, ...]], n_outputs: int, embedding_size: int, pooling: str
) -> None:
    matrix = (n_outputs, embedding_size)
    if pooling == "native":  # names and paths are the model's
        fits = matrix in learnt.values() and all("/" in name for name in learnt)
    else:
        fits = learnt == {"weight": matrix, "bias": (n_outputs,)}
    if not fits:
        raise ValueError(
            f"delta: a head for {n_outputs} outputs and vectors of {embedding_size} numbers is "
            f"needed; there is {dict(list(learnt.items())[:4])}"
        )
