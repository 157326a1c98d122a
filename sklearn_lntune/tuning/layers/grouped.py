"""Arithmetic for several fits side by side: each row uses the values of its fit.

Learnt arrays have a leading axis of fits. `fit_assignment` sets which fit each row of the
batch belongs to; without it, the batch consists of ``n_fits`` groups of the same size. The
assignment is ambient rather than an argument, since the layers are called by the forward of
the model, which could not pass it on.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch.nn import functional

# Per thread, since threads share shells.
_running = threading.local()


@contextlib.contextmanager
def fit_assignment(fits: torch.Tensor | None) -> Iterator[None]:
    """Assign row ``i`` of each batch to fit ``fits[i]`` in this context.

    Parameters
    ----------
    fits : torch.Tensor of int64 of shape (n_rows,), or None
        None splits the rows into equal groups.
    """
    before = getattr(_running, "fits", None)
    _running.fits = fits
    try:
        yield
    finally:
        _running.fits = before


def expand_vector(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` of shape (n_fits, size), shaped to broadcast with ``x`` (n_rows, ..., size)."""
    if len(values) == 1:
        return values[0]
    return expand_rows(values, x).view(len(x), *(1,) * (x.dim() - 2), -1)


def expand_rows(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` of shape (n_fits, ...), with one entry per row of ``x``."""
    if len(values) == 1:
        return values.expand(x.shape[0], *values.shape[1:])
    fits = _fits_of(x)
    if fits is None:
        return values.repeat_interleave(_group_size(len(values), x), dim=0)
    return values.index_select(0, fits)


def batched_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T``, each row with the weight of its fit.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, ..., n_in)
    weight : torch.Tensor of shape (n_fits, n_out, n_in)
        Converted to the type of ``x``.
    """
    if len(weight) == 1:
        return functional.linear(x, weight[0].to(x.dtype))
    fits = _fits_of(x)
    if fits is None:
        _group_size(len(weight), x)  # raises if the rows do not split into groups
    else:
        weight = weight.index_select(0, fits)
    groups = x.reshape(len(weight), -1, x.shape[-1])
    return torch.bmm(groups, weight.to(x.dtype).mT).view(*x.shape[:-1], -1)


def _fits_of(x: torch.Tensor) -> torch.Tensor | None:
    """The fit of each row of ``x``; None outside of `fit_assignment`."""
    fits: torch.Tensor | None = getattr(_running, "fits", None)
    if fits is not None and len(fits) != len(x):
        raise NotStackableError(len(x))
    return fits


def _group_size(n_fits: int, x: torch.Tensor) -> int:
    """Rows of ``x`` per fit."""
    if len(x) % n_fits:
        raise NotStackableError(len(x))
    return len(x) // n_fits


class NotStackableError(ValueError):
    """A layer reads something other than the rows of the batch."""

    def __init__(self, n_rows: int) -> None:
        super().__init__(
            f"several fits cannot share a layer that reads {n_rows} rows; it reads something other "
            "than the batch (DeBERTa's relative positions)."
        )
