"""From NumPy to PyTorch."""

from __future__ import annotations

import numpy as np
import torch


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """``array`` as a tensor over the same memory, or over a copy if it is read-only.

    Arrays that joblib maps into its workers, or that a user has locked, are read-only; PyTorch
    has no read-only tensors, and would warn.
    """
    return torch.from_numpy(np.require(array, requirements=["W"]))
