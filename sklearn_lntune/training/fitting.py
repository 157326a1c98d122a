"""One fit, from rows to a delta."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.exceptions import TrainingDivergedError
from sklearn_lntune.network import Network, build_network
from sklearn_lntune.task import OneLabel
from sklearn_lntune.training.net import DeltaNet
from sklearn_lntune.training.report import reporters
from sklearn_lntune.training.rows import Rows
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning.base import TuningMethod

_RECORDED = ("epoch", "n_steps", "lr", "train_loss", "valid_loss", "valid_score", "dur")


@dataclass(frozen=True)
class Job:
    """All that a fit needs to know."""

    backbone: Backbone
    methods: tuple[TuningMethod, ...]
    pooling: str
    max_length: int
    placement: Placement
    task: OneLabel
    settings: Settings
    train: Rows
    valid: Rows | None
    seed: int
    callbacks: Any = None
    verbose: int = 0
    #: Where to go on from: learnt values, and the optimiser's moments by name of value.
    start: Mapping[str, np.ndarray] | None = None
    moments: Mapping[str, Mapping[str, np.ndarray]] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a fit leaves behind, all of it plain.

    Attributes
    ----------
    delta : dict of str to ndarray
    log : list of dict
        A record an epoch.
    n_steps, n_epochs : int
        Steps taken; epochs begun and finished.
    embedding_size : int
        Length of the pooled vector.
    moments : dict
        The optimiser's state, for going on.
    error : BaseException or None
        What ended the fit early: an interrupt by the user, or divergence.
    """

    delta: dict[str, np.ndarray]
    log: list[dict[str, Any]]
    n_steps: int
    n_epochs: int
    embedding_size: int
    moments: dict[str, dict[str, np.ndarray]] = field(repr=False)
    error: BaseException | None = None


def run(job: Job) -> Outcome:
    """Train ``job`` by itself."""
    generator = torch.Generator().manual_seed(job.seed)
    network = build_network(
        job.backbone,
        job.methods,
        job.pooling,
        job.task.n_outputs,
        job.start,
        dtype=job.placement.train_type,
        device=job.placement.device,
        attention=job.placement.attention(training=True),
        generator=generator,
        dropout=job.settings.dropout,
    )
    train, valid = _with_trunk(job, network)
    if job.placement.compiled:
        network.compile_body()
    net = DeltaNet(
        network,
        task=job.task,
        settings=job.settings,
        pad_id=job.backbone.pad_id,
        n_epochs=job.settings.n_epochs(len(job.train)),
        valid=valid,
        callbacks=[*reporters(job.verbose), *(job.callbacks or ())],
    )
    error: BaseException | None = None
    try:
        net.train(train, lambda optimizer: _load_moments(optimizer, network, job.moments))
    except (KeyboardInterrupt, TrainingDivergedError) as stop:
        error = stop
    except torch.OutOfMemoryError as full:
        raise ValueError(
            f"the GPU's memory does not hold a batch of batch_size={job.settings.batch_size} "
            f"(accumulate={job.settings.accumulate}); halve batch_size and double accumulate for "
            "the same steps."
        ) from full
    finished = [row for row in net.history if "n_steps" in row]
    return Outcome(
        delta=network.delta(),
        log=[{key: _plain(row[key]) for key in _RECORDED if key in row} for row in finished],
        n_steps=net.progress_.step,
        n_epochs=len(finished),
        embedding_size=network.embedding_size,
        moments=_moments(net.optimizer_, network),
        error=error,
    )


def _with_trunk(job: Job, network: Network) -> tuple[Rows, Rows | None]:
    """The rows of ``job`` with what enters the lowest block that learns, where that pays."""
    if not network.lowest_block or job.settings.n_epochs(len(job.train)) == 1:
        return job.train, job.valid
    place = job.placement
    trunk = job.backbone.trunk(
        place.train_type, place.device, place.attention(training=True), network.lowest_block
    )
    kept = [trunk.states(rows.table) for rows in (job.train, job.valid) if rows is not None]
    if None in kept or not network.enter_at(trunk, job.train.table, job.backbone.pad_id):
        return job.train, job.valid
    train = dataclasses.replace(job.train, states=kept[0])
    return train, job.valid and dataclasses.replace(job.valid, states=kept[1])


def _plain(value: Any) -> int | float:
    return int(value) if isinstance(value, int) else float(value)


def _moments(
    optimizer: torch.optim.Optimizer, network: Network
) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: {key: value.cpu().numpy().copy() for key, value in optimizer.state[weight].items()}
        for name, weight in network.learnt.items()
        if weight in optimizer.state
    }


def _load_moments(
    optimizer: torch.optim.Optimizer,
    network: Network,
    moments: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> None:
    for name, state in (moments or {}).items():
        if name not in network.learnt:  # of a projection that has been folded away
            continue
        weight = network.learnt[name]
        optimizer.state[weight] = {
            key: torch.from_numpy(np.array(value)).to(weight.device) for key, value in state.items()
        }
