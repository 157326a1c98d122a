"""Train the gains and biases of the backbone's norms, and nothing else.

Qi, Ruan, Zuo, Li (2022), "Parameter-Efficient Tuning on Layer Normalization for
Pre-trained Language Models", arXiv 2211.08682, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn_lntune.tuning.base import TuningMethod

if TYPE_CHECKING:
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy, Norm

_TERMS = {"both": ("gain", "bias"), "gain": ("gain",), "bias": ("bias",)}


class LayerNormTuning(TuningMethod):
    """LN-tuning: learn gain and bias of each normalisation layer.

    Parameters
    ----------
    terms : {"both", "gain", "bias"}, default="both"
        Which of a norm's two vectors is learnt. Norms without a bias (RMSNorm) learn
        their gain under "both" and are passed over under "bias".
    sites : "all", str or tuple of {"embedding", "attention", "ffn", "final", "qk"}, \
default="all"
        Which norms, by their place in the block: around the attention, around the
        feed-forward network, behind the embeddings, behind the last block, or on
        queries and keys.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.
        The embedding norm is taken only with "all" or when ``sites`` names it; a final
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
    default_lr = 5e-3  # benchmarks/defaults.py

    def __init__(self, *, terms: str = "both", sites: Any = "all", layers: Any = "all") -> None:
        self.terms = terms
        self.sites = sites
        self.layers = layers

    def attach(self, shell: nn.Module, anatomy: Anatomy, n_fits: int) -> dict[str, nn.Parameter]:
        """Replace each chosen norm by one whose gain and bias are learnt."""
        from sklearn_lntune.tuning.stacked_norm import StackedNorm

        learnt: dict[str, nn.Parameter] = {}
        for norm, terms in self._chosen(anatomy):
            stacked = StackedNorm(shell.get_submodule(norm.path), terms, n_fits)
            shell.set_submodule(norm.path, stacked)
            learnt |= {f"{norm.path}/{term}": getattr(stacked, term) for term in terms}
        return learnt

    def count(self, anatomy: Anatomy) -> int:
        """Number of learnt gains and biases."""
        return sum(norm.size * len(terms) for norm, terms in self._chosen(anatomy))

    def _chosen(self, anatomy: Anatomy) -> list[tuple[Norm, tuple[str, ...]]]:
        if not isinstance(self.terms, str) or self.terms not in _TERMS:
            raise ValueError(f"terms must be 'both', 'gain' or 'bias'; got {self.terms!r}.")
        chosen = []
        for norm in anatomy.select(self.sites, self.layers):
            terms = tuple(t for t in _TERMS[self.terms] if t == "gain" or norm.has_bias)
            if terms:
                chosen.append((norm, terms))
        if not chosen:
            raise ValueError(
                "terms='bias', but the chosen norms of this backbone have no bias; use 'gain' or "
                "'both'."
            )
        return chosen
