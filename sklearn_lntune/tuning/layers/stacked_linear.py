"""What is learnt beside a frozen linear layer: a bias, a low-rank product, an adapter.

Each is a small module that is given the layer's input and output and returns what is
added to the output. It hangs on the layer by a hook, so paths in the shell stay those of
the backbone, and several add up in the order of hanging.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.placement import delta_type
from sklearn_lntune.tuning.layers.grouped import per_row, product

#: The activation functions of adapters.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


def hang(shell: nn.Module, path: str, addition: nn.Module) -> None:
    """Add ``addition(x, output)`` to the output of the layer at ``path``."""
    layer = shell.get_submodule(path)
    layer.add_module(f"learnt_{type(addition).__name__}", addition.to(_weight(layer).device))
    layer.register_forward_hook(
        lambda layer, inputs, output: output + addition(inputs[0], output).to(output.dtype)
    )


class Shift(nn.Module):
    """Elements ``felt`` of a bias, learnt in ``n_fits`` copies.

    Only what a learnt bias has more than the frozen one is added, so an untrained one
    changes no bit.
    """

    frozen: torch.Tensor
    place: torch.Tensor

    def __init__(self, layer: nn.Module, felt: np.ndarray, n_fits: int) -> None:
        super().__init__()
        frozen = layer.get_parameter("bias").detach()
        start = frozen.to(delta_type(frozen.dtype))[torch.from_numpy(felt).to(frozen.device)]
        self.bias = nn.Parameter(start.repeat(n_fits, 1))
        self.register_buffer("frozen", start, persistent=False)
        self.register_buffer("place", torch.from_numpy(np.flatnonzero(felt)), persistent=False)
        self.n_out = len(felt)

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The change of the bias, for each row."""
        change = self.bias - self.frozen
        if change.shape[1] < self.n_out:
            change = change.new_zeros(len(change), self.n_out).index_copy(1, self.place, change)
        return per_row(change, output)


class LowRank(nn.Module):
    """``scale * B @ A @ x`` with learnt A and B; B starts at zero."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        scale: float,
        n_fits: int,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.A = _spread((n_fits, *shapes["A"]), dtype, generator)
        self.B = nn.Parameter(torch.zeros(n_fits, *shapes["B"], dtype=dtype))
        self.scale = scale

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The low-rank product."""
        return self.scale * product(product(x, self.A), self.B)


class Bottleneck(nn.Module):
    """``scale * (up @ activation(down @ h))``, learnt; the way up starts at zero.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of ``down_weight``, ``down_bias``, ``up_weight`` and ``up_bias``.
    activation : str
        One of `ACTIVATIONS`.
    scale : float
    n_fits : int
    dtype : torch.dtype
    generator : torch.Generator
    source : Tap, optional
        Gives ``h``; without it, ``h`` is the layer's output.
    """

    down_bias: torch.Tensor
    up_weight: torch.Tensor
    up_bias: torch.Tensor

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        activation: str,
        scale: float,
        n_fits: int,
        dtype: torch.dtype,
        generator: torch.Generator,
        source: Tap | None = None,
    ) -> None:
        super().__init__()
        self.down_weight = _spread((n_fits, *shapes["down_weight"]), dtype, generator)
        for name in ("down_bias", "up_weight", "up_bias"):
            start = torch.zeros(n_fits, *shapes[name], dtype=dtype)
            self.register_parameter(name, nn.Parameter(start))
        self.activation = activation
        self.scale = scale
        self.source = source

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """What the adapter adds."""
        h = output if self.source is None else self.source.last()
        low = product(h, self.down_weight)
        low = ACTIVATIONS[self.activation](low + per_row(self.down_bias, low).to(low.dtype))
        high = product(low, self.up_weight)
        return self.scale * (high + per_row(self.up_bias, high).to(high.dtype))


class Tap:
    """Remembers what the layer at ``path`` reads; each thread its own, since threads share."""

    def __init__(self, shell: nn.Module, path: str) -> None:
        self._seen = threading.local()
        shell.get_submodule(path).register_forward_pre_hook(self._note)

    def last(self) -> torch.Tensor:
        """The input of the latest call in this thread."""
        seen: torch.Tensor = self._seen.x
        return seen

    def _note(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._seen.x = inputs[0]


def learnt_type(shell: nn.Module, path: str) -> torch.dtype:
    """The type of what is learnt beside the layer at ``path``."""
    return delta_type(_weight(shell.get_submodule(path)).dtype)


def _weight(layer: nn.Module) -> torch.Tensor:
    return layer.get_parameter("weight")


def _spread(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> nn.Parameter:
    """Even between plus and minus one over the root of the inputs, as linear layers begin."""
    bound = 1 / math.sqrt(shape[-1])
    return nn.Parameter(
        torch.empty(shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
    )
