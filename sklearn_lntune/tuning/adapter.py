"""Train small bottleneck networks at the outputs of the attention and feed-forward network.

Houlsby et al. (2019), "Parameter-Efficient Transfer Learning for NLP", arXiv 1902.00751;
Pfeiffer et al. (2021), "AdapterFusion", arXiv 2005.00247; for parallel, scaled adapters
He et al. (2022), "Towards a Unified View of Parameter-Efficient Transfer Learning",
arXiv 2110.04366.
"""

from __future__ import annotations

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
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy, Linear

#: The same names as in `stacked_linear`, which cannot be imported here because it needs torch.
_ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
_SITES = {"attention": ("attention",), "ffn": ("ffn",), "both": ("attention", "ffn")}


class AdapterTuning(TuningMethod):
    """Adapters: learn ``scale * up(activation(down(h)))``, added before the residual sum.

    The initial adapter is exactly zero, since ``up`` is.

    Parameters
    ----------
    size : int, default=16
        Width of the bottleneck.
    sites : {"attention", "ffn", "both"}, default="attention"
        At the output projection of the attention, of the feed-forward network, or of
        both. Qi et al. found that ``"ffn"`` does harm in a sum with LayerNorm tuning.
    insertion : {"sequential", "parallel"}, default="sequential"
        Whether the adapter's input is the output of the projection (Houlsby, Pfeiffer),
        or the input of the attention or feed-forward network (He).
    scale : float, default=1.0
        Factor of the adapter's output; He et al. use 4 for parallel adapters.
    activation : {"relu", "gelu", "silu", "tanh"}, default="gelu"
        Activation function of the bottleneck.
    layers : "all", int, range or sequence of int, default="all"
        Which blocks; negative numbers count from the top, an int k means the top k.

    References
    ----------
    N. Houlsby and others (2019). Parameter-Efficient Transfer Learning for NLP.
    arXiv:1902.00751. J. He and others (2022). Towards a Unified View of
    Parameter-Efficient Transfer Learning. arXiv:2110.04366.

    Examples
    --------
    >>> from sklearn_lntune.tuning import AdapterTuning
    >>> AdapterTuning(64, sites="ffn", insertion="parallel", scale=4.0)
    AdapterTuning(insertion='parallel', scale=4.0, sites='ffn', size=64)
    """

    name = "adapter"
    default_lr = 2e-3  # benchmarks/methods.py
    attach_order = 50

    def __init__(
        self,
        size: int = 16,
        *,
        sites: str = "attention",
        insertion: str = "sequential",
        scale: float = 1.0,
        activation: str = "gelu",
        layers: Any = "all",
    ) -> None:
        self.size = size
        self.sites = sites
        self.insertion = insertion
        self.scale = scale
        self.activation = activation
        self.layers = layers

    def check_arguments(self) -> None:
        """Check all arguments but the depth of the backbone."""
        check_number("size", self.size, integer=True, low=1, high=MAX_SIZE)
        check_choice("sites", self.sites, tuple(_SITES))
        check_choice("insertion", self.insertion, ("sequential", "parallel"))
        check_choice("activation", self.activation, _ACTIVATIONS)
        check_number("scale", self.scale, open_low=True)
        check_layers(self.layers)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Down to ``size``, and up again."""
        size = self.size
        return {
            "down_weight": (size, None),
            "down_bias": (size,),
            "up_weight": (None, size),
            "up_bias": (None,),
        }

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Weights and biases, down and up, at each chosen projection."""
        self.check_arguments()
        size = self.size
        outputs = [linear for linear in anatomy.linears if linear.role == "output"]
        chosen = anatomy.select(outputs, self.layers, _SITES[self.sites], "output projection")
        width = {
            linear.path: self._source(anatomy, linear)[1]
            if self.insertion == "parallel"
            else linear.n_out
            for linear in chosen
        }
        return tuple(
            Array(linear.path, name, linear.site, linear.block, shape)
            for linear in chosen
            for name, shape in (
                ("down_weight", (size, width[linear.path])),
                ("down_bias", (size,)),
                ("up_weight", (linear.n_out, size)),
                ("up_bias", (linear.n_out,)),
            )
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Add an adapter at each chosen projection."""
        from sklearn_lntune.tuning.layers.stacked_linear import (
            AdapterLayer,
            InputRecorder,
            add_residual_hook,
            learnt_type,
        )

        linears = {linear.path: linear for linear in context.anatomy.linears}
        learnt: dict[str, nn.Parameter] = {}
        for path, shapes in by_path(arrays).items():
            recorder = None
            if self.insertion == "parallel":
                source, _ = self._source(context.anatomy, linears[path])
                recorder = InputRecorder(context.shell, source)
            adapter = AdapterLayer(
                shapes,
                self.activation,
                self.scale,
                context.n_fits,
                learnt_type(context.shell, path),
                context.generator,
                recorder,
            )
            add_residual_hook(context.shell, path, adapter)
            learnt |= {f"{path}/{name}": adapter.get_parameter(name) for name in shapes}
        return learnt

    def taxonomy(self) -> PeftRef:
        """Describe an adapter after a sub-layer, or parallel to it."""
        where = {"attention": "attention", "ffn": "feed-forward", "both": "attention, feed-forward"}
        scaled = "scaled addition" if self.scale != 1 else "direct addition"
        return PeftRef(f"{where[self.sites]} output", self.insertion, scaled)

    def sum_warning(self, others: tuple[TuningMethod, ...]) -> str | None:
        """Warn of adapters at the feed-forward output in a sum with LayerNorm tuning."""
        beside_norms = any(method.name == "layernorm" for method in others)
        if self.sites not in ("ffn", "both") or not beside_norms:
            return None
        return (
            "tuning adds adapters at the feed-forward output to LayerNorm tuning. Qi et al. (2022, "
            "arXiv:2211.08682, section 5) found that this sum does worse than the adapters alone; "
            "AdapterTuning(sites='attention') is the one that gains."
        )

    @staticmethod
    def _source(anatomy: Anatomy, output: Linear) -> tuple[str, int]:
        """Path and width of the layer that reads what the sub-layer of ``output`` reads."""
        # In attention, the value projection: DeBERTa calls query and key on positions as well.
        readers = [
            linear
            for linear in anatomy.linears
            if (linear.site, linear.block) == (output.site, output.block)
            and linear.role in (("value", "qkv") if output.site == "attention" else ("input",))
        ]
        if not readers:
            raise ValueError(
                f"insertion='parallel' is not possible for {anatomy.model}: the layout of its "
                f"{output.site} is unknown. Use 'sequential'."
            )
        return readers[0].path, readers[0].n_in
