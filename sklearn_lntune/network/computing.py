"""Run a network over any number of rows, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from sklearn_lntune.backbone.device_memory import give_back_memory, is_out_of_memory
from sklearn_lntune.backbone.placement import PREDICT_TOKENS, check_after_fork
from sklearn_lntune.inputs.base import Table
from sklearn_lntune.inputs.batches import ordered_batches
from sklearn_lntune.inputs.per_word import in_row_order, n_outputs
from sklearn_lntune.inputs.windows import parts
from sklearn_lntune.network.batch import Batch
from sklearn_lntune.network.network import Network

Result = TypeVar("Result")


def compute(
    network: Network,
    table: Table,
    output: str = "logits",
    fits: np.ndarray | None = None,
    states: list[torch.Tensor] | None = None,
) -> np.ndarray:
    """Run ``network`` over all rows of ``table``.

    Parameters
    ----------
    network : Network
    table : Table
    output : {"logits", "read", "pooled"}
        What the head returns, what it reads, or the pooled vectors.
    fits : ndarray of int of shape (n_rows,), optional
        The fit that each row belongs to.
    states : list of torch.Tensor, optional
        Activations that enter the lowest trained block, after `Network.enter_at`.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs) or (n_rows, embedding_size)
        In the order of the table, an entry for each word if the table has words. If a GPU's
        memory does not suffice for a batch, the batch is halved and tried again.
    """
    check_after_fork(network.device.type)
    network.eval()
    most = PREDICT_TOKENS[network.device.type]

    def run(n_tokens: int) -> np.ndarray:
        found = _compute(network, table, output, fits, states, n_tokens)
        if n_tokens < most:  # remembered, so that the next call does not run out of memory again
            network.tokens_at_once = n_tokens
        return found

    return in_memory(run, network.tokens_at_once or most, table)


def in_memory(run: Callable[[int], Result], n_tokens: int, table: Table) -> Result:
    """``run(n_tokens)``, with half as many tokens in a batch as long as memory does not suffice."""
    while True:
        try:
            return run(n_tokens)
        except RuntimeError as error:
            if n_tokens <= int(parts(table).lengths.max()) or not is_out_of_memory(error):
                raise
        n_tokens //= 2
        give_back_memory()


def _compute(
    network: Network,
    table: Table,
    output: str,
    fits: np.ndarray | None,
    states: list[torch.Tensor] | None,
    n_tokens: int,
) -> np.ndarray:
    batches = list(ordered_batches(table.lengths, n_tokens))
    steps: dict[str, Callable[[Batch], torch.Tensor]] = {
        "logits": network,
        "read": network.read,
        "pooled": network.pool,
    }
    step = steps[output]
    with network.without_gradients():
        found = [
            step(network.batch(table, rows, fits, states, n_tokens)).cpu().numpy()
            for rows in batches
        ]
    return in_row_order(found, batches, None if output == "pooled" else n_outputs(table))
