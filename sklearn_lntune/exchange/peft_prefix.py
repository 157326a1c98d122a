"""A prefix in peft's format, if peft computes the same with it.

peft passes the prefix as a cache of past keys and values, so the positions of the tokens start
after it; ours start at 0. If positions act by rotation alone, only distances matter, and
rotating the prefix's keys by its length compensates; in all other models the results differ.
Nothing is assumed about an architecture: the exported prefix is tried.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.exchange.merged_model import learnt_by, model_with_head
from sklearn_lntune.network import Batch, build_network
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.tensors import tensor_of
from sklearn_lntune.tuning.registry import from_plain

_CPU = torch.device("cpu")


def peft_prefix(backbone: Backbone, state: FittedState) -> tuple[np.ndarray, dict[str, Any]]:
    """The ``prompt_embeddings`` of peft's PREFIX_TUNING, and what its configuration needs.

    Raises
    ------
    ValueError
        If peft would compute something else.
    """
    attentions = backbone.anatomy.attentions
    learnt = learnt_by(state, "prefix")
    if {key.rpartition("/")[0] for key in learnt} != {each.path for each in attentions}:
        raise _no_form(backbone, "peft's prefixes are in every layer, and this one is not")
    model: Any = model_with_head(backbone.private(torch.float32, _CPU, "eager"), backbone, state)
    body = getattr(model, model.base_model_prefix)
    keys = torch.stack([tensor_of(learnt[f"{each.path}/keys"]) for each in attentions])
    values = torch.stack([tensor_of(learnt[f"{each.path}/values"]) for each in attentions])
    try:
        keys = _turned(body, attentions[0].path, keys)
        example = _example(backbone, state.max_length)
        theirs = _logits(model, keys, values, example)
        ours = _own_logits(backbone, state, example)
    except (TypeError, LookupError, ValueError, RuntimeError, AttributeError) as error:
        raise _no_form(backbone, f"the model takes no past keys ({error})") from error
    if not torch.allclose(theirs, ours, rtol=1e-4, atol=1e-5):
        raise _no_form(backbone, "peft shifts the positions of the tokens, which changes the rest")
    n_layers, n_heads, length, size = keys.shape
    both = torch.stack([keys, values], dim=1)  # layers, 2, heads, length, size
    flat = both.permute(3, 0, 1, 2, 4).reshape(length, -1)
    return flat.contiguous().numpy(), {
        "num_virtual_tokens": length,
        "num_layers": n_layers,
        "num_attention_heads": n_heads,
        "token_dim": n_heads * size,
        "num_transformer_submodules": 1,
        "prefix_projection": False,
    }


def _no_form(backbone: Backbone, why: str) -> ValueError:
    return ValueError(
        f"export_peft: no peft prefix computes the same on {backbone.anatomy.model}: {why}. "
        "Use save(), which holds any classifier, or tune 'layernorm' and 'lora'."
    )


def _turned(body: Any, path: str, keys: torch.Tensor) -> torch.Tensor:
    """``keys`` (n_layers, n_heads, length, size), turned on by their length where keys turn."""
    if not hasattr(body, "rotary_emb"):
        return keys
    forward = inspect.unwrap(type(body.get_submodule(path)).forward)
    position = torch.full((1, 1), keys.shape[2])
    cos, sin = body.rotary_emb(keys, position)
    turned: torch.Tensor = forward.__globals__["apply_rotary_pos_emb"](keys, keys, cos, sin)[1]
    return turned


def _example(backbone: Backbone, length: int) -> dict[str, torch.Tensor]:
    """Two rows of tokens, one of them shorter; long enough for sliding windows to matter."""
    generator = torch.Generator().manual_seed(0)
    size = backbone.config.get_text_config().vocab_size
    ids = torch.randint(1, size, (2, length), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, length // 2 :], mask[1, length // 2 :] = backbone.pad_id, 0
    return {"input_ids": ids, "attention_mask": mask}


def _logits(
    model: Any, keys: torch.Tensor, values: torch.Tensor, example: dict[str, torch.Tensor]
) -> torch.Tensor:
    """The logits that peft computes."""
    mask = example["attention_mask"]
    cache = DynamicCache(config=model.config)
    for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
        cache.update(*(each.expand(len(mask), -1, -1, -1) for each in (key, value)), layer)
    before = mask.new_ones(len(mask), keys.shape[2])
    inputs = example | {"attention_mask": torch.cat([before, mask], dim=1)}
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs, past_key_values=cache).logits
    return logits


def _own_logits(
    backbone: Backbone, state: FittedState, example: dict[str, torch.Tensor]
) -> torch.Tensor:
    network = build_network(
        backbone,
        from_plain(state.tuning),
        state.pooling,
        state.task.n_outputs,
        [state.delta],
        dtype=torch.float32,
        device=_CPU,
        attention="eager",
        generator=torch.Generator(),
    )
    with torch.no_grad():
        logits: torch.Tensor = network(Batch(example))
    return logits
