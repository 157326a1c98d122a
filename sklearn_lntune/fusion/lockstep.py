"""Train several jobs over one backbone, a step of each at a time.

The rows of all their batches run together, sorted by length whatever fit they belong to,
and each meets the values of its own fit. The rules of a step and of an epoch are those of
`training.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from sklearn_lntune.backbone.trunk import padded
from sklearn_lntune.fusion.lane import Lane
from sklearn_lntune.network import Network, compute
from sklearn_lntune.text.batches import ordered_batches, tensors
from sklearn_lntune.text.table import joined
from sklearn_lntune.training.fitting import Job, Outcome, network_of, trunk_of, with_states
from sklearn_lntune.training.optimizer import build_stacked_optimizer
from sklearn_lntune.training.rows import Rows
from sklearn_lntune.training.rules import (
    BAD_OUTPUT,
    BAD_VALUES,
    Progress,
    Snapshot,
    clip_gradients,
    divergence,
    divide_gradients,
    finite_fits,
    on_host,
    set_lr,
)

#: Tokens, padding included, that run forward and backward at once.
STEP_TOKENS = {"cpu": 1024, "cuda": 32768, "mps": 8192}


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
        Asked before each step, with the number of a job: whether it shall end now.
    on_step : callable
        Told how many fits have taken a step.
    on_end : callable
        Told the number of each job that ends, and how many steps it has taken.

    Returns
    -------
    list of Outcome
        One a job, in order. The error may be one that the user's scorer has raised.

    Raises
    ------
    NotStackableError
        If the backbone's layers cannot be shared so; nothing has been trained then.
    """
    bank = _Bank(jobs, n_tokens)
    while bank.active.any():
        for fit in bank.going:
            if cancelled(fit):
                bank.end(fit, KeyboardInterrupt())
        on_step(bank.step())
        for fit in bank.take_ended():
            on_end(fit, bank.steps_of(fit))
    return bank.outcomes()


