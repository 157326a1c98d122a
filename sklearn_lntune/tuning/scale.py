"""Train a scale and a shift of the outputs of the attention and feed-forward network.

Wu et al. (2024), "Advancing Parameter Efficiency in Fine-tuning via Representation
Editing", arXiv 2402.15179 (RED); Lian et al. (2022), "Scaling & Shifting Your Features: A
New Baseline for Efficient Model Tuning", arXiv 2210.08823 (SSF).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn_lntune.backbone.anatomy import check_layers, check_sites
from sklearn_lntune.checks import check_choice
from sklearn_lntune.tuning.base import Array, AttachContext, PeftRef, TuningMethod, by_path

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy

_TERMS = {"both": ("scale", "shift"), "scale": ("scale",), "shift": ("shift",)}
_STARTS = {"scale": 1.0, "shift": 0.0}


class ScaleTuning(TuningMethod):
    """Learn ``scale * y + shift`` of the output ``y`` of each chosen output projection.

    The output projection is the last linear layer of an attention or of a feed-forward
    network; its output is added to the residual. The initial change is exactly zero, and
    the result can be merged into the projection.

    Parameters
    ----------
    sites : "all", str or tuple of {"attention", "ffn"}, default="ffn"
        Which output projections: of the attention, of the feed-forward network (RED), or
        both.
    terms : {"both", "scale", "shift"}, default="both"
        Which of the two vectors is learnt. A shift is a change of the projection's bias:
        in a sum with `BiasTuning`, that method learns it if the projection has a bias.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.

    References
    ----------
    M. Wu and others (2024). Advancing Parameter Efficiency in Fine-tuning via
    Representation Editing. arXiv:2402.15179. D. Lian, D. Zhou, J. Feng, X. Wang (2022).
    Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning.
    arXiv:2210.08823.

    Examples
    --------
    >>> from sklearn_lntune.tuning import LayerNormTuning, ScaleTuning
    >>> LayerNormTuning() + ScaleTuning(terms="scale", layers=3)
    LayerNormTuning() + ScaleTuning(layers=3, terms='scale')
    """

    name = "scale"
    default_lr = 1.5e-2  # benchmarks/rates.py
    optional = ("shift",)  # absent if another method of the sum learns the bias
    attach_order = 45  # after biases and LoRA, whose sum it scales; before adapters, which read it

    def __init__(self, *, sites: Any = "ffn", terms: str = "both", layers: Any = "all") -> None:
        self.sites = sites
        self.terms = terms
        self.layers = layers

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        check_choice("terms", self.terms, tuple(_TERMS))
        check_sites(self.sites)
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """One vector per term, as long as an output."""
        return dict.fromkeys(_TERMS[self.terms], (None,))

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Scale and shift of each chosen projection."""
        self.check_arguments()
        outputs = [linear for linear in anatomy.linears if linear.role == "output"]
        chosen = anatomy.select(outputs, self.layers, self.sites, "output projection")
        return tuple(
            Array(
                linear.path,
                term,
                linear.site,
                linear.block,
                (linear.n_out,),
                learns="bias" if term == "shift" else None,
            )
            for linear in chosen
            for term in _TERMS[self.terms]
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Scale and shift the output of each chosen projection."""
        from sklearn_lntune.tuning.layers.stacked_linear import learn_vectors

        learnt: dict[str, nn.Parameter] = {}
        for path, shapes in by_path(arrays).items():
            vectors = learn_vectors(context, path, shapes, _STARTS, _change)
            learnt |= {f"{path}/{name}": vector for name, vector in vectors.items()}
        return learnt

    def taxonomy(self) -> PeftRef:
        """Describe a scale and a shift of the projections' outputs."""
        return PeftRef("output projections", "sequential", "rescaling")

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Scale the weights and biases of the projections, and add the shifts to the biases."""
        from sklearn_lntune.tuning.layers.merging import scale_and_shift

        for path in dict.fromkeys(key.rpartition("/")[0] for key in values):
            scale, shift = (values.get(f"{path}/{name}") for name in _STARTS)
            if shift is not None and getattr(model.get_submodule(path), "bias", None) is None:
                raise ValueError(
                    f"the shift that {self.name!r} learns cannot be written into the backbone's "
                    f"own weights, since {path!r} has no bias; terms='scale' needs none."
                )
            scale_and_shift(model, path, scale, shift)


def _change(
    output: torch.Tensor, scale: torch.Tensor | None = None, shift: torch.Tensor | None = None
) -> torch.Tensor:
    """``(scale - 1) * output + shift``, which is added to ``output``.

    Not ``scale * output``: near 1, bfloat16 has steps of 0.008, while the difference from 1
    is represented much more finely.
    """
    if scale is None:
        assert shift is not None
        return shift
    factor = (scale - 1).to(output.dtype)
    return factor * output if shift is None else shift.to(output.dtype).addcmul(factor, output)
