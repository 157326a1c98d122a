"""From an estimator's parameters and checked data to a job.

Whatever is wrong with the parameters, or does not fit the backbone, is found here, before
any training.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_lntune.backbone.placement import place_fit
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.usage import resolve_max_length, resolve_pooling
from sklearn_lntune.checks import check_number
from sklearn_lntune.task import OneLabel
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.fitting import Job
from sklearn_lntune.training.identity import identity
from sklearn_lntune.training.labelled import Labelled
from sklearn_lntune.training.ranks import ALONE, Ranks
from sklearn_lntune.training.rows import weighted_rows
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning.names import methods_of
from sklearn_lntune.tuning.plan import plan, warn_of_bad_sums


def prepare(
    params: Mapping[str, Any],
    task: OneLabel,
    data: Labelled,
    validation: Labelled | None,
    *,
    seed: int,
    start: Mapping[str, np.ndarray] | None = None,
    moments: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = ALONE,
) -> Job:
    """Check ``params``, find the backbone, hold out validation rows, tokenise.

    Parameters
    ----------
    params : mapping
        The estimator's parameters by name.
    task : OneLabel
    data : Labelled
        Training rows; those without weight are left out.
    validation : Labelled or None
        The user's own validation rows; None lets early stopping hold some out.
    seed : int
    start, moments : mapping, optional
        Where to go on from.
    checkpoint : Checkpoint, optional
        Open. Without a ``random_state``, the seed in it is taken.
    ranks : Ranks
        The processes that fit together.

    Raises
    ------
    ValueError, TypeError
        If a parameter is wrong, by itself or for this backbone.
    """
    if checkpoint is not None and params["random_state"] is None:
        seed = checkpoint.seed_or(seed)
    methods = methods_of(params["tuning"])
    settings = Settings.check(methods, params)
    backbone = get_backbone(params["backbone"], params["revision"], params["trust_remote_code"])
    pooling = resolve_pooling(backbone, params["pooling"])
    plan(methods, backbone.anatomy, with_pooler=pooling == "native")  # raises what does not fit
    warn_of_bad_sums(methods)
    max_length = resolve_max_length(backbone, params["max_length"])
    seed = ranks.broadcast(seed)
    placement = place_fit(
        params["device"],
        params["precision"],
        backbone.stored_type,
        compiled=params["compile"],
        own=ranks.device,
    )
    if not any(method.private for method in methods):
        # Before tokenising, which may take long, so that damaged weights are found soon.
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
        rows, held_out = _held_out(rows, data.codes, fraction, seed)
    table = backbone.tokens.table(data.texts, max_length)
    train = weighted_rows(table, data, rows)
    valid = None
    if held_out is not None:
        valid = weighted_rows(table, data, held_out)
    elif validation is not None:
        valid_table = backbone.tokens.table(validation.texts, max_length)
        valid = weighted_rows(valid_table, validation)
    if train.table.n_truncated:
        warnings.warn(
            f"{train.table.n_truncated} of {len(train)} texts are longer than max_length="
            f"{max_length} tokens and were cut.",
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
        callbacks=params["callbacks"],
        verbose=params["verbose"],
        start=start,
        moments=moments,
        checkpoint=checkpoint,
        ranks=ranks,
    )
    if ranks.size > 1:
        # Only the main process scores for all; a callable's repr may be its address.
        found = checkpoint and (checkpoint.step, checkpoint.finished)
        ranks.agree({**identity(job), "scoring": None, "the state in checkpoint": found})
    return job


def _held_out(
    rows: np.ndarray, codes: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows, stratified where the classes allow it."""
    if len(rows) < 2:
        raise ValueError(
            "early_stopping holds out rows, but there is only one; pass X_val and y_val, or "
            "early_stopping=False."
        )
    options = {"test_size": fraction, "random_state": seed}
    try:
        train, valid = train_test_split(rows, stratify=codes[rows], **options)
    except ValueError:
        warnings.warn(
            "the validation rows are not stratified: the smallest class has too few rows.",
            UserWarning,
            stacklevel=5,
        )
        train, valid = train_test_split(rows, **options)
    return train, valid
