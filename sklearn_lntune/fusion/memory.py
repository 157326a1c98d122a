"""The memory that a bank takes, measured on its first fit."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from sklearn_lntune.backbone.placement import STEP_TOKENS
from sklearn_lntune.inputs.windows import parts
from sklearn_lntune.network import Network
from sklearn_lntune.training.fitting import network_of
from sklearn_lntune.training.job import Job

#: Copies of a fit's values: stacked and alone, gradient, two moments, last good and best.
_COPIES = 7
#: Files with the limit and the use of a container's memory, in both versions of Linux cgroups.
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Room:
    """How large a bank may be.

    Attributes
    ----------
    n_fits : int
        Side by side.
    n_tokens : int
        That run forward and backward at once.
    """

    n_fits: int
    n_tokens: int


def room_for(job: Job, max_memory: int) -> Room:
    """How many fits like ``job`` have room in ``max_memory`` bytes, and how many tokens.

    What a step keeps for its backward pass takes half of it at most. One fit, and one row,
    run in any case.
    """
    network, shell = _with_python_bytes(job)
    learnt = sum(weight.nbytes for weight in network.learnt.values()) // network.n_fits
    a_fit = _COPIES * learnt + shell + bytes_of_rows(job)
    a_token = bytes_a_token(network, job)
    most = STEP_TOKENS[network.device.type]
    n_tokens = min(most, max(1, max_memory // 2 // a_token))
    return Room(max(1, (max_memory - n_tokens * a_token) // a_fit), n_tokens)


def bytes_a_token(network: Network, job: Job) -> int:
    """Bytes per token that autograd saves between the forward and the backward pass.

    Measured on the longest rows, for which attention saves more per token.
    """
    table = parts(job.train.table)
    rows = np.argsort(-table.lengths, kind="stable")[[0, min(1, len(table) - 1)]]
    fits = np.arange(len(table)) % network.n_fits
    batch = network.eval().batch(table, rows, fits)
    shared = {weight.untyped_storage().data_ptr() for weight in network.state_dict().values()}
    kept: dict[int, int] = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in shared:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        logits = network(batch)
    del logits  # until here it kept all saved tensors alive, so that no address was used twice
    # With padding, which saves as much. An image counts its patches, as `Table.lengths` does.
    n_tokens = job.train.table.lengths[rows].sum() if batch.mask is None else batch.mask.numel()
    return max(1, sum(kept.values()) // int(n_tokens))


def bytes_of_rows(job: Job) -> int:
    """Memory that the rows of ``job`` take."""
    return sum(
        part.nbytes
        for rows in (job.train, job.valid)
        if rows is not None
        for part in (rows.table, rows.targets, rows.weights)
    )


def half_of_free(device: torch.device) -> int:
    """Half of the free memory of ``device``."""
    if device.type == "cuda" and not torch.cuda._is_in_bad_fork():  # noqa: SLF001
        return torch.cuda.mem_get_info(device)[0] // 2
    return free_memory() // 2


def free_memory(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Free bytes of the machine, or of the container if it has fewer."""
    free = psutil.virtual_memory().available
    for limit, used in _LIMITS:
        if (control_group / limit).exists():
            most = (control_group / limit).read_text("ascii").strip()
            if most != "max":
                free = min(free, int(most) - int((control_group / used).read_text("ascii")))
    return max(free, 0)


def _with_python_bytes(job: Job) -> tuple[Network, int]:
    """A network for two fits like ``job``, and the bytes of its tree without any tensor."""
    network_of(job)  # loads the backbone, which should not be measured
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    before = _traced()
    network: Any = network_of(job, 2)
    size = _traced() - before
    if not traced:
        tracemalloc.stop()
    return network, max(0, size)


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]
