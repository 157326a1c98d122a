"""A norm whose gain and bias are learnt, for one fit or several side by side."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping

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

    A term that is not learnt keeps its frozen value. Learnt values are applied in float32, or in
    float64 if everything is, so that one fit computes the same as several side by side.

    Parameters
    ----------
    norm : torch.nn.Module
        LayerNorm is computed by its formula. Of any other norm (RMSNorm, NoNorm, ...), the
        forward of its class normalises, with weights that change nothing.
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
        self._neutral = None if self.epsilon is not None else neutral_weight(norm)
        self._norm_type = self.gain.dtype
        # Only the forward of this copy is used. The tuple keeps it out of the module tree, where
        # it would count as a norm of the backbone.
        weights: dict[str, torch.Tensor] = {}
        if self._neutral is not None:
            weights["weight"] = torch.full_like(self.gain, self._neutral)
            if self.bias is not None:
                weights["bias"] = torch.zeros_like(self.bias)
        self._norm = (_with_weights(norm, weights),)

    def learn(self, term: str, n_fits: int) -> nn.Parameter:
        """Replace the frozen ``term`` by a parameter of shape (n_fits, size)."""
        frozen = self.get_buffer(term)
        delattr(self, term)
        start = frozen.detach().to(delta_type(frozen.dtype)).repeat(n_fits, 1)
        self.register_parameter(term, nn.Parameter(start))
        return self.get_parameter(term)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` of shape (n_rows, ..., size)."""
        if self.epsilon is not None:
            return self._layer_norm(x, self.epsilon)
        if self._neutral is None:
            return self._forward_of_class(x)
        if self._neutral == 0.0:
            # Gemma's norms compute in float32 whatever the type is, and round at the end.
            return self._applied(self._norm[0](x.float()), offset=1.0).to(x.dtype)
        normed = self._norm[0](x)
        return self._applied(normed).to(normed.dtype)

    def _layer_norm(self, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        kind = delta_type(x.dtype)
        terms = (self.gain, self.bias)
        if all(term is None or term.dim() == 1 or len(term) == 1 for term in terms):
            # One fit: the fused kernel is fastest. On a CPU it accepts gains in float32 with
            # activations in bfloat16; on other devices it does not.
            gain, bias = (None if term is None else term.view(-1).to(kind) for term in terms)
            read = x if x.device.type == "cpu" else x.to(kind)
            return functional.layer_norm(read, x.shape[-1:], gain, bias, epsilon).to(x.dtype)
        # Several fits: the fused kernel takes one gain for all rows, so it only normalises.
        normed = functional.layer_norm(x.to(kind), x.shape[-1:], None, None, epsilon)
        return self._applied(normed).to(x.dtype)

    def _applied(self, normed: torch.Tensor, offset: float = 0.0) -> torch.Tensor:
        """``normed`` times gain plus bias, in the type of learnt values."""
        kind = delta_type(normed.dtype)
        gain = self._per_row(self.gain, normed).to(kind)
        if offset:
            gain = gain + offset
        if self.bias is None:
            return normed * gain
        return torch.addcmul(self._per_row(self.bias, normed).to(kind), normed.to(kind), gain)

    def _forward_of_class(self, x: torch.Tensor) -> torch.Tensor:
        """For a norm that uses its weight in some other way: its forward, with that of the fits."""
        weights = {"weight": self._per_row(self.gain, x).to(self._norm_type)}
        if self.bias is not None:
            weights["bias"] = self._per_row(self.bias, x).to(self._norm_type)
        # A copy for each call, since two threads may share a shell.
        return _with_weights(self._norm[0], weights)(x)

    @staticmethod
    def _per_row(term: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``term`` shaped to broadcast with ``x``, each row with the value of its fit."""
        return term if term.dim() == 1 else expand_vector(term, x)


def neutral_weight(norm: nn.Module) -> float | None:
    """The weight with which ``norm`` only normalises, found out by a trial.

    Returns
    -------
    float or None
        1.0 if it multiplies by its weight, as LlamaRMSNorm; 0.0 if by one plus its weight, as
        GemmaRMSNorm; None if it does something else.
    """
    settings = [
        (name, value) for name, value in vars(norm).items() if isinstance(value, int | float | str)
    ]
    key = (type(norm), *sorted(settings))
    if key not in _NEUTRAL:
        _NEUTRAL[key] = _tried(norm)
    return _NEUTRAL[key]


_NEUTRAL: dict[Hashable, float | None] = {}


def _tried(norm: nn.Module) -> float | None:
    shapes = {name: w.shape for name, w in norm._parameters.items() if w is not None}  # noqa: SLF001
    x = torch.linspace(-1.0, 2.0, shapes["weight"][-1])[None]
    found = []
    for weight in (0.0, 1.0, 2.0):
        values = {name: torch.zeros(shape) for name, shape in shapes.items()}
        values["weight"] += weight
        try:
            with torch.no_grad():
                found.append(_with_weights(norm, values)(x))
        except Exception:  # whatever code from elsewhere raises
            return None
    zero, one, two = found
    if not zero.any() and torch.allclose(two, 2 * one):
        return 1.0
    if torch.allclose(one, 2 * zero) and torch.allclose(two, 3 * zero):
        return 0.0
    return None


def _with_weights(norm: nn.Module, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy of ``norm`` that has ``weights``."""
    copied = copy.copy(norm)
    # `nn.Module` would refuse a plain tensor as a parameter.
    copied.__dict__["_parameters"] = {}
    copied.__dict__.update(weights)
    return copied
