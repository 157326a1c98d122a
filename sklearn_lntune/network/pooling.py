"""One vector per row: from the last hidden states of its tokens, or the vectors of its windows."""

from __future__ import annotations

import math

import torch


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool ``states`` over the tokens that ``mask`` shows.

    Parameters
    ----------
    states : torch.Tensor of shape (n_rows, n_tokens, size)
    mask : torch.Tensor of shape (n_rows, n_tokens)
        1 for a token, 0 for padding, which is on the right.
    pooling : {"cls", "mean", "max", "last"}

    Returns
    -------
    torch.Tensor of shape (n_rows, size)
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(states.shape[0], device=states.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "max":
        return states.masked_fill(weights == 0, -torch.inf).amax(1)
    return (states * weights).sum(1) / weights.sum(1)


def attend(vectors: torch.Tensor, mask: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """The mean of ``vectors``, each weighted by how well it matches ``query``.

    The weights are a softmax of the scaled products with the query, so a query of zeros gives
    the plain mean.

    Parameters
    ----------
    vectors : torch.Tensor of shape (n_rows, n_windows, size)
    mask : torch.Tensor of bool of shape (n_rows, n_windows)
        Whether there is such a window.
    query : torch.Tensor of shape (n_rows, size)

    Returns
    -------
    torch.Tensor of shape (n_rows, size)
    """
    scores = (vectors * query.unsqueeze(1)).sum(-1) / math.sqrt(vectors.shape[-1])
    weights = scores.masked_fill(~mask, -torch.inf).softmax(1)
    return (weights.unsqueeze(-1) * vectors).sum(1)
