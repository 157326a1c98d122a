"""Arithmetic for several fits side by side.

A batch is ``n_fits`` equal groups of rows, and a learnt array has a leading axis of fits:
each group of rows meets its own values.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def per_row(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` of shape (n_fits, size), shaped to meet ``x`` of shape (n_rows, ..., size)."""
    if len(values) == 1:
        return values[0]
    return rows_of(values, x).view(len(x), *(1,) * (x.dim() - 2), -1)


def rows_of(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` of shape (n_fits, ...), repeated to one entry a row of ``x``."""
    if len(values) == 1:
        return values.expand(x.shape[0], *values.shape[1:])
    return values.repeat_interleave(_group_size(len(values), x), dim=0)


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T``, each group of rows with its own weight.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, ..., n_in)
    weight : torch.Tensor of shape (n_fits, n_out, n_in)
        Met in the type of ``x``.
    """
    weight = weight.to(x.dtype)
    if len(weight) == 1:
        return functional.linear(x, weight[0])
    _group_size(len(weight), x)  # raises where the rows do not fall into groups
    groups = x.reshape(len(weight), -1, x.shape[-1])
    return torch.bmm(groups, weight.mT).view(*x.shape[:-1], -1)


def _group_size(n_fits: int, x: torch.Tensor) -> int:
    """Rows of ``x`` a fit."""
    if len(x) % n_fits:
        raise ValueError(
            f"{n_fits} fits cannot share a layer that reads {len(x)} rows; it reads something "
            "other than the batch (DeBERTa's relative positions)."
        )
    return len(x) // n_fits
