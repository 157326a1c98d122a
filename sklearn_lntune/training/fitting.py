"""One fit, from rows to a delta."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from sklearn_lntune.backbone.activation_cache import ActivationCache, NoRoomError
from sklearn_lntune.backbone.device_memory import is_out_of_memory
from sklearn_lntune.exceptions import TrainingDivergedError, without_locals
from sklearn_lntune.inputs.base import joined
from sklearn_lntune.network import Network, build_network
from sklearn_lntune.training.datasets import EncodedDataset
from sklearn_lntune.training.fit_signature import fit_signature
from sklearn_lntune.training.job import Job, Outcome
from sklearn_lntune.training.net import DeltaNet
from sklearn_lntune.training.report import EpochHook, reporters

log = logging.getLogger("sklearn_lntune.training")
_RECORDED = (
    *("epoch", "n_steps", "lr", "train_loss", "valid_loss", "valid_score", "dur"),
    "bytes_a_step",
)


def run(job: Job) -> Outcome:
    """Train ``job`` by itself."""
    try:
        return _run(job)
    except RuntimeError as full:
        if not is_out_of_memory(full):
            raise
        raise ValueError(
            f"the GPU's memory does not hold a batch of batch_size={job.settings.batch_size} "
            f"(accumulate={job.settings.accumulate}); halve batch_size and double accumulate for "
            "the same steps."
        ) from without_locals(full)


def _run(job: Job) -> Outcome:
    checkpoint = job.checkpoint
    if checkpoint is not None:
        checkpoint.claim(fit_signature(job), job.seed)
    network = network_of(job)
    train, valid = job.train, job.valid
    cached = activation_cache_of([job], network)
    if cached is not None:
        train, valid = cached.rows[0]
    if job.placement.compiled:
        network.compile_body()
    # After the user's callbacks, so that the checkpoint includes what they record of an epoch.
    own: list[Any] = [] if checkpoint is None else [("checkpoint", checkpoint)]
    if job.on_epoch is not None:
        own.insert(0, ("on_epoch", EpochHook(job.on_epoch, lambda net: _outcome(net, network))))
    net = DeltaNet(
        network,
        task=job.task,
        settings=job.settings,
        n_epochs=job.n_epochs,
        n_steps=job.n_steps,
        valid=valid,
        callbacks=[
            *reporters(job.verbose if job.ranks.is_main else 0),
            *(job.callbacks or ()),
            *own,
        ],
        ranks=job.ranks,
    )

    def begin(net: DeltaNet) -> None:
        net.steps_.load_moments([job.moments])
        if checkpoint is not None:
            checkpoint.resume(net)

    error: BaseException | None = None
    try:
        with job.ranks.holding_interrupts():
            net.train(train, begin)
        if checkpoint is not None:
            checkpoint.finish(net)
            # A barrier: no process continues before it is written.
            job.ranks.broadcast(None, "the end of writing the checkpoint")
    except (KeyboardInterrupt, TrainingDivergedError) as stop:
        error = without_locals(stop)
    return _outcome(net, network, error)


def _outcome(net: DeltaNet, network: Network, error: BaseException | None = None) -> Outcome:
    """The result of the fit if it ends now."""
    finished = [row for row in net.history if "n_steps" in row]
    return Outcome(
        delta=network.delta(),
        log=[{key: _plain(row[key]) for key in _RECORDED if key in row} for row in finished],
        n_steps=net.progress_.step,
        n_epochs=len(finished),
        embedding_size=network.embedding_size,
        moments=net.steps_.moments(0),
        error=error,
    )


def network_of(job: Job, n_fits: int = 1) -> Network:
    """The network that ``job`` trains, where its training starts.

    With ``n_fits``, it has room for as many side by side.
    """
    if job.start is None:
        sides: dict[str, Any] = {"n_fits": n_fits}
    else:
        sides = {"deltas": [job.start] * n_fits}
    return build_network(
        job.backbone,
        job.methods,
        job.pooling,
        job.task.n_outputs,
        dtype=job.placement.train_type,
        device=job.placement.device,
        attention=job.placement.attention(training=True),
        generator=torch.Generator().manual_seed(job.seed),
        dropout=job.settings.dropout,
        window_pooling=job.window_pooling,
        per_token=job.task.per_token,
        **sides,
    )


class Cached(NamedTuple):
    """Rows of some jobs with the activations that enter the lowest trained block."""

    cache: ActivationCache
    rows: list[tuple[EncodedDataset, EncodedDataset | None]]


def activation_cache_of(jobs: Sequence[Job], network: Network) -> Cached | None:
    """Training and validation rows of ``jobs`` with their cached activations.

    None if that saves no time, or is not possible; then the logger ``sklearn_lntune.training``
    says why. All jobs have the same backbone and placement.
    """
    job = jobs[0]
    # Each process would compute the activations of all rows, but use those of its own rows only.
    if not network.lowest_block or any(each.n_epochs <= each.ranks.size for each in jobs):
        return None
    if job.checkpoint is not None and job.checkpoint.finished:
        return None
    place = job.placement
    cache = job.backbone.activation_cache(
        place.train_type,
        place.device,
        place.attention(training=True),
        network.lowest_block,
        # Rounding depends on which texts are computed together, so with a shared cache on earlier
        # fits, which a resumed fit would not repeat: it would end with other bits.
        fresh=job.checkpoint is not None,
    )
    tables = [rows.table for each in jobs for rows in (each.train, each.valid) if rows is not None]
    try:
        # In one call, so that no table takes the room of another.
        states = cache.states(joined(tables))
        if not network.enter_at(cache, job.train.table):
            raise NoRoomError("its other blocks do not compute the same without them")
    except NoRoomError as error:
        log.info(
            "the blocks below block %d are computed in every step: %s", network.lowest_block, error
        )
        return None
    left = iter(states)

    def with_states(rows: EncodedDataset) -> EncodedDataset:
        return dataclasses.replace(rows, states=list(itertools.islice(left, len(rows))))

    return Cached(
        cache, [(with_states(each.train), each.valid and with_states(each.valid)) for each in jobs]
    )


def _plain(value: Any) -> int | float:
    return int(value) if isinstance(value, int) else float(value)
