"""Train keys and values that precede the sequence in every attention layer.

Li, Liang (2021), "Prefix-Tuning: Optimizing Continuous Prompts for Generation",
arXiv 2101.00190; Liu et al. (2022), "P-Tuning v2", arXiv 2110.07602.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn_lntune.backbone.anatomy import check_layers
from sklearn_lntune.checks import check_choice, check_number
from sklearn_lntune.tuning.base import MAX_SIZE, Array, AttachContext, PeftRef, TuningMethod

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


class PrefixTuning(TuningMethod):
    """Prefix-tuning: learn ``length`` keys and values in front of each attention layer.

    Every token attends to them, regardless of causal mask or sliding window. They have no
    position: rotary embeddings do not rotate them, position biases do not apply to them,
    and the positions of the tokens do not change.

    Parameters
    ----------
    length : int, default=16
        Number of learnt keys and values in each layer.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.
    projection : int or None, default=None
        Width of a small network that computes the prefix during training (Li & Liang,
        section 4.3). At the end it is replaced by its output: the delta holds the prefix
        alone, and a fit that continues from it trains the prefix directly.
    init : {"vocabulary", "random"}, default="vocabulary"
        Initial values: keys and values of random tokens of the vocabulary, or small random
        numbers. With ``projection``, and on a backbone of images, which has no vocabulary, the
        values are random in any case.

    References
    ----------
    X. L. Li, P. Liang (2021). Prefix-Tuning: Optimizing Continuous Prompts for
    Generation. arXiv:2101.00190. X. Liu and others (2022). P-Tuning v2. arXiv:2110.07602.

    Examples
    --------
    >>> from sklearn_lntune.tuning import PrefixTuning
    >>> PrefixTuning(8, layers=3)
    PrefixTuning(layers=3, length=8)
    """

    name = "prefix"
    default_lr = 3e-2  # benchmarks/methods.py
    attach_order = 40

    def __init__(
        self,
        length: int = 16,
        *,
        layers: Any = "all",
        projection: int | None = None,
        init: str = "vocabulary",
    ) -> None:
        self.length = length
        self.layers = layers
        self.projection = projection
        self.init = init

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        check_number("length", self.length, integer=True, low=1, high=MAX_SIZE)
        check_choice("init", self.init, ("vocabulary", "random"))
        if self.projection is not None:
            check_number("projection", self.projection, integer=True, low=1, high=MAX_SIZE)
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Heads, ``length``, and size of a head."""
        return dict.fromkeys(("keys", "values"), (None, self.length, None))

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Keys and values of each chosen attention."""
        from sklearn_lntune.tuning.layers.prefixed_attention import PREFIXED_FORWARDS

        self.check_arguments()
        if not anatomy.attentions or not all(
            each.reads_interface or each.kind in PREFIXED_FORWARDS for each in anatomy.attentions
        ):
            raise ValueError(
                f"'prefix' is not possible for {anatomy.model}: its attention does not go through "
                "transformers' attention interface. All other tuning methods work on it."
            )
        return tuple(
            Array(
                each.path,
                name,
                each.site,
                each.block,
                (each.n_key_heads, self.length, each.head_size),
            )
            for each in anatomy.select(anatomy.attentions, self.layers, what="attention")
            for name in ("keys", "values")
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Put a prefix in front of the keys and values of each chosen attention."""
        from sklearn_lntune.tuning.layers.stacked_prefix import attach_prefixes, attach_projected

        shapes = {array.path: array.shape for array in arrays}
        if self.projection is not None:
            return attach_projected(context, shapes, self.projection)
        return attach_prefixes(context, shapes, from_vocabulary=self.init == "vocabulary")

    def taxonomy(self) -> PeftRef:
        """Describe keys and values beside those of the tokens."""
        return PeftRef("attention keys and values", "parallel", "concatenation")

    def for_inference(self) -> PrefixTuning:
        """Drop the projection and the initialisation from the vocabulary."""
        return PrefixTuning(self.length, layers=self.layers, init="random")

    def export_values(
        self, arrays: tuple[Array, ...], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Keys and values, computed by the projection if there is one."""
        if self.projection is None:
            return dict(values)
        from sklearn_lntune.tuning.layers.stacked_prefix import fold

        return fold(values, {array.path: array.shape for array in arrays})
