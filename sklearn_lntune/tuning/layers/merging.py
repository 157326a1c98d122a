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


def add_to_weight(model: nn.Module, path: str, change: np.ndarray) -> None:
    """Add ``change`` of shape (n_out, n_in) to the matrix of the linear layer at ``path``."""
    layer = model.get_submodule(path)
    weight = layer.get_parameter("weight")
    transposed = not isinstance(layer, nn.Linear)  # GPT-2's Conv1D holds its matrix transposed
    with torch.no_grad():
        added = tensor_of(change.T if transposed else change)
        weight.copy_(weight.to(added.dtype) + added)
