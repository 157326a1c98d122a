"""Train the biases of the backbone's linear layers and norms: BitFit.

Ben Zaken, Goldberg, Ravfogel (2022), "BitFit: Simple Parameter-efficient Fine-tuning for
Transformer-based Masked Language-models", arXiv 2106.10199.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.backbone.anatomy import check_layers, check_sites
from sklearn_lntune.tuning.base import Array, AttachContext, PeftRef, TuningMethod

if TYPE_CHECKING:
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy, Attention, Linear, Place


class BiasTuning(TuningMethod):
    """BitFit: learn the bias of each linear layer, and of each norm.

    The bias of a key adds the same number to every attention score of a query, which the
    softmax cancels: such biases are neither trained nor counted. If positions change the
    keys (rotary embeddings, DeBERTa), they do matter and are trained. They do not apply to
    a prefix, whose learnt keys can be shifted to the same effect.

    Parameters
    ----------
    sites : "all", str or tuple of {"embedding", "attention", "ffn", "final", "qk"}, \
default="all"
        Which layers, by their place in the block.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.
    norms : bool, default=True
        Whether the biases of norms are learnt, too. In a sum with `LayerNormTuning`, that
        method learns them.

    References
    ----------
    E. Ben Zaken, Y. Goldberg, S. Ravfogel (2022). BitFit: Simple Parameter-efficient
    Fine-tuning for Transformer-based Masked Language-models. arXiv:2106.10199.

    Examples
    --------
    >>> from sklearn_lntune.tuning import BiasTuning
    >>> BiasTuning(sites="ffn", norms=False)
    BiasTuning(norms=False, sites='ffn')
    """

    name = "bias"
    default_lr = 2e-3  # benchmarks/recipe.py
    attach_order = 20

    def __init__(self, *, sites: Any = "all", layers: Any = "all", norms: bool = True) -> None:
        self.sites = sites
        self.layers = layers
        self.norms = norms

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        if not isinstance(self.norms, bool | np.bool_):
            raise ValueError(f"norms must be True or False; got {self.norms!r}.")
        check_sites(self.sites)
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """One bias, at most as long as the layer is wide."""
        return {"bias": (None,)}

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Biases of the chosen linear layers and norms, except those without effect."""
        self.check_arguments()
        sizes: dict[Place, int] = {
            norm: norm.size for norm in anatomy.norms if self.norms and norm.has_bias
        }
        for linear in anatomy.linears:
            if linear.has_bias and (n_active := int(active_bias_mask(linear, anatomy).sum())):
                sizes[linear] = n_active
        if not sizes:
            which = "" if self.norms else " outside its norms (norms=False)"
            raise ValueError(
                f"{anatomy.model} has no biases to learn{which}; choose another tuning method."
            )
        chosen = anatomy.select(tuple(sizes), self.layers, self.sites, "layer with a bias")
        return tuple(
            Array(place.path, "bias", place.site, place.block, (sizes[place],)) for place in chosen
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Add the difference between learnt and frozen bias to the output of each layer."""
        from sklearn_lntune.tuning.layers.stacked_linear import LearnedBias, add_residual_hook
        from sklearn_lntune.tuning.layers.stacked_norm import learn_term

        linears = {linear.path: linear for linear in context.anatomy.linears}
        learnt: dict[str, nn.Parameter] = {}
        for array in arrays:
            if array.path in linears:
                layer = context.shell.get_submodule(array.path)
                active = active_bias_mask(linears[array.path], context.anatomy)
                shift = LearnedBias(layer, active, context.n_fits)
                add_residual_hook(context.shell, array.path, shift)
                learnt[array.key] = shift.bias
            else:
                learnt[array.key] = learn_term(context.shell, array.path, "bias", context.n_fits)
        return learnt

    def taxonomy(self) -> PeftRef:
        """Describe a shift of the layers' outputs."""
        return PeftRef("linear layers and norms", "parallel", "direct addition")

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Set the biases of the model."""
        from sklearn_lntune.backbone.inspect_model import anatomy_of
        from sklearn_lntune.tuning.layers.merging import set_weight

        anatomy = anatomy_of(model)
        linears = {linear.path: linear for linear in anatomy.linears}
        for key, value in values.items():
            path = key.rpartition("/")[0]
            if path in linears:
                set_weight(model, path, "bias", value, active_bias_mask(linears[path], anatomy))
            else:
                set_weight(model, path, "bias", value)


def active_bias_mask(linear: Linear, anatomy: Anatomy) -> np.ndarray:
    """Which elements of the layer's bias have an effect, as booleans.

    The bias of a key adds the same ``q @ b`` to all scores of a query, unless positions
    rotate the key first.
    """
    everything = np.ones(linear.n_out, dtype=bool)
    if linear.role == "position key":  # adds the same number to the score of every key
        return ~everything
    owner = linear.path.rpartition(".")[0]
    attention = next((each for each in anatomy.attentions if each.path == owner), None)
    if linear.role not in ("key", "qkv") or attention is None:
        return everything
    key = np.tile(np.arange(attention.head_size) < attention.n_turned, attention.n_key_heads)
    if linear.role == "key":
        return key
    return _in_fused(key, attention)


def _in_fused(key: np.ndarray, attention: Attention) -> np.ndarray:
    """The mask ``key`` within the fused projection of query, key and value; True elsewhere."""
    size, n_keys = attention.head_size, attention.n_key_heads * attention.head_size
    if attention.by_head:
        by_head = np.ones((attention.n_heads, 3, size), dtype=bool)
        by_head[:, 1] = key.reshape(attention.n_heads, size)
        return by_head.ravel()
    query, value = np.ones(attention.n_heads * size, bool), np.ones(n_keys, bool)
    return np.concatenate([query, key, value])
