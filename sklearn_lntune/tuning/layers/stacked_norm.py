"""A norm whose gain and bias are learnt, for one fit or several side by side."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from sklearn_lntune.backbone.placement import delta_type
from sklearn_lntune.tuning.layers.grouped import expand_vector


def learn_term(shell: nn.Module, path: str, term: str, n_fits: int) -> nn.Parameter:
    """Replace ``term`` of the norm at ``path`` by a parameter with ``n_fits`` copies.

    Two methods may each learn one term of the same norm.
    """
    norm = shell.get_submodule(path)
    if not isinstance(norm, StackedNorm):
        norm = StackedNorm(norm)
        shell.set_submodule(path, norm)
    return norm.learn(term, n_fits)


class StackedNorm(nn.Module):
    """The frozen ``norm``, whose gain and bias can be learnt by several fits.

    A term that is not learnt keeps its frozen value.

    Parameters
    ----------
    norm : torch.nn.Module
        LayerNorm is computed by its formula. For any other norm (RMSNorm, NoNorm, ...), the
        forward of its class runs with the gain and bias of this module as its weights.
    """

    gain: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        for term, name in (("gain", "weight"), ("bias", "bias")):
            frozen = norm._parameters.get(name)  # noqa: SLF001 - always a Parameter or None
            fixed = None if frozen is None else frozen.detach()
            self.register_buffer(term, fixed, persistent=False)
        self.epsilon = norm.eps if type(norm) is nn.LayerNorm else None
        self._norm_type = self.gain.dtype
        # Only the forward of this copy is used, so it has no weights. The tuple keeps it out of
        # the module tree, where it would count as a norm of the backbone.
        template = copy.copy(norm)
        template.__dict__["_parameters"] = {}
        self._norm = (template,)

    def learn(self, term: str, n_fits: int) -> nn.Parameter:
        """Replace the frozen ``term`` by a parameter of shape (n_fits, size)."""
        frozen = self.get_buffer(term)
        delattr(self, term)
        start = frozen.detach().to(delta_type(frozen.dtype)).repeat(n_fits, 1)
        self.register_parameter(term, nn.Parameter(start))
        return self.get_parameter(term)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` of shape (n_rows, ..., size)."""
        if self.epsilon is None:
            return self._forward_of_class(x)
        if all(
            term is None or term.dim() == 1 or len(term) == 1 for term in (self.gain, self.bias)
        ):
            # One fit: the fused kernel is fastest. On a CPU it accepts float32 gains with
            # bfloat16 activations; on other devices it does not.
            gain, bias = (
                None if term is None else term.view(-1).to(self._kernel_type(x, term))
                for term in (self.gain, self.bias)
            )
            if gain is not None and bias is not None and gain.dtype != bias.dtype:
                gain, bias = gain.to(x.dtype), bias.to(x.dtype)
            return functional.layer_norm(x, x.shape[-1:], gain, bias, self.epsilon)
        # Several fits: the fused kernel takes one gain for all rows, so it only normalises.
        normed = functional.layer_norm(x, x.shape[-1:], None, None, self.epsilon)
        gain = self._per_row(self.gain, x).to(x.dtype)
        if self.bias is None:
            return normed * gain
        return torch.addcmul(self._per_row(self.bias, x).to(x.dtype), normed, gain)

    def _forward_of_class(self, x: torch.Tensor) -> torch.Tensor:
        # A copy for each call, since two threads may share a shell. `__dict__` bypasses the
        # checks of `nn.Module`, which refuses a plain tensor as a parameter.
        norm = copy.copy(self._norm[0])
        norm.__dict__["weight"] = self._per_row(self.gain, x).to(self._norm_type)
        if self.bias is not None:
            norm.__dict__["bias"] = self._per_row(self.bias, x).to(self._norm_type)
        return norm(x)

    @staticmethod
    def _kernel_type(x: torch.Tensor, term: torch.Tensor) -> torch.dtype:
        return term.dtype if x.device.type == "cpu" else x.dtype

    @staticmethod
    def _per_row(term: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``term`` shaped to broadcast with ``x``, each row with the value of its fit."""
        return term if term.dim() == 1 else expand_vector(term, x)
