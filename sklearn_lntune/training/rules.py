"""The operations of a step and of the end of an epoch, for any number of fits.

Every quantity is an array with one entry per fit, so that one fit (driven by skorch) and
many (driven in lock-step) follow the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sklearn_lntune.exceptions import TrainingDivergedError
from sklearn_lntune.inputs.batches import moved
from sklearn_lntune.network import Batch
from sklearn_lntune.task import Task


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


def set_lr(optimizer: torch.optim.Optimizer, factor: float | torch.Tensor) -> None:
    """Set each group's learning rate to ``factor`` of its peak; one per fit, or one for all."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


def row_losses(
    task: Task, outputs: torch.Tensor, batch: Batch, *, training: bool = True
) -> torch.Tensor:
    """Weighted loss of each row of ``batch``."""
    assert batch.targets is not None
    assert batch.weights is not None
    return task.loss(outputs, batch.targets, training=training) * batch.weights


def divide_gradients(parameters: Sequence[torch.Tensor], rows: torch.Tensor) -> None:
    """Turn each fit's gradient of a sum over its ``rows`` into that of the mean.

    Parameters
    ----------
    parameters : sequence of torch.Tensor of shape (n_fits, ...)
    rows : torch.Tensor of shape (n_fits,)
    """
    for gradient in _gradients(parameters):
        gradient.view(len(rows), -1).div_(rows[:, None])


def clip_gradients(parameters: Sequence[torch.Tensor], max_norms: torch.Tensor) -> torch.Tensor:
    """Scale each fit's gradient to at most its norm in ``max_norms``; infinity does not scale.

    Parameters
    ----------
    parameters : sequence of torch.Tensor of shape (n_fits, ...)
    max_norms : torch.Tensor of shape (n_fits,)

    Returns
    -------
    torch.Tensor of shape (n_fits,)
        Each norm before. Not finite where a gradient is not.
    """
    n_fits = len(max_norms)
    gradients = [gradient.view(n_fits, -1) for gradient in _gradients(parameters)]
    parts = [torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients]
    norms = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    # A gradient that is not finite is left alone: the norm tells the caller.
    factors = (max_norms / (norms + 1e-6)).clamp(max=1.0).nan_to_num(nan=1.0)
    for gradient in gradients:
        gradient.mul_(factors[:, None])
    return norms


def _gradients(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [weight.grad for weight in parameters if weight.grad is not None]


def on_host(losses: torch.Tensor, norms: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient norm of each fit, in one wait for the device.

    A GPU runs asynchronously, and every access to a value lets it run dry. So a step makes a
    single access, to both at once.

    Returns
    -------
    tuple of two ndarray of float of shape (n_fits,)
        A fit continues only while both are finite.
    """
    found = torch.stack([losses.detach(), norms.to(losses)]).cpu().numpy()
    return found[0], found[1]


def finite_fits(parameters: Sequence[torch.Tensor], n_fits: int) -> torch.Tensor:
    """Whether all values of a fit are finite, for each fit.

    Parameters
    ----------
    parameters : sequence of torch.Tensor of shape (n_fits, ...)
    n_fits : int

    Returns
    -------
    torch.Tensor of bool of shape (n_fits,)
        On the device.
    """
    finite = [weight.detach().isfinite().view(n_fits, -1).all(dim=1) for weight in parameters]
    return torch.stack(finite).all(dim=0)


@dataclass
class Progress:
    """How far each of ``n_fits`` fits has come.

    Attributes
    ----------
    step : int
        Optimiser steps taken; the same for all that have not ended, since they go in
        lock-step.
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

    def note_scores(
        self, epoch: int, scores: np.ndarray, scored: np.ndarray | None = None
    ) -> np.ndarray:
        """Take in the scores of ``epoch``; return which fits are at their best now.

        ``scored`` says which fits have one, by default all. A score that is not finite tells
        nothing: the epoch is neither the best nor one without improvement.
        """
        scored = np.isfinite(scores) if scored is None else scored & np.isfinite(scores)
        better = scored & (scores > self.best_score)
        self.best_score = np.where(better, scores, self.best_score)
        self.best_epoch = np.where(better, epoch, self.best_epoch)
        self.epochs_since_best = np.where(better, 0, self.epochs_since_best + scored)
        return better

    def out_of_patience(self, patience: int) -> np.ndarray:
        """Which fits have not improved for ``patience`` epochs."""
        return self.epochs_since_best >= patience


class Snapshot:
    """A copy of the learnt values, updated at little cost.

    Parameters
    ----------
    parameters : sequence of torch.Tensor of shape (n_fits, ...)
    n_fits : int

    Attributes
    ----------
    copies : list of torch.Tensor
        In the order of ``parameters``.
    """

    #: Largest average number of values copied per step; larger deltas are copied less often.
    values_per_step = 1_000_000

    def __init__(self, parameters: Sequence[torch.Tensor], n_fits: int = 1) -> None:
        self._parameters = list(parameters)
        self.copies = [p.detach().clone() for p in parameters]
        self._n_fits = n_fits
        size = sum(p.numel() for p in parameters) // n_fits
        self._every = max(1, size // self.values_per_step)

    def take(self, step: int = 0, fits: np.ndarray | None = None) -> None:
        """Copy the values, unless ``step`` is skipped to save time.

        ``fits`` is a mask of the fits to copy, by default all.
        """
        if step % self._every == 0:
            _copy(self._parameters, self.copies, self._n_fits, fits)

    def restore(self, fits: np.ndarray | None = None) -> None:
        """Put the copied values back."""
        _copy(self.copies, self._parameters, self._n_fits, fits)


def _copy(
    sources: Sequence[torch.Tensor],
    targets: Sequence[torch.Tensor],
    n_fits: int,
    fits: np.ndarray | None,
) -> None:
    with torch.no_grad():
        if fits is None or fits.all():
            torch._foreach_copy_(list(targets), [source.detach() for source in sources])
            return
        at = moved(torch.from_numpy(np.flatnonzero(fits)), targets[0].device)
        for source, target in zip(sources, targets, strict=True):
            target.view(n_fits, -1)[at] = source.view(n_fits, -1)[at]


def divergence(what: str, epoch: int, step: int, lr: float) -> TrainingDivergedError:
    """The error that tells of ``what`` in ``step``, counted from 1, of ``epoch``."""
    return TrainingDivergedError(
        f"{what} in epoch {epoch}, step {step}, at a learning rate of {lr:.3g}. The last good "
        "delta is kept. Try a lower lr, a longer warmup, a smaller max_grad_norm, or "
        "precision='float32'."
    )
