"""Learnt keys and values in front of those of an attention layer.

Most architectures look up their attention by name in transformers' attention interface.
This module registers a variant of each known implementation there: it puts the prefix in
front of keys and values, extends the mask and the position bias, and calls the original.
`prefixed_attention` rewrites the attention of the few architectures that do not use the
interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from sklearn_lntune.backbone.attention import VARIANTS, attention_of, mask_of
from sklearn_lntune.backbone.placement import delta_type
from sklearn_lntune.tuning.base import AttachContext
from sklearn_lntune.tuning.layers.grouped import expand_rows
from sklearn_lntune.tuning.layers.prefixed_attention import PREFIXED_FORWARDS

#: Name of the submodule of an attention module that holds its prefix.
_SUBMODULE = "learnt_prefix"
_SPREAD = 0.02
#: Tokens recorded at a time, since a prefix may be longer than the model's longest input.
_PIECE = 32


class Prefix(nn.Module):
    """Keys and values of ``n_fits`` prefixes, each of shape (n_heads, length, head_size)."""

    def __init__(
        self, shape: tuple[int, ...], n_fits: int, dtype: torch.dtype, generator: torch.Generator
    ) -> None:
        super().__init__()
        for name in ("keys", "values"):
            start = torch.empty(n_fits, *shape, dtype=dtype)
            start.normal_(0.0, _SPREAD, generator=generator)
            self.register_parameter(name, nn.Parameter(start))
        self.recording: int | None = None

    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, of shape (n_fits, n_heads, length, head_size)."""
        return self.get_parameter("keys"), self.get_parameter("values")

    def forward(
        self, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The prefix for each row of ``key`` and ``value`` (n_rows, n_heads, length, size).

        While recording, it stores ``key`` and ``value`` as its own from position
        ``recording`` on, and returns None: the attention then runs without a prefix.
        """
        keys, values = self.both()
        if self.recording is not None:
            positions = slice(self.recording, self.recording + key.shape[-2])
            keys[..., positions, :], values[..., positions, :] = key, value
            return None
        return expand_rows(keys, key).to(key.dtype), expand_rows(values, value).to(value.dtype)


class ProjectedPrefix(Prefix):
    """A prefix computed by a small network that is mostly shared between the layers."""

    def __init__(
        self,
        shared: nn.Module,
        shape: tuple[int, ...],
        n_fits: int,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        nn.Module.__init__(self)
        n_heads, _, head_size = shape
        width = shared.get_parameter("bias").shape[-1]
        weight = torch.empty(n_fits, 2 * n_heads * head_size, width, dtype=dtype)
        bias = torch.zeros(n_fits, 2 * n_heads * head_size, dtype=dtype)
        self.weight = nn.Parameter(weight.normal_(0.0, width**-0.5, generator=generator))
        self.bias = nn.Parameter(bias)
        self.recording: int | None = None
        self._shared = (shared,)  # in a tuple, since it is in the module tree already, once
        self._n_heads = n_heads

    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, of shape (n_fits, n_heads, length, head_size)."""
        shared = dict(self._shared[0].named_parameters())
        return project(
            **shared, layer_weight=self.weight, layer_bias=self.bias, n_heads=self._n_heads
        )


def project(
    embedding: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    layer_weight: torch.Tensor,
    layer_bias: torch.Tensor,
    n_heads: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``layer_weight @ tanh(weight @ embedding + bias) + layer_bias``, as keys and values."""
    hidden = torch.tanh(torch.baddbmm(bias[:, None], embedding, weight.mT))
    made = torch.baddbmm(layer_bias[:, None], hidden, layer_weight.mT)
    n_fits, length, _ = made.shape
    keys, values = made.view(n_fits, length, 2, n_heads, -1).permute(2, 0, 3, 1, 4)
    return keys, values


def attach_prefixes(
    context: AttachContext, shapes: Mapping[str, tuple[int, ...]], *, from_vocabulary: bool
) -> dict[str, nn.Parameter]:
    """Add a `Prefix` to each attention; return the parameters by path and name."""
    shell = context.shell
    learnt: dict[str, nn.Parameter] = {}
    prefixes = []
    for path, shape in shapes.items():
        dtype, device = _learnt_at(shell, path)
        prefix = Prefix(shape, context.n_fits, dtype, context.generator).to(device)
        _put(shell, path, prefix)
        prefixes.append(prefix)
        learnt |= {f"{path}/{name}": prefix.get_parameter(name) for name in ("keys", "values")}
    _name_attention(shell)
    if from_vocabulary:
        _record(context, prefixes)
    return learnt


def attach_projected(
    context: AttachContext, shapes: Mapping[str, tuple[int, ...]], width: int
) -> dict[str, nn.Parameter]:
    """Add a `ProjectedPrefix` to each attention; return the parameters by path and name."""
    shell, n_fits, generator = context.shell, context.n_fits, context.generator
    first, shape = next(iter(shapes.items()))
    dtype, device = _learnt_at(shell, first)
    shared = nn.Module()
    for name, size in (("embedding", (shape[1], width)), ("weight", (width, width))):
        start = torch.empty(n_fits, *size, dtype=dtype)
        start.normal_(0.0, 1.0 if name == "embedding" else width**-0.5, generator=generator)
        shared.register_parameter(name, nn.Parameter(start))
    shared.register_parameter("bias", nn.Parameter(torch.zeros(n_fits, width, dtype=dtype)))
    shared.to(device)
    shell.add_module("learnt_projection", shared)
    learnt = {f"projection/{name}": weight for name, weight in shared.named_parameters()}
    for path, shape in shapes.items():
        prefix = ProjectedPrefix(shared, shape, n_fits, dtype, generator).to(device)
        _put(shell, path, prefix)
        learnt |= {f"{path}/{name}": prefix.get_parameter(name) for name in ("weight", "bias")}
    _name_attention(shell)
    return learnt


def fold(
    values: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Keys and values computed from the parameters of `attach_projected`, for one fit."""
    tensors = {key: torch.from_numpy(value)[None] for key, value in values.items()}
    shared = {name: tensors[f"projection/{name}"] for name in ("embedding", "weight", "bias")}
    folded = {}
    for path, (n_heads, _, _) in shapes.items():
        layer = {f"layer_{name}": tensors[f"{path}/{name}"] for name in ("weight", "bias")}
        made = project(**shared, **layer, n_heads=n_heads)
        for name, tensor in zip(("keys", "values"), made, strict=True):
            folded[f"{path}/{name}"] = tensor[0].numpy().copy()
    return folded


def _put(shell: nn.Module, path: str, prefix: nn.Module) -> None:
    """Add ``prefix`` to the attention at ``path``."""
    attention: Any = shell.get_submodule(path)
    attention.add_module(_SUBMODULE, prefix)
    forward = PREFIXED_FORWARDS.get(type(attention).__name__)
    if forward is not None:
        attention.forward = partial(forward, attention, prefix)


def _learnt_at(shell: nn.Module, path: str) -> tuple[torch.dtype, torch.device]:
    """Type and device of the parameters learnt at the attention at ``path``."""
    weight = next(shell.get_submodule(path).parameters())
    return delta_type(weight.dtype), weight.device


def _record(context: AttachContext, prefixes: list[Prefix]) -> None:
    """Set each prefix to the keys and values of random tokens of the vocabulary."""
    config: Any = context.shell.config
    keys = prefixes[0].get_parameter("keys")
    n_tokens, size = config.get_text_config().vocab_size, (context.n_fits, keys.shape[-2])
    ids = torch.randint(n_tokens, size, generator=context.generator)
    start = 0
    for piece in torch.split(ids.to(keys.device), _PIECE, dim=1):
        for prefix in prefixes:
            prefix.recording = start
        with torch.no_grad():
            context.shell(input_ids=piece, attention_mask=torch.ones_like(piece))
        start += _PIECE
    for prefix in prefixes:
        prefix.recording = None


def _name_attention(shell: nn.Module) -> None:
    """Make the shell use the variant of its attention implementation that has a prefix."""
    for module in shell.modules():
        config: Any = getattr(module, "config", None)
        chosen = getattr(config, "_attn_implementation", None)
        if chosen in _KNOWN:
            config._attn_implementation = _KNOWN[chosen]  # noqa: SLF001


def _attend(
    implementation: str,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention over prefix and sequence, by ``implementation``."""
    prefix: Prefix | None = getattr(module, _SUBMODULE, None)
    before = None if prefix is None else prefix(key, value)
    if before is not None:
        length = before[0].shape[-2]
        if attention_mask is None and implementation == "sdpa" and _is_causal(module, kwargs):
            # The built-in causal mask of the fused kernel is aligned with the first key. With a
            # prefix in front it would hide the last tokens, so the mask is made explicit.
            n_tokens = query.shape[-2]
            attention_mask = query.new_ones(1, 1, n_tokens, n_tokens, dtype=torch.bool).tril()
        key, value = torch.cat([before[0], key], dim=-2), torch.cat([before[1], value], dim=-2)
        if attention_mask is not None:  # the prefix is visible to every token
            seen = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = functional.pad(attention_mask, (length, 0), value=seen)
        elif implementation == "sdpa":
            kwargs["is_causal"] = False
        if kwargs.get("position_bias") is not None:
            kwargs["position_bias"] = functional.pad(kwargs["position_bias"], (length, 0))
    attend = attention_of(implementation, module)
    found: tuple[torch.Tensor, torch.Tensor | None] = attend(
        module, query, key, value, attention_mask, **kwargs
    )
    return found


def _is_causal(module: nn.Module, kwargs: Mapping[str, Any]) -> bool:
    """As transformers' fused attention decides it when there is no mask."""
    said = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if said is None else said)


_KNOWN: dict[str, str] = {}
for _name, _variant in VARIANTS.items():
    _prefixed = _KNOWN[_name] = _KNOWN[_variant] = f"lntune_prefix_{_name}"
    AttentionInterface.register(_prefixed, partial(_attend, _name))
    AttentionMaskInterface.register(_prefixed, mask_of(_name))
