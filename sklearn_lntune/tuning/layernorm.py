"""Train the gains and biases of the backbone's norms, and nothing else.

Qi, Ruan, Zuo, Li (2022), "Parameter-Efficient Tuning on Layer Normalization for
Pre-trained Language Models", arXiv 2211.08682, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn_lntune.backbone.anatomy import check_layers, check_sites
from sklearn_lntune.tuning.base import Array, AttachContext, PeftRef, TuningMethod

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy

_TERMS = {"both": ("gain", "bias"), "gain": ("gain",), "bias": ("bias",)}


class LayerNormTuning(TuningMethod):
    """LN-tuning: learn the gain and bias of each normalisation layer.

    Parameters
    ----------
    terms : {"both", "gain", "bias"}, default="both"
        Which of a norm's two vectors is learnt. For norms without a bias (RMSNorm), "both"
        learns the gain and "bias" skips them.
    sites : "all", str or tuple of {"embedding", "attention", "ffn", "final", "qk"}, \
default="all"
        Which norms, by their place in the block: around the attention, around the
        feed-forward network, after the embeddings, after the last block, or on
        queries and keys.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.
        The embedding norm is included only with "all" or if ``sites`` names it; a final
        norm belongs to the last block.

    References
    ----------
    W. Qi, Y.-P. Ruan, Y. Zuo, T. Li (2022). Parameter-Efficient Tuning on Layer
    Normalization for Pre-trained Language Models. arXiv:2211.08682, section 3.

    Examples
    --------
    >>> from sklearn_lntune.tuning import LayerNormTuning
    >>> LayerNormTuning(sites=("attention",), layers=range(3, 6))
    LayerNormTuning(layers=range(3, 6), sites=('attention',))
    """

    name = "layernorm"
    default_lr = 2e-3  # benchmarks/recipe.py
    attach_order = 10
    optional = ("bias",)

    def __init__(self, *, terms: str = "both", sites: Any = "all", layers: Any = "all") -> None:
        self.terms = terms
        self.sites = sites
        self.layers = layers

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        if not isinstance(self.terms, str) or self.terms not in _TERMS:
            raise ValueError(f"terms must be 'both', 'gain' or 'bias'; got {self.terms!r}.")
        check_sites(self.sites)
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """One vector per term, as long as the norm is wide."""
        return dict.fromkeys(_TERMS[self.terms], (None,))

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Gains and biases of the chosen norms."""
        self.check_arguments()
        arrays = tuple(
            Array(norm.path, term, norm.site, norm.block, (norm.size,))
            for norm in anatomy.select(anatomy.norms, self.layers, self.sites)
            for term in _TERMS[self.terms]
            if term == "gain" or norm.has_bias
        )
        if not arrays:
            raise ValueError(
                "terms='bias', but the chosen norms of this backbone have no bias; use 'gain' or "
                "'both'."
            )
        return arrays

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Replace each chosen norm by one that learns its gain and bias."""
        from sklearn_lntune.tuning.layers.stacked_norm import learn_term

        return {
            array.key: learn_term(context.shell, array.path, array.name, context.n_fits)
            for array in arrays
        }

    def taxonomy(self) -> PeftRef:
        """Describe a scale and a shift of a norm's output."""
        return PeftRef("normalisation layers", "sequential", "rescaling")

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Set the gains and biases of the model's norms."""
        from sklearn_lntune.tuning.layers.merging import set_weight

        for key, value in values.items():
            path, _, term = key.rpartition("/")
            set_weight(model, path, "weight" if term == "gain" else "bias", value)
