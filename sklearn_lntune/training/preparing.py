"""Make a job from an estimator's parameters and checked data.

Every error in the parameters, or misfit with the backbone, is raised here, before training.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_lntune.backbone.matching import check_same, fitted_backbone
from sklearn_lntune.backbone.placement import check_gradients_after_fork, place_fit
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.pooling_and_length import (
    reads_separately,
    resolve_max_length,
    resolve_pooling,
    resolve_stride,
)
from sklearn_lntune.backbone.poolings import COMPARED, WINDOW_POOLINGS, WITH_POOLER
from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.checks import check_choice, check_number, check_verbose
from sklearn_lntune.inputs.text.windows import LONG_TEXTS, PAIRS
from sklearn_lntune.inputs.windows import parts
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.task import Task
from sklearn_lntune.training.callbacks import check_callbacks
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.datasets import RawDataset, encoded
from sklearn_lntune.training.fit_signature import fit_signature
from sklearn_lntune.training.job import Job
from sklearn_lntune.training.optimizer import Moments
from sklearn_lntune.training.ranks import ALONE, Ranks
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning.plan import check_type, plan, warn_of_bad_sums
from sklearn_lntune.tuning.registry import methods_of

_ANEW = (
    "warm_start and partial_fit go on with the same backbone only: set backbone back, or start "
    "anew with warm_start=False or a clone. If you know that this one computes the same, "
    "accept_backbone() ties the classifier to it."
)


def prepare(
    params: Mapping[str, Any],
    task: Task,
    data: RawDataset,
    validation: RawDataset | None,
    *,
    seed: int,
    previous: FittedState | None = None,
    moments: Moments | None = None,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = ALONE,
) -> Job:
    """Check ``params``, find the backbone, hold out validation rows, tokenise.

    Parameters
    ----------
    params : mapping
        The estimator's parameters by name.
    task : Task
    data : RawDataset
        Training rows; rows of weight zero are left out.
    validation : RawDataset or None
        The user's validation rows; without them, early stopping holds some out.
    seed : int
        Seed of the fit.
    previous : FittedState, optional
        The fit to continue from.
    moments : mapping, optional
        The state of its optimiser.
    checkpoint : Checkpoint, optional
        Open. Without a ``random_state``, its seed is used.
    ranks : Ranks
        The processes that fit together.

    Raises
    ------
    ValueError, TypeError
        If a parameter is wrong, in general or for this backbone; or ``previous`` was on
        another backbone, or with another pooling.
    """
    if checkpoint is not None and params["random_state"] is None:
        seed = checkpoint.seed_or(seed)
    check_gradients_after_fork()
    methods = methods_of(params["tuning"])
    settings = Settings.check(methods, params, task.check_scoring)
    check_verbose(params["verbose"])
    validated = settings.early_stopping or validation is not None
    callbacks = check_callbacks(params["callbacks"], validated=bool(validated))
    backbone, pooling = _backbone_and_pooling(params, previous)
    if task.per_token and pooling == "native":
        raise ValueError(
            "pooling='native' trains the model's head for whole texts, and each word has a head of "
            "its own kind here. Leave pooling='auto': it matters for transform only."
        )
    plan(methods, backbone.anatomy, with_pooler=pooling in WITH_POOLER)  # raises what does not fit
    warn_of_bad_sums(methods)
    max_length = resolve_max_length(backbone, params["max_length"])
    stride = window_pooling = None
    if not task.per_token:
        is_pair = data.examples.n_columns == 2
        stride, window_pooling = _windows(params, backbone, pooling, max_length, is_pair, previous)
    seed = ranks.broadcast(seed, "the seed")
    where = Where.from_params(params)
    placement = place_fit(where, backbone.stored_type, own=ranks.device)
    check_type(methods, placement.predict_type)
    if not any(method.private for method in methods):
        # Loaded before tokenising, which may take long, so that damaged weights are found early.
        backbone.model(placement.train_type, placement.device)

    rows, held_out = np.flatnonzero(data.weights), None
    if settings.early_stopping and validation is None:
        fraction = check_number(
            "validation_fraction",
            params["validation_fraction"],
            high=1,
            open_low=True,
            open_high=True,
        )
        rows, held_out = _held_out(rows, task.strata(data.targets), fraction, seed)
        task.check_scores(data.targets[held_out], data.weights[held_out], settings.scoring)
    elif validation is not None:
        task.check_scores(validation.targets, validation.weights, settings.scoring)
    table = backbone.table_maker.table(data.examples, max_length, stride)
    train = encoded(table, data, rows)
    valid = None
    if held_out is not None:
        valid = encoded(table, data, held_out)
    elif validation is not None:
        valid_table = backbone.table_maker.table(validation.examples, max_length, stride)
        valid = encoded(valid_table, validation)
    if n_cut := train.table.n_truncated:
        warnings.warn(
            f"{n_cut} of {len(parts(train.table))} texts are longer than max_length={max_length} "
            "tokens and were cut.",
            UserWarning,
            stacklevel=4,
        )
    job = Job(
        backbone=backbone,
        methods=methods,
        pooling=pooling,
        max_length=max_length,
        placement=placement,
        task=task,
        settings=settings,
        train=train,
        valid=valid,
        seed=seed,
        callbacks=callbacks,
        verbose=params["verbose"],
        start=None if previous is None else previous.delta,
        moments=moments,
        checkpoint=checkpoint,
        ranks=ranks,
        stride=stride,
        window_pooling=window_pooling,
    )
    if ranks.size > 1:
        # `scoring` is not compared: only the main process scores, and the repr of a callable may
        # contain its address, which differs between processes.
        found = checkpoint and (checkpoint.step, checkpoint.finished)
        ranks.agree({**fit_signature(job), "scoring": None, "the state in checkpoint": found})
    return job


def _backbone_and_pooling(
    params: Mapping[str, Any], previous: FittedState | None
) -> tuple[Backbone, str]:
    """Backbone and pooling of ``params``; for a fit that continues, the same as before."""
    ref = BackboneRef.from_params(params)
    if previous is None:
        backbone = get_backbone(ref.name, ref.revision, ref.trust_remote_code)
        return backbone, resolve_pooling(backbone, params["pooling"])
    backbone = fitted_backbone(previous.backbone, ref)
    check_same(previous.backbone, backbone, previous.pooling, _ANEW)
    pooling = resolve_pooling(backbone, params["pooling"])
    if pooling != previous.pooling:
        raise ValueError(
            f"pooling={params['pooling']!r} is {pooling!r} here, and the delta so far was learnt "
            f"with {previous.pooling!r}: warm_start and partial_fit go on with the same pooling "
            "only. Set pooling back, or start anew with warm_start=False or a clone."
        )
    return backbone, pooling


def _windows(
    params: Mapping[str, Any],
    backbone: Backbone,
    pooling: str,
    max_length: int,
    is_pair: bool,
    previous: FittedState | None,
) -> tuple[int | None, str | None]:
    """The stride and the pooling of windows; both are None if each row is one row of tokens."""
    pairs = str(check_choice("pairs", params["pairs"], PAIRS))
    if pairs == "auto" and previous is not None:
        pairs = "separate" if previous.window_pooling == COMPARED else "joined"
    separate = is_pair and reads_separately(backbone, pairs, pooling)
    windows = check_choice("long_texts", params["long_texts"], LONG_TEXTS) == "windows"
    stride = check_number("stride", params["stride"], integer=True)
    chosen = check_choice("window_pooling", params["window_pooling"], WINDOW_POOLINGS)
    if windows and pooling == "native":
        raise ValueError(
            "long_texts='windows' needs a head that reads pooled vectors, and pooling='native' "
            "trains the model's own: choose another pooling, for instance 'mean', or "
            "long_texts='truncate'."
        )
    if separate and pooling == "native":
        raise ValueError(
            "pairs='separate' compares two pooled vectors, and pooling='native' trains the model's "
            "own head: choose another pooling, for instance 'mean', or pairs='joined'."
        )
    if windows and backbone.grid is not None:
        raise ValueError(
            "long_texts='windows' cuts texts, and this backbone takes images: leave "
            "long_texts='truncate'."
        )
    window_pooling = COMPARED if separate else str(chosen) if windows else None
    if previous is not None and previous.window_pooling != window_pooling:
        names = ("pairs",) if is_pair else ("long_texts", "window_pooling")
        raise _other_windows({name: params[name] for name in names}, previous.window_pooling)
    if separate:
        return 0, window_pooling
    return resolve_stride(backbone, stride, max_length) if windows else None, window_pooling


def _other_windows(given: Mapping[str, Any], before: str | None) -> ValueError:
    named = {COMPARED: "pairs='separate'", None: "one text per row, truncated"}
    given_words = " with ".join(f"{name}={value!r}" for name, value in given.items())
    return ValueError(
        f"{given_words} cannot go on from a fit with "
        f"{named.get(before, f'window_pooling={before!r}')}: set it back, or start anew with "
        "warm_start=False or a clone."
    )


def _held_out(
    rows: np.ndarray, strata: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows, stratified if the targets allow it."""
    if math.ceil(fraction * len(rows)) >= len(rows):
        raise ValueError(
            f"early_stopping holds out validation_fraction={fraction} of {len(rows)} rows, which "
            "leaves none to train on; pass a smaller fraction, X_val and y_val, or "
            "early_stopping=False."
        )
    options = {"test_size": fraction, "random_state": seed}
    try:
        chosen = None if strata is None else strata[rows]
        train, valid = train_test_split(rows, stratify=chosen, **options)
    except ValueError:
        warnings.warn(
            "the validation rows are not stratified: the smallest class has too few rows.",
            UserWarning,
            stacklevel=5,
        )
        train, valid = train_test_split(rows, **options)
    return train, valid
