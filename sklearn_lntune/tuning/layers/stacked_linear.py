"""Learnt additions to a frozen linear layer: a bias, a low-rank product, an adapter.

Each is a small module that takes the layer's input and output and returns a term to add to
the output. A forward hook calls it, rather than a module that wraps the layer, so that paths
in the shell stay those of the backbone; several hooks on one layer run in the order in which
they were added.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.placement import delta_type
from sklearn_lntune.tuning.base import AttachContext
from sklearn_lntune.tuning.layers.grouped import batched_linear, expand_vector

#: The activation functions of adapters.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


def add_residual_hook(shell: nn.Module, path: str, addition: nn.Module) -> None:
    """Add ``addition(x, output)`` to the output of the layer at ``path``."""
    layer = shell.get_submodule(path)
    n_before = sum(1 for _ in layer.children())  # two additions may have the same class
    name = f"learnt_{n_before}_{type(addition).__name__}"
    layer.add_module(name, addition.to(_weight(layer).device))
    layer.register_forward_hook(
        lambda layer, inputs, output: output + addition(inputs[0], output).to(output.dtype)
    )


def learn_vectors(
    context: AttachContext,
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
    starts: Mapping[str, float],
    change: Callable[..., torch.Tensor],
) -> dict[str, nn.Parameter]:
    """Learn vectors that change the output of the linear layer at ``path``.

    Parameters
    ----------
    context : AttachContext
    path : str
    shapes : mapping of str to tuple of int
        Shape of each vector, (size,), by name.
    starts : mapping of str to float
        Initial values.
    change : callable
        ``change(output, **vectors)`` returns the term to add to ``output``; the vectors
        broadcast with it, each row with those of its fit.

    Returns
    -------
    dict of str to torch.nn.Parameter
        By the names in ``shapes``, of shape (n_fits, size).
    """
    dtype = learnt_type(context.shell, path)
    vectors = LearnedVectors(
        {
            name: torch.full((context.n_fits, *shape), starts[name], dtype=dtype)
            for name, shape in shapes.items()
        },
        change,
    )
    add_residual_hook(context.shell, path, vectors)
    return dict(vectors.named_parameters())


class LearnedVectors(nn.Module):
    """Vectors in ``n_fits`` copies, and their change of a layer's output."""

    def __init__(
        self, starts: Mapping[str, torch.Tensor], change: Callable[..., torch.Tensor]
    ) -> None:
        super().__init__()
        for name, start in starts.items():
            self.register_parameter(name, nn.Parameter(start))
        self.names = tuple(starts)
        self.change = change

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The term to add to ``output``."""
        vectors = {name: expand_vector(getattr(self, name), output) for name in self.names}
        return self.change(output, **vectors)


class LearnedBias(nn.Module):
    """The elements ``active`` of a layer's bias, learnt in ``n_fits`` copies.

    It adds the difference between the learnt bias and the frozen one, so that an untrained
    bias changes not a single bit of the output.
    """

    frozen: torch.Tensor
    place: torch.Tensor

    def __init__(self, layer: nn.Module, active: np.ndarray, n_fits: int) -> None:
        super().__init__()
        frozen = layer.get_parameter("bias").detach()
        start = frozen.to(delta_type(frozen.dtype))[torch.from_numpy(active).to(frozen.device)]
        self.bias = nn.Parameter(start.repeat(n_fits, 1))
        self.register_buffer("frozen", start, persistent=False)
        self.register_buffer("place", torch.from_numpy(np.flatnonzero(active)), persistent=False)
        self.n_out = len(active)

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The difference from the frozen bias, for each row."""
        change = self.bias - self.frozen
        if change.shape[1] < self.n_out:
            change = change.new_zeros(len(change), self.n_out).index_copy(1, self.place, change)
        return expand_vector(change, output)


class LoraLayer(nn.Module):
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
        self.A = _uniform((n_fits, *shapes["A"]), dtype, generator)
        self.B = nn.Parameter(torch.zeros(n_fits, *shapes["B"], dtype=dtype))
        self.scale = scale

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The low-rank product."""
        return self.scale * batched_linear(batched_linear(x, self.A), self.B)


class AdapterLayer(nn.Module):
    """``scale * (up @ activation(down @ h))``, learnt; ``up`` starts at zero.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of ``down_weight``, ``down_bias``, ``up_weight`` and ``up_bias``.
    activation : str
        One of `ACTIVATIONS`.
    scale : float
    n_fits : int
    dtype : torch.dtype
    generator : torch.Generator
    source : InputRecorder, optional
        Provides ``h``; without it, ``h`` is the layer's output.
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
        source: InputRecorder | None = None,
    ) -> None:
        super().__init__()
        self.down_weight = _uniform((n_fits, *shapes["down_weight"]), dtype, generator)
        for name in ("down_bias", "up_weight", "up_bias"):
            start = torch.zeros(n_fits, *shapes[name], dtype=dtype)
            self.register_parameter(name, nn.Parameter(start))
        self.activation = activation
        self.scale = scale
        self.source = source

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The term to add to ``output``."""
        h = output if self.source is None else self.source.last()
        low = batched_linear(h, self.down_weight)
        low = ACTIVATIONS[self.activation](low + expand_vector(self.down_bias, low).to(low.dtype))
        high = batched_linear(low, self.up_weight)
        return self.scale * (high + expand_vector(self.up_bias, high).to(high.dtype))


class InputRecorder:
    """Records the input of the layer at ``path``, per thread, since threads share shells."""

    def __init__(self, shell: nn.Module, path: str) -> None:
        self._seen = threading.local()
        shell.get_submodule(path).register_forward_pre_hook(self._record)

    def last(self) -> torch.Tensor:
        """The input of the latest call in this thread."""
        seen: torch.Tensor = self._seen.x
        return seen

    def _record(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._seen.x = inputs[0]


def learnt_type(shell: nn.Module, path: str) -> torch.dtype:
    """The type of the parameters learnt beside the layer at ``path``."""
    return delta_type(_weight(shell.get_submodule(path)).dtype)


def _weight(layer: nn.Module) -> torch.Tensor:
    return layer.get_parameter("weight")


def _uniform(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> nn.Parameter:
    """Uniform between plus and minus ``n_in ** -0.5``, as PyTorch initialises linear layers."""
    bound = 1 / math.sqrt(shape[-1])
    return nn.Parameter(
        torch.empty(shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
    )
