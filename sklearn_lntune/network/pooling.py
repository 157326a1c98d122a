"""One vector per row from the last hidden states of its tokens."""

from __future__ import annotations

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
