"""Train a low-rank change of linear layers: LoRA.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen (2021), "LoRA: Low-Rank Adaptation of
Large Language Models", arXiv 2106.09685, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sklearn_lntune.backbone.anatomy import check_layers
from sklearn_lntune.checks import check_choice, check_number
from sklearn_lntune.tuning.base import (
    MAX_SIZE,
    Array,
    AttachContext,
    PeftRef,
    TuningMethod,
    by_path,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


class LoraTuning(TuningMethod):
    """LoRA: learn ``alpha / rank * B @ A`` beside the matrices of linear layers.

    The initial change is exactly zero, since ``B`` is; the result can be merged into the
    weights.

    Parameters
    ----------
    rank : int, default=8
        Rank of the change.
    alpha : float, default=16
        The change is scaled by ``alpha / rank``.
    targets : str or tuple of str, default=("query", "value")
        Which linear layers of a block: ``"query"``, ``"key"``, ``"value"`` and
        ``"attention.output"`` of the attention, and ``"ffn.input"`` and ``"ffn.output"`` of
        the feed-forward network. If query, key and value are one fused layer, any of the
        three means that layer.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.

    References
    ----------
    E. J. Hu and others (2021). LoRA: Low-Rank Adaptation of Large Language Models.
    arXiv:2106.09685.

    Examples
    --------
    >>> from sklearn_lntune.tuning import LoraTuning
    >>> LoraTuning(rank=4, targets="value")
    LoraTuning(rank=4, targets='value')
    """

    name = "lora"
    default_lr = 2e-3  # benchmarks/methods.py
    attach_order = 30

    def __init__(
        self,
        rank: int = 8,
        *,
        alpha: float = 16,
        targets: Any = ("query", "value"),
        layers: Any = "all",
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.targets = targets
        self.layers = layers

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        check_number("rank", self.rank, integer=True, low=1, high=MAX_SIZE)
        check_number("alpha", self.alpha, open_low=True)
        for target in self._targets():
            check_choice("targets", target, tuple(TARGETS))
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Two matrices that share the rank."""
        return {"A": (self.rank, None), "B": (None, self.rank)}

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """A and B of each chosen linear layer."""
        self.check_arguments()
        wanted = {place for target in self._targets() for place in TARGETS[target]}
        fitting = [
            linear
            for linear in anatomy.linears
            if (linear.site, linear.role) in wanted and linear.block is not None
        ]
        chosen = anatomy.select(fitting, self.layers, what=f"layer for targets={self.targets!r}")
        return tuple(
            Array(linear.path, name, linear.site, linear.block, shape)
            for linear in chosen
            for name, shape in (("A", (self.rank, linear.n_in)), ("B", (linear.n_out, self.rank)))
        )

    def _targets(self) -> tuple[Any, ...]:
        one = isinstance(self.targets, str) or not isinstance(self.targets, Iterable)
        return (self.targets,) if one else tuple(self.targets)

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Add the low-rank product to the output of each chosen layer."""
        from sklearn_lntune.tuning.layers.stacked_linear import (
            LoraLayer,
            add_residual_hook,
            learnt_type,
        )

        learnt: dict[str, nn.Parameter] = {}
        for path, shapes in by_path(arrays).items():
            scale, dtype = self.alpha / self.rank, learnt_type(context.shell, path)
            low_rank = LoraLayer(shapes, scale, context.n_fits, dtype, context.generator)
            add_residual_hook(context.shell, path, low_rank)
            learnt |= {f"{path}/{name}": low_rank.get_parameter(name) for name in shapes}
        return learnt

    def taxonomy(self) -> PeftRef:
        """Describe a sum with the output of a matrix."""
        return PeftRef("linear layers", "parallel", "scaled addition")

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Add the products to the matrices of the model."""
        from sklearn_lntune.tuning.layers.merging import add_to_weight

        for path in {key.rpartition("/")[0] for key in values}:
            change = self.alpha / self.rank * values[f"{path}/B"] @ values[f"{path}/A"]
            add_to_weight(model, path, change)


#: For each target, the (site, role) of the linear layers that it means.
TARGETS: dict[str, tuple[tuple[str, str], ...]] = {
    "query": (("attention", "query"), ("attention", "qkv")),
    "key": (("attention", "key"), ("attention", "qkv")),
    "value": (("attention", "value"), ("attention", "qkv")),
    "attention.output": (("attention", "output"),),
    "ffn.input": (("ffn", "input"),),
    "ffn.output": (("ffn", "output"),),
}
