"""Linear layers whose products are of 8-bit integers, for predictions on a CPU.

Weights are rounded once, with a scale for each output; inputs in each call, with a scale for
each token, so that what else is in a batch makes no difference to a row. Everything around
the products stays in float32: biases, norms, embeddings and what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
from torch import nn

#: The largest absolute value of an integer; symmetric, so that no offset is needed.
_MAX = 127
#: In place of zero, to divide by.
_TINY = _MAX * torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """A frozen linear layer that computes ``x @ weight.T + bias`` in integers.

    Parameters
    ----------
    layer : torch.nn.Module
        An ``nn.Linear`` in float32, or GPT-2's ``Conv1D``, which holds its matrix transposed.
    """

    bias: torch.Tensor | None
    scale: torch.Tensor
    row_sums: torch.Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        matrix = layer.get_parameter("weight").detach()
        if not isinstance(layer, nn.Linear):
            matrix = matrix.T
        scale = matrix.abs().amax(1, keepdim=True).clamp_(min=_TINY).div_(_MAX)
        whole = matrix.div(scale).round_()
        # A parameter, so that methods find it where they find that of a linear layer.
        self.weight = nn.Parameter(whole.to(torch.int8), requires_grad=False)
        self.register_parameter("bias", layer.bias)  # type: ignore[arg-type]
        self.register_buffer("scale", scale.view(-1))
        self.register_buffer("row_sums", whole.sum(1).mul_(self.scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T + bias`` in float32."""
        rows = x.reshape(-1, x.shape[-1])
        # Integers count from the middle of a token's values, most of which are far to one side of
        # zero if a single one is large, as in BERT, or if they come from a GELU.
        low, high = rows.amin(1, keepdim=True).div_(2), rows.amax(1, keepdim=True).div_(2)
        middle, scale = high + low, (high - low).clamp_(min=_TINY).div_(_MAX)
        # Not addcmul, which is slow if two of its three arguments have one value for each row.
        whole = rows.sub(middle).mul_(scale.reciprocal()).round_().to(torch.int8)
        product = torch._int_mm(whole, self.weight.T)  # noqa: SLF001 - has no other name
        # In the memory of the product, whose numbers have as many bits: new memory would take
        # as long as all the rest.
        result = product.view(torch.float32).copy_(product).mul_(self.scale).mul_(scale)
        result.addcmul_(middle, self.row_sums)
        if self.bias is not None:
            result.add_(self.bias)
        return result.view(*x.shape[:-1], -1)


def with_int8_products(shell: nn.Module, paths: Iterable[str]) -> nn.Module:
    """``shell`` with `Int8Linear` in place of the linear layers at ``paths``.

    Layers of derived classes stay: their weights may be read by other modules.
    """
    for path in paths:
        layer = shell.get_submodule(path)
        if type(layer) is nn.Linear or type(layer).__name__ == "Conv1D":
            shell.set_submodule(path, Int8Linear(layer))
    return shell


@cache
def has_exact_int8() -> bool:
    """Whether this CPU adds products of 8-bit integers without overflow, found out by a trial.

    Those without VNNI or its like may add pairs of them in 16 bits.
    """
    ones = torch.full((64, 64), _MAX, dtype=torch.int8)
    try:
        found = torch._int_mm(ones, -ones)  # noqa: SLF001 - has no other name
    except (AttributeError, RuntimeError):
        return False
    return bool((found == -len(ones) * _MAX**2).all())
