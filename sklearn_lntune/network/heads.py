"""Heads: from pooled vectors to logits."""

from __future__ import annotations

import torch
from torch import nn

from sklearn_lntune.tuning.layers.grouped import batched_linear, expand_vector

_SPREAD = 0.02


class RowHead(nn.Module):
    """A linear layer for each of ``n_fits``: one vector of logits per row."""

    def __init__(
        self,
        width: int,
        n_outputs: int,
        n_fits: int,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        start = torch.empty(n_fits, n_outputs, width, dtype=dtype)
        self.weight = nn.Parameter(start.normal_(0.0, _SPREAD, generator=generator))
        self.bias = nn.Parameter(torch.zeros(n_fits, n_outputs, dtype=dtype))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs)."""
        return batched_linear(pooled, self.weight) + expand_vector(self.bias, pooled)
