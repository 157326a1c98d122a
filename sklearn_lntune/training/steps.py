"""The order of operations in a step and an epoch, for one fit or several in one network.

skorch's net drives it for one fit, the stacked trainer for many. `rules` has the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from sklearn_lntune.exceptions import TrainingDivergedError
from sklearn_lntune.inputs.batches import moved
from sklearn_lntune.network import Network
from sklearn_lntune.training.optimizer import Moments, build_optimizer, load_moments, moments_of
from sklearn_lntune.training.rules import (
    Progress,
    Snapshot,
    clip_gradients,
    divergence,
    divide_gradients,
    finite_fits,
    lr_factor,
    on_host,
    set_lr,
)
from sklearn_lntune.training.settings import Settings

#: Messages about errors found after a step.
BAD_OUTPUT = "the output for a validation row is not finite after the last step"
BAD_VALUES = "the loss or a learnt value is not finite after the last step"


class Steps:
    """Takes the optimiser steps of a network, and remembers earlier values.

    Parameters
    ----------
    network : Network
    settings : sequence of Settings
        Of each fit in the network.
    n_steps : sequence of int
        Steps that the schedule of each fit spans.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
    progress : Progress
    last_good, best : Snapshot
        Values before the latest step, and of the best epoch.
    active : ndarray of bool of shape (n_fits,)
        Fits that have not ended.
    n_epochs : ndarray of int of shape (n_fits,)
        Epochs that each fit has finished.
    """

    def __init__(
        self, network: Network, settings: Sequence[Settings], n_steps: Sequence[int]
    ) -> None:
        self.network = network
        self.parameters = list(network.learnt.values())
        self.optimizer = build_optimizer(network, settings)
        n_fits = len(settings)
        self.progress = Progress(n_fits)
        self.last_good = Snapshot(self.parameters, n_fits)
        self.best = Snapshot(self.parameters, n_fits)
        self.active = np.ones(n_fits, dtype=bool)
        self.n_epochs = np.zeros(n_fits, dtype=int)
        self._in_epoch = np.zeros(n_fits, dtype=bool)
        self._settings = settings
        self._n_steps = n_steps

    @property
    def going(self) -> list[int]:
        """The fits that have not ended."""
        return np.flatnonzero(self.active).tolist()

    def step(
        self,
        losses: torch.Tensor,
        rows: Sequence[float],
        failed: Callable[[int, TrainingDivergedError], None],
        before_clipping: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Move every active fit by its accumulated gradient.

        Parameters
        ----------
        losses : torch.Tensor of shape (n_fits,)
            Summed over the rows of the step.
        rows : sequence of float, one per fit
            Number of these rows; 1 for a fit that has ended.
        failed : callable
            Called before the step with each fit that ends because its loss or gradient is not
            finite, and the error.
        before_clipping : callable
            Called when the gradients have been divided by the number of rows.

        Returns
        -------
        ndarray of shape (n_fits,)
            Mean losses, on the host.
        """
        self._in_epoch |= self.active
        factors = [
            self.factor(fit, self.progress.step) if going else 0.0
            for fit, going in enumerate(self.active)
        ]
        n_rows, bounds, by_fit = self._on_device(rows, factors)
        divide_gradients(self.parameters, n_rows)
        before_clipping()
        norms = clip_gradients(self.parameters, bounds)
        # The only synchronisation with the device in a step.
        means, lengths = on_host(losses / n_rows, norms)
        for fit in self.going:
            if not np.isfinite(means[fit]):
                failed(fit, self.fail(fit, f"the loss is {means[fit]}"))
            elif not np.isfinite(lengths[fit]):
                failed(fit, self.fail(fit, "the gradient is not finite"))
        if self.active.any():
            self.last_good.take(self.progress.step, self.active)
            self._hold_still(by_fit)
            set_lr(self.optimizer, by_fit if len(factors) > 1 else factors[0])
            self.optimizer.step()
            self.progress.step += 1
        self.optimizer.zero_grad()
        return means

    def factor(self, fit: int, step: int) -> float:
        """Share of the peak learning rates of ``fit`` at ``step``."""
        settings = self._settings[fit]
        return lr_factor(step, self._n_steps[fit], settings.warmup, settings.schedule)

    def end_epoch(self, fit: int, score: float | None) -> bool:
        """Record the score of an epoch of ``fit``; return whether its patience is exhausted."""
        self.n_epochs[fit] += 1
        self._in_epoch[fit] = False
        settings = self._settings[fit]
        if score is None or not settings.early_stopping:
            return False
        only = self._only(fit)
        scores = np.where(only, score, -np.inf)
        if self.progress.note_scores(int(self.n_epochs[fit]), scores, only)[fit]:
            self.best.take(fits=only)
        return bool(self.progress.out_of_patience(settings.patience)[fit])

    def check_values(self, losses: Mapping[int, torch.Tensor]) -> dict[int, TrainingDivergedError]:
        """Check the values after the last steps of some fits, as a following step would.

        Parameters
        ----------
        losses : mapping of int to torch.Tensor
            A loss of each fit, computed with its current values.

        Returns
        -------
        dict of int to TrainingDivergedError
            Fits that have ended because the loss or a value is not finite.
        """
        if not losses:
            return {}
        finite = finite_fits(self.parameters, len(self.active))[list(losses)]
        finite &= torch.stack(list(losses.values())).isfinite().to(finite.device)
        good = dict(zip(losses, finite.tolist(), strict=True))
        return {fit: self.fail(fit, BAD_VALUES, after_step=True) for fit in losses if not good[fit]}

    def fail(self, fit: int, what: str, *, after_step: bool = False) -> TrainingDivergedError:
        """End ``fit`` with its last good values; return the error to raise.

        ``after_step`` means that the latest step caused the failure; otherwise it happened in
        the current one.
        """
        self.last_good.restore(self._only(fit))
        self.progress.best_epoch[fit] = 0  # so that `settle` keeps the last good values
        self.active[fit] = False
        taken = self.progress.step
        rate = max(self._settings[fit].rates.values())
        # The rates of the current step are not set yet; the values come from the step before.
        lr = rate * (self.factor(fit, taken - 1) if taken else 1.0)
        epoch = int(self.n_epochs[fit]) + int(self._in_epoch[fit])
        return divergence(what, epoch, taken + (not after_step), lr)

    def has_best(self, fit: int) -> bool:
        """Whether ``fit`` ends with the values of its best epoch."""
        return bool(self._settings[fit].early_stopping and self.progress.best_epoch[fit])

    def settle(self, fit: int) -> None:
        """End ``fit`` with its best values, or else the latest."""
        if self.has_best(fit):
            self.best.restore(self._only(fit))
        self.active[fit] = False

    def moments(self, fit: int) -> Moments:
        """The optimiser's state of ``fit``, from which a later fit can continue."""
        return moments_of(self.optimizer, self.network, fit)

    def load_moments(self, moments: Sequence[Moments | None]) -> None:
        """Restore the optimiser's state of each fit."""
        load_moments(self.optimizer, self.network, moments)

    def _only(self, fit: int) -> np.ndarray:
        return np.arange(len(self.active)) == fit

    def _on_device(self, rows: Sequence[float], factors: Sequence[float]) -> torch.Tensor:
        """Numbers of rows, largest norms and rate factors, in one asynchronous transfer."""
        bounds = [settings.max_grad_norm or np.inf for settings in self._settings]
        values = [list(rows), bounds, list(factors)]
        return moved(torch.tensor(values, dtype=self.network.delta_type), self.network.device)

    def _hold_still(self, factors: torch.Tensor) -> None:
        """Keep the values of ended fits: at a rate and a gradient of zero AdamW moves nothing."""
        if self.active.all():
            return
        ended = moved(torch.from_numpy(np.flatnonzero(~self.active)), self.network.device)
        factors[ended] = 0.0
        for weight in self.parameters:
            if weight.grad is not None:
                weight.grad[ended] = 0.0
