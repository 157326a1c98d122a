"""Train several jobs in one network, in lock-step.

In each step the rows of all fits run together, sorted by length regardless of their fit, so
that little is padded; each row is computed with the values of its fit. Every fit takes its own
steps, with its own rate and batch size. `training.steps` defines a step and the end of an epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from sklearn_lntune.backbone.device_memory import give_back_memory, is_out_of_memory
from sklearn_lntune.backbone.placement import STEP_TOKENS
from sklearn_lntune.fusion.fit_state import FitState
from sklearn_lntune.inputs.base import joined
from sklearn_lntune.inputs.batches import moved, ordered_batches
from sklearn_lntune.inputs.per_word import total_outputs
from sklearn_lntune.network import Batch, Network, compute
from sklearn_lntune.training.datasets import EncodedDataset, joined_targets
from sklearn_lntune.training.fitting import activation_cache_of, network_of
from sklearn_lntune.training.job import Job, Outcome
from sklearn_lntune.training.rules import row_losses
from sklearn_lntune.training.steps import BAD_OUTPUT, Steps

#: For each fit, the rows of a step and their dropout factors.
Drawn: TypeAlias = dict[int, tuple[np.ndarray, torch.Tensor | None]]


def train(
    jobs: Sequence[Job],
    *,
    n_tokens: int | None = None,
    cancelled: Callable[[int], bool] = lambda fit: False,
    on_step: Callable[[int], None] = lambda n_fits: None,
    on_end: Callable[[int, int], None] = lambda fit, n_steps: None,
) -> list[Outcome]:
    """Train ``jobs`` as one bank.

    Parameters
    ----------
    jobs : sequence of Job
        With one backbone, placement, tuning, pooling and number of outputs.
    n_tokens : int, optional
        Tokens, padding included, that run forward and backward at once.
    cancelled : callable
        Called before each step with the number of a job; returns whether to end it.
    on_step : callable
        Called with the number of fits that have taken a step.
    on_end : callable
        Called with the number of each job that ends, and the steps it has taken.

    Returns
    -------
    list of Outcome
        One per job, in order. The error may come from the user's scorer.

    Raises
    ------
    NotStackableError
        If the backbone cannot be shared by several fits; nothing has been trained then.
    """
    trainer = StackedTrainer(jobs, n_tokens)
    while trainer.steps.active.any():
        for number in trainer.steps.going:
            if cancelled(number):
                trainer.end(number, KeyboardInterrupt())
        on_step(trainer.step())
        for number in trainer.take_ended():
            on_end(number, trainer.steps_of(number))
    return trainer.outcomes()


class StackedTrainer:
    """Trains several fits with their values side by side in one network."""

    def __init__(self, jobs: Sequence[Job], n_tokens: int | None = None) -> None:
        self.fits = [FitState(job) for job in jobs]
        self.network = self._stacked()
        self.steps = Steps(
            self.network, [job.settings for job in jobs], [job.n_steps for job in jobs]
        )
        self.steps.load_moments([job.moments for job in jobs])
        self.n_tokens = n_tokens or STEP_TOKENS[self.network.device.type]
        self._ended: list[int] = []
        # No dropout of the network: each batch contains the factors that its fits have drawn.
        self.network.eval()

    def _stacked(self) -> Network:
        """One network with the initial values of all fits."""
        first = self.fits[0]
        network = network_of(first.job, len(self.fits))
        with torch.no_grad():
            for name, weight in network.learnt.items():
                for number, fit in enumerate(self.fits):
                    weight[number] = fit.network.learnt[name][0]
        network.try_stacked(first.train.table)
        # All fits have the same backbone and lowest trained block, and so the same cache; it is
        # of use only if it has room for the texts of every fit.
        cached = activation_cache_of([fit.job for fit in self.fits], network)
        if cached is not None:
            for fit, rows in zip(self.fits, cached.rows, strict=True):
                fit.train, fit.valid = rows
        return network

    # -- a step ----------------------------------------------------------------------

    def step(self) -> int:
        """Move every active fit by one step; return their number."""
        now = self.steps.going
        if not now:
            return 0
        drawn = {number: self.fits[number].next_rows() for number in now}
        losses = self._gradients_within_memory(drawn)
        counts = np.ones(len(self.fits))
        counts[now] = [len(rows) for rows, _ in drawn.values()]
        means = self.steps.step(losses, counts.tolist(), self.end)
        for number in now:
            self.fits[number].note_loss(float(means[number] * counts[number]))
        self._close_epochs()
        return len(now)

    def _gradients_within_memory(self, drawn: Drawn) -> torch.Tensor:
        # The rows and dropout factors of the step stay the same, so a second try with smaller
        # batches computes the same gradients.
        while True:
            try:
                return self._gradients(drawn)
            except RuntimeError as error:
                if self.n_tokens <= 16 or not is_out_of_memory(error):
                    raise
            self.steps.optimizer.zero_grad()
            self.n_tokens //= 2
            give_back_memory()

    def _gradients(self, drawn: Drawn) -> torch.Tensor:
        """Accumulate the gradients of all rows; return the summed loss of each fit."""
        parts = [(self.fits[number], *drawn[number]) for number in drawn]
        device, kind = self.network.device, self.network.delta_type
        table = joined([fit.train.table.take(rows) for fit, rows, _ in parts])
        sizes = [len(rows) for _, rows, _ in parts]
        fits = np.repeat(list(drawn), sizes)
        targets = joined_targets([fit.train.targets[rows] for fit, rows, _ in parts])
        weights = np.concatenate([fit.train.weights[rows] for fit, rows, _ in parts])
        on_device = {
            "targets": moved(torch.from_numpy(targets), device),
            "weights": moved(torch.from_numpy(weights).to(kind), device),
            "dropout": _stacked_factors([factors for _, _, factors in parts], sizes),
        }
        states = [
            fit.train.states[row]
            for fit, rows, _ in parts
            if fit.train.states is not None
            for row in rows
        ]
        losses = torch.zeros(len(self.fits), dtype=kind, device=device)
        fit_of = moved(torch.from_numpy(fits), device)
        for rows in ordered_batches(table.lengths, self.n_tokens):
            at = moved(torch.from_numpy(rows), device)
            own: dict[str, Any] = {
                key: value[at] for key, value in on_device.items() if value is not None
            }
            batch = self.network.batch(table, rows, fits, states or None, self.n_tokens)
            # A row's loss depends on the values of its fit only, so one backward pass of the
            # sum gives every fit its own gradient.
            each = self._row_losses(dataclasses.replace(batch, **own), fits[rows])
            torch.autograd.backward(each.sum())
            losses.index_add_(0, fit_of[at], each.detach())
        return losses

    def _row_losses(self, batch: Batch, fits: np.ndarray) -> torch.Tensor:
        """Weighted losses of a batch whose rows belong to ``fits``, by the task of each."""
        outputs = self.network(batch)
        tasks = {number: self.fits[number].job.task for number in np.unique(fits).tolist()}
        kinds = {task.loss_options: task for task in tasks.values()}
        if len(kinds) == 1:  # the usual case, in one call
            return row_losses(next(iter(kinds.values())), outputs, batch)
        losses = outputs.new_zeros(len(outputs))
        for options, task in kinds.items():
            mine = [number for number in tasks if tasks[number].loss_options == options]
            rows = moved(torch.from_numpy(np.flatnonzero(np.isin(fits, mine))), outputs.device)
            losses = losses.index_put((rows,), row_losses(task, outputs[rows], batch.take(rows)))
        return losses

    # -- the end of an epoch, and of a fit -------------------------------------------

    def _close_epochs(self) -> None:
        """Score the fits at the end of an epoch, save the best values, and end finished fits."""
        closing = [number for number in self.steps.going if self.fits[number].at_epoch_end]
        valid = {number: self.fits[number].valid for number in closing}
        logits = self._logits({number: rows for number, rows in valid.items() if rows is not None})
        finished = [number for number in closing if self._close_epoch(number, logits.get(number))]
        unchecked = [number for number in finished if not self.steps.has_best(number)]
        rows = {number: self.fits[number].longest_batch for number in unchecked}
        losses = {
            number: torch.tensor(self.fits[number].losses(outputs, rows[number]).sum())
            for number, outputs in self._logits(rows).items()
        }
        for number, error in self.steps.check_values(losses).items():
            self.end(number, error)
        for number in finished:
            if self.steps.active[number]:
                self.end(number)

    def _close_epoch(self, number: int, logits: np.ndarray | None) -> bool:
        """Score a fit; return whether it is finished."""
        fit, step = self.fits[number], self.steps.progress.step
        if logits is not None and not np.isfinite(logits).all():
            self.end(number, self.steps.fail(number, BAD_OUTPUT, after_step=True))
            return False
        try:
            score = fit.close_epoch(step, self.steps.factor(number, step - 1), logits)
            hook = fit.job.on_epoch
            stop = hook is not None and hook(lambda: self._outcome(number))
        except Exception as error:  # raised by the user's scorer or callback: ends this fit only
            self.end(number, error)
            return False
        spent = self.steps.end_epoch(number, score)
        return spent or stop or len(fit.log) == fit.job.n_epochs

    def _logits(self, rows: dict[int, EncodedDataset]) -> dict[int, np.ndarray]:
        """Logits of the rows of some fits."""
        if not rows:
            return {}
        sizes = [len(each) for each in rows.values()]
        ends = np.cumsum([total_outputs(each.table) for each in rows.values()])[:-1]
        kept = [state for each in rows.values() for state in each.states or ()]
        logits = compute(
            self.network,
            joined([each.table for each in rows.values()]),
            fits=np.repeat(list(rows), sizes),
            states=kept or None,
        )
        return dict(zip(rows, np.split(logits, ends), strict=True))

    def end(self, number: int, error: BaseException | None = None) -> None:
        """End a fit, with its best values or else the latest."""
        self.steps.settle(number)
        self.fits[number].outcome = self._outcome(number, error)
        self._ended.append(number)

    def _outcome(self, number: int, error: BaseException | None = None) -> Outcome:
        """The result of a fit if it ends now."""
        fit = self.fits[number]
        network = fit.network
        with torch.no_grad():
            for name, weight in self.network.learnt.items():
                network.learnt[name][0] = weight[number]
        return Outcome(
            delta=network.delta(),
            log=fit.log,
            n_steps=self.steps.progress.step,
            n_epochs=len(fit.log),
            embedding_size=network.embedding_size,
            moments=self.steps.moments(number),
            error=error,
        )

    def take_ended(self) -> list[int]:
        """The fits that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def steps_of(self, number: int) -> int:
        """Number of steps that a fit has taken."""
        outcome = self.fits[number].outcome
        return self.steps.progress.step if outcome is None else outcome.n_steps

    def outcomes(self) -> list[Outcome]:
        """The outcome of each fit."""
        return [fit.outcome for fit in self.fits if fit.outcome is not None]


def _stacked_factors(kept: list[torch.Tensor | None], sizes: list[int]) -> torch.Tensor | None:
    """Dropout factors of all rows; ones for fits without dropout."""
    some = next((each for each in kept if each is not None), None)
    if some is None:
        return None
    return torch.cat(
        [
            some.new_ones(size, some.shape[1]) if each is None else each
            for each, size in zip(kept, sizes, strict=True)
        ]
    )
