"""What happens at each step and at the end of each epoch, for any number of fits.

Every quantity of a fit stands in an array with one entry a fit, so that one fit
(driven by skorch) and many (driven in lock-step) follow the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch


def lr_factor(step: int, n_steps: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate at ``step``, counted from 0.

    Parameters
    ----------
    step, n_steps : int
    warmup : float
        Share of ``n_steps`` over which the rate rises from near zero.
    schedule : {"linear", "cosine", "constant"}
        How it falls afterwards, to zero at ``n_steps`` but for "constant".

    Examples
    --------
    >>> [lr_factor(step, 4, 0.5, "linear") for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    n_warmup = math.ceil(warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    if schedule == "constant":
        return 1.0
    done = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


def divide_gradients(parameters: Sequence[torch.Tensor], rows: int) -> None:
    """Turn gradients of a sum over ``rows`` into those of its mean."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_div_(gradients, float(rows))


def clip_gradients(
    parameters: Sequence[torch.Tensor], n_fits: int, max_norm: float | None
) -> torch.Tensor:
    """Scale each fit's gradient to at most ``max_norm`` and return its norm before.

    Returns
    -------
    torch.Tensor of shape (n_fits,)
        Not finite where a gradient is not.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = [torch.linalg.vector_norm(g.view(n_fits, -1), dim=1) for g in gradients]
    norms = torch.linalg.vector_norm(torch.stack(squares), dim=0)
    if max_norm is not None:
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.view(n_fits, -1).mul_(factors[:, None])
    return norms


def on_host(losses: torch.Tensor, norms: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient norm of each fit, in one wait for the device.

    A GPU runs behind Python; every look at a value lets it fall idle, so that a step
    looks once, at both.

    Returns
    -------
    tuple of two ndarray of float of shape (n_fits,)
        A fit goes on only while both are finite.
    """
    found = torch.stack([losses.detach(), norms.to(losses)]).cpu().numpy()
    return found[0], found[1]


@dataclass
class Progress:
    """How far each of ``n_fits`` fits has come.

    Attributes
    ----------
    step : int
        Optimiser steps taken; the same for all, since fits go in lock-step.
    best_score : ndarray of shape (n_fits,)
        Of any epoch so far, larger is better.
    best_epoch : ndarray of int of shape (n_fits,)
        The epoch it was reached in, counted from 1; 0 before the first.
    epochs_since_best : ndarray of int of shape (n_fits,)
    """

    n_fits: int
    step: int = 0
    best_score: np.ndarray = field(init=False)
    best_epoch: np.ndarray = field(init=False)
    epochs_since_best: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.best_score = np.full(self.n_fits, -np.inf)
        self.best_epoch = np.zeros(self.n_fits, dtype=int)
        self.epochs_since_best = np.zeros(self.n_fits, dtype=int)

    def note_scores(self, epoch: int, scores: np.ndarray) -> np.ndarray:
        """Take in the scores of ``epoch``; return which fits are at their best now."""
        better = scores > self.best_score
        self.best_score = np.where(better, scores, self.best_score)
        self.best_epoch = np.where(better, epoch, self.best_epoch)
        self.epochs_since_best = np.where(better, 0, self.epochs_since_best + 1)
        return better

    def out_of_patience(self, patience: int) -> np.ndarray:
        """Which fits have not improved for ``patience`` epochs."""
        return self.epochs_since_best >= patience


class Snapshot:
    """A copy of the learnt values, kept at little cost.

    Parameters
    ----------
    parameters : sequence of torch.Tensor
    """

    #: Values copied a step at most, on average; larger deltas are copied less often.
    values_per_step = 1_000_000

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        self._parameters = list(parameters)
        self._copies = [p.detach().clone() for p in parameters]
        size = sum(p.numel() for p in parameters)
        self._every = max(1, size // self.values_per_step)

    def take(self, step: int = 0) -> None:
        """Copy the values, unless ``step`` is one of those passed over."""
        if step % self._every == 0:
            torch._foreach_copy_(self._copies, [p.detach() for p in self._parameters])

    def restore(self) -> None:
        """Put the copied values back."""
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, self._copies)
