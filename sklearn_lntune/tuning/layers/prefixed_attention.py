"""Attention with a prefix, for architectures outside transformers' attention interface.

Each function replaces the `forward` of one class of attention module: the same products,
with the prefix's scores before those of the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def mpnet(
    module: Any,
    prefix: nn.Module,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor]:
    """MPNet's: absolute positions, and a bias by distance on the scores."""
    query, key, value = (
        _heads(layer(hidden_states), module.num_attention_heads)
        for layer in (module.q, module.k, module.v)
    )
    scale = math.sqrt(module.attention_head_size)
    scores = query @ key.mT / scale
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    return (module.o(_mixed(prefix, query, key, value, scores, scale)),)


def deberta(
    module: Any,
    prefix: nn.Module,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    output_attentions: bool = False,
    query_states: torch.Tensor | None = None,
    relative_pos: torch.Tensor | None = None,
    rel_embeddings: torch.Tensor | None = None,
) -> tuple[torch.Tensor, None]:
    """DeBERTa's: content-to-content scores, plus content-to-position scores for the tokens."""
    n_heads = module.num_attention_heads
    layers = (module.query_proj, module.key_proj, module.value_proj)
    states = (hidden_states if query_states is None else query_states, *[hidden_states] * 2)
    query, key, value = (
        _heads(layer(state), n_heads) for layer, state in zip(layers, states, strict=True)
    )
    n_kinds = 1 + ("c2p" in module.pos_att_type) + ("p2c" in module.pos_att_type)
    scale = math.sqrt(query.shape[-1] * n_kinds)
    scores = query @ key.mT / scale
    if module.relative_attention:
        flat = (query.flatten(0, 1), key.flatten(0, 1))
        scores = scores + module.disentangled_attention_bias(
            *flat, relative_pos, rel_embeddings, n_kinds
        ).view_as(scores)
    scores = scores.masked_fill(~attention_mask.bool(), torch.finfo(scores.dtype).min)
    return _mixed(prefix, query, key, value, scores, scale), None


#: Class name of an attention module -> its `forward` with a prefix.
PREFIXED_FORWARDS: dict[str, Callable[..., Any]] = {
    "MPNetSelfAttention": mpnet,
    "DisentangledSelfAttention": deberta,
}


def _heads(states: torch.Tensor, n_heads: int) -> torch.Tensor:
    """(n_rows, n_tokens, width) to (n_rows, n_heads, n_tokens, head_size)."""
    return states.view(*states.shape[:-1], n_heads, -1).transpose(1, 2)


def _mixed(
    prefix: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scores: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Values mixed by the softmax over the prefix's scores and ``scores``, heads joined."""
    before = prefix(key, value)
    if before is not None:
        scores = torch.cat([query @ before[0].mT / scale, scores], dim=-1)
        value = torch.cat([before[1], value], dim=-2)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(-2)
