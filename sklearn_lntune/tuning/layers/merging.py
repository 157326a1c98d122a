"""Write learnt values into the weights of a private model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sklearn_lntune.tensors import tensor_of


def set_weight(
    model: nn.Module, path: str, name: str, value: np.ndarray, where: np.ndarray | None = None
) -> None:
    """Give the parameter ``name`` of the module at ``path`` the values of ``value``.

    With ``where``, a boolean mask, only the elements that it selects are set.
    """
    weight = model.get_submodule(path).get_parameter(name)
    new = tensor_of(value).to(weight)
    with torch.no_grad():
        if where is None:
            weight.copy_(new)
        else:
            weight[torch.from_numpy(where).to(weight.device)] = new


def scale_and_shift(
    model: nn.Module, path: str, scale: np.ndarray | None, shift: np.ndarray | None
) -> None:
    """Make the linear layer at ``path`` return ``scale * y + shift`` for its output ``y``.

    A shift requires a layer with a bias.
    """
    layer = model.get_submodule(path)
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    with torch.no_grad():
        if scale is not None:
            factor = torch.from_numpy(scale)
            # GPT-2's Conv1D holds its matrix transposed.
            by_output = factor[:, None] if isinstance(layer, nn.Linear) else factor
            weight.copy_(weight.to(factor.dtype) * by_output)
            if bias is not None:
                bias.copy_(bias.to(factor.dtype) * factor)
        if bias is not None and shift is not None:
            added = torch.from_numpy(shift)
            bias.copy_(bias.to(added.dtype) + added)


def add_to_weight(model: nn.Module, path: str, change: np.ndarray) -> None:
    """Add ``change`` of shape (n_out, n_in) to the matrix of the linear layer at ``path``."""
    layer = model.get_submodule(path)
    weight = layer.get_parameter("weight")
    transposed = not isinstance(layer, nn.Linear)  # GPT-2's Conv1D holds its matrix transposed
    with torch.no_grad():
        added = tensor_of(change.T if transposed else change)
        weight.copy_(weight.to(added.dtype) + added)
