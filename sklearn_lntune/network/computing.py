"""Run a network over any number of rows, without gradients."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_lntune.backbone.placement import PREDICT_TOKENS, check_after_fork
from sklearn_lntune.inputs.base import Table
from sklearn_lntune.inputs.batches import ordered_batches
from sklearn_lntune.network.network import Network


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
    output : {"logits", "pooled"}
    fits : ndarray of int of shape (n_rows,), optional
        The fit that each row belongs to.
    states : list of torch.Tensor, optional
        Activations that enter the lowest trained block, after `Network.enter_at`.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs) or (n_rows, embedding_size)
        In the order of the table. If a GPU's memory does not suffice for a batch, the batch
        is halved and tried again.
    """
    check_after_fork(network.device.type)
    network.eval()
    n_tokens = network.tokens_at_once or PREDICT_TOKENS[network.device.type]
    while True:
        try:
            return _compute(network, table, output, fits, states, n_tokens)
        except torch.OutOfMemoryError:
            if n_tokens <= int(table.lengths.max()):
                raise
        # Remembered, so that the next call does not run out of memory again.
        n_tokens = network.tokens_at_once = n_tokens // 2
        torch.cuda.empty_cache()


def _compute(
    network: Network,
    table: Table,
    output: str,
    fits: np.ndarray | None,
    states: list[torch.Tensor] | None,
    n_tokens: int,
) -> np.ndarray:
    batches = list(ordered_batches(table.lengths, n_tokens))
    step = network if output == "logits" else network.pool
    with network.without_gradients():
        parts = [step(network.batch(table, rows, fits, states)).cpu() for rows in batches]
    found = torch.cat(parts).numpy()
    answers = np.empty_like(found)
    answers[np.concatenate(batches)] = found
    return answers
