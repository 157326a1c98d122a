"""Heads: from the states of tokens to logits."""

from __future__ import annotations

import torch
from torch import nn

from sklearn_lntune.network.batch import Batch
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

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n_rows, ..., n_outputs)."""
        return batched_linear(vectors, self.weight) + expand_vector(self.bias, vectors)


class TokenHead(RowHead):
    """The same linear layer for several tokens of each row."""

    @staticmethod
    def read(states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The states of the first tokens of words, of shape (n_rows, n_words, width).

        Without ``batch.words``, those of all tokens.
        """
        if batch.words is None:
            return states
        at = batch.words.unsqueeze(-1).expand(-1, -1, states.shape[-1])
        return states.gather(1, at)