class _Bank:
    """The stacked values of several fits, and what moves them."""

    def __init__(self, jobs: Sequence[Job], n_tokens: int | None = None) -> None:
        self.lanes = [Lane(job) for job in jobs]
        self.n_fits = len(self.lanes)
        self.pad_id = jobs[0].backbone.pad_id
        self.network = self._stacked()
        self.parameters = list(self.network.learnt.values())
        settings = [job.settings for job in jobs]
        self.optimizer = build_stacked_optimizer(
            self.network, [own.rates for own in settings], [own.weight_decay for own in settings]
        )
        self._load_moments()
        self.n_tokens = n_tokens or STEP_TOKENS[self.network.device.type]
        self.progress = Progress(self.n_fits)
        self.last_good = Snapshot(self.parameters, self.n_fits)
        self.best = Snapshot(self.parameters, self.n_fits)
        self.active = np.ones(self.n_fits, dtype=bool)
        self._ended: list[int] = []
        self.network.eval()  # dropout is handed over, each fit's own

    def _stacked(self) -> Network:
        """One network that starts where each lane's own does."""
        first = self.lanes[0]
        network = network_of(first.job, self.n_fits)
        with torch.no_grad():
            for name, weight in network.learnt.items():
                for fit, lane in enumerate(self.lanes):
                    weight[fit] = lane.network.learnt[name][0]
        network.try_stacked(first.train.table, self.pad_id)
        trunks = [trunk_of(lane.job, network) for lane in self.lanes]
        trunk = trunks[0]
        if trunk is not None and None not in trunks:
            table = first.train.table
            if network.enter_at(trunk, table, self.pad_id):
                for lane in self.lanes:
                    lane.train, lane.valid = with_states(lane.job, trunk)
        return network

    def _load_moments(self) -> None:
        """Where fits go on, give the optimiser what it had."""
        for name, weight in self.network.learnt.items():
            own = [(lane.job.moments or {}).get(name) for lane in self.lanes]
            if own[0] is None or None in own:
                continue
            state = self.optimizer.state[weight]
            for key in own[0]:
                values = [np.array(each[key], ndmin=1) for each in own if each is not None]
                state[key] = torch.from_numpy(np.concatenate(values)).to(weight)

    @property
    def going(self) -> list[int]:
        """The fits that have not ended."""
        return np.flatnonzero(self.active).tolist()

    # -- a step ----------------------------------------------------------------------

    def step(self) -> int:
        """Move every fit that goes on by one step of its own; return how many those are."""
        now = self.going
        if not now:
            return 0
        drawn = {fit: self.lanes[fit].next_rows() for fit in now}
        summed = self._gradients_within_memory(drawn)
        counts = np.ones(self.n_fits)
        counts[now] = [len(rows) for rows, _ in drawn.values()]
        divide_gradients(self.parameters, counts.tolist())
        bounds = [lane.job.settings.max_grad_norm for lane in self.lanes]
        losses, norms = on_host(summed, clip_gradients(self.parameters, bounds))
        for fit in now:
            self.lanes[fit].note_loss(float(losses[fit]))
            if not np.isfinite(losses[fit]):
                loss = losses[fit] / counts[fit]
                self._diverged(fit, f"the loss is {loss}", self.progress.step + 1)
            elif not np.isfinite(norms[fit]):
                self._diverged(fit, "the gradient is not finite", self.progress.step + 1)
        self.last_good.take(self.progress.step, self.active)
        factors = [
            lane.factor(self.progress.step) if going else 0.0
            for lane, going in zip(self.lanes, self.active, strict=True)
        ]
        set_lr(self.optimizer, self.parameters[0].new_tensor(factors))
        self._hold_still()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self._close_epochs()
        return len(now)

    def _gradients_within_memory(
        self, drawn: dict[int, tuple[np.ndarray, torch.Tensor | None]]
    ) -> torch.Tensor:
        while True:
            try:
                return self._gradients(drawn)
            except torch.OutOfMemoryError:
                if self.n_tokens <= 16:
                    raise
            self.optimizer.zero_grad()
            self.n_tokens //= 2
            torch.cuda.empty_cache()

    def _gradients(self, drawn: dict[int, tuple[np.ndarray, torch.Tensor | None]]) -> torch.Tensor:
        """Add up the gradients of all rows; return the summed loss of each fit."""
        parts = [(self.lanes[fit], *drawn[fit]) for fit in drawn]
        device, kind = self.network.device, self.network.delta_type
        table = joined([lane.train.table.take(rows) for lane, rows, _ in parts])
        sizes = [len(rows) for _, rows, _ in parts]
        fits = torch.from_numpy(np.repeat(list(drawn), sizes)).to(device)
        codes = np.concatenate([lane.train.codes[rows] for lane, rows, _ in parts])
        weights = np.concatenate([lane.train.weights[rows] for lane, rows, _ in parts])
        on_device = {
            "codes": torch.from_numpy(codes.astype(np.int64)).to(device),
            "weights": torch.from_numpy(weights).to(device, kind),
            "kept": _stacked_factors([kept for _, _, kept in parts], sizes),
        }
        smoothing = [lane.job.settings.label_smoothing for lane, _, _ in parts]
        if any(smoothing):
            by_row = torch.from_numpy(np.repeat(smoothing, sizes))
            on_device["smoothing"] = by_row.to(device, kind)
        states = [
            lane.train.states[row]
            for lane, rows, _ in parts
            if lane.train.states is not None
            for row in rows
        ]
        task = self.lanes[0].job.task
        losses = torch.zeros(self.n_fits, dtype=kind, device=device)
        for rows in ordered_batches(table.lengths, self.n_tokens):
            at = torch.from_numpy(rows).to(device)
            own = {key: value[at] for key, value in on_device.items() if value is not None}
            inputs = tensors(table, rows, self.pad_id, device)
            if states:
                inputs["trunk"] = padded([states[row] for row in rows], device)
            logits = self.network(fits=fits[at], kept=own.get("kept"), **inputs)
            each = task.loss(logits, own["codes"], own.get("smoothing", 0.0)) * own["weights"]
            torch.autograd.backward(each.sum())
            losses.index_add_(0, fits[at], each.detach())
        return losses

    def _hold_still(self) -> None:
        """Let fits that have ended stay where they are, whatever their gradients."""
        if self.active.all():
            return
        ended = torch.from_numpy(np.flatnonzero(~self.active)).to(self.network.device)
        for weight in self.parameters:
            if weight.grad is not None:
                weight.grad[ended] = 0.0

    # -- the end of an epoch, and of a fit -------------------------------------------

    def _close_epochs(self) -> None:
        """Score, keep the best deltas, and end the fits whose time has come."""
        closing = [fit for fit in self.going if self.lanes[fit].at_epoch_end]
        valid = {fit: self.lanes[fit].valid for fit in closing}
        logits = self._logits({fit: rows for fit, rows in valid.items() if rows is not None})
        finished = [fit for fit in closing if self._close_epoch(fit, logits.get(fit))]
        self._check_last_step([fit for fit in finished if not self._has_best(fit)])
        for fit in finished:
            if self.active[fit]:
                self.end(fit)

    def _close_epoch(self, fit: int, logits: np.ndarray | None) -> bool:
        """Score a fit; return whether it has come to its end."""
        lane, settings = self.lanes[fit], self.lanes[fit].job.settings
        if logits is not None and not np.isfinite(logits).all():
            self._diverged(fit, BAD_OUTPUT, self.progress.step)
            return False
        try:
            score = lane.close_epoch(self.progress.step, logits)
        except Exception as error:  # of the user's scorer
            self.end(fit, error)
            return False
        finished = len(lane.log) == lane.job.n_epochs
        if score is not None and settings.early_stopping:
            only = np.arange(self.n_fits) == fit
            scores = np.where(only, score, -np.inf)
            if self.progress.note_scores(len(lane.log), scores, only)[fit]:
                self.best.take(fits=only)
            finished |= bool(self.progress.out_of_patience(settings.patience)[fit])
        return finished

    def _logits(self, rows: dict[int, Rows]) -> dict[int, np.ndarray]:
        """Logits of the rows of some fits."""
        if not rows:
            return {}
        sizes = [len(each) for each in rows.values()]
        kept = [state for each in rows.values() for state in each.states or ()]
        logits = compute(
            self.network,
            joined([each.table for each in rows.values()]),
            self.pad_id,
            fits=np.repeat(list(rows), sizes),
            states=kept or None,
        )
        return dict(zip(rows, np.split(logits, np.cumsum(sizes)[:-1]), strict=True))

    def _has_best(self, fit: int) -> bool:
        """Whether an earlier epoch of ``fit`` is what stays."""
        return bool(self.lanes[fit].job.settings.early_stopping and self.progress.best_epoch[fit])

    def _check_last_step(self, fits: list[int]) -> None:
        """Check the values that a fit's last step led to, as a next step would.

        They meet the longest rows of one batch.
        """
        if not fits:
            return
        rows = {fit: self.lanes[fit].longest_batch for fit in fits}
        finite = finite_fits(self.parameters, self.n_fits).cpu().numpy()
        for fit, logits in self._logits(rows).items():
            loss = self.lanes[fit].losses(logits, rows[fit]).sum()
            if not (finite[fit] and np.isfinite(loss)):
                self._diverged(fit, BAD_VALUES, self.progress.step, closed=True)

    def _diverged(self, fit: int, what: str, step: int, *, closed: bool = False) -> None:
        """Go back to the last good values of ``fit``: ``step``, counted from 1, is not good.

        ``closed`` says that its epoch has been recorded.
        """
        lane = self.lanes[fit]
        only = np.arange(self.n_fits) == fit
        self.last_good.restore(only)
        self.progress.best_epoch[fit] = 0  # the last good delta is what stays
        # While a step is under way, the rates are still those of the step before.
        taken = self.progress.step
        factor = lane.factor(taken - 1) if taken else 1.0
        lr = max(lane.job.settings.rates.values()) * factor
        self.end(fit, divergence(what, len(lane.log) + (not closed), step, lr))

    def end(self, fit: int, error: BaseException | None = None) -> None:
        """Take ``fit`` out of the bank, with the best or latest of its values."""
        lane = self.lanes[fit]
        if self._has_best(fit):
            self.best.restore(np.arange(self.n_fits) == fit)
        network, moments = lane.network, {}
        with torch.no_grad():
            for name, weight in self.network.learnt.items():
                network.learnt[name][0] = weight[fit]
                state = self.optimizer.state.get(weight, {})
                moments[name] = {
                    key: (value[fit] if key == "step" else value[fit : fit + 1])
                    .cpu()
                    .numpy()
                    .copy()
                    for key, value in state.items()
                }
        lane.outcome = Outcome(
            delta=network.delta(),
            log=lane.log,
            n_steps=self.progress.step,
            n_epochs=len(lane.log),
            embedding_size=network.embedding_size,
            moments={name: state for name, state in moments.items() if state},
            error=error,
        )
        self.active[fit] = False
        self._ended.append(fit)

    def take_ended(self) -> list[int]:
        """The fits that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def steps_of(self, fit: int) -> int:
        """Steps that ``fit`` has taken by now."""
        outcome = self.lanes[fit].outcome
        return self.progress.step if outcome is None else outcome.n_steps

    def outcomes(self) -> list[Outcome]:
        """What each fit leaves behind."""
        return [lane.outcome for lane in self.lanes if lane.outcome is not None]


def _stacked_factors(kept: list[torch.Tensor | None], sizes: list[int]) -> torch.Tensor | None:
    """Factors of dropout of all rows; ones for fits without dropout."""
    some = next((each for each in kept if each is not None), None)
    if some is None:
        return None
    return torch.cat(
        [
            some.new_ones(size, some.shape[1]) if each is None else each
            for each, size in zip(kept, sizes, strict=True)
        ]
    )
