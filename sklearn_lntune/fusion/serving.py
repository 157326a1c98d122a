"""Group waiting fits and predictions into banks, and run each bank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.exceptions import TrainingDivergedError, without_locals
from sklearn_lntune.fusion import memory
from sklearn_lntune.fusion.coordinator import Request
from sklearn_lntune.fusion.lockstep import train
from sklearn_lntune.fusion.memory import room_for
from sklearn_lntune.fusion.progress import Bar
from sklearn_lntune.fusion.unfused import run_alone
from sklearn_lntune.prediction.together import PredictRequest, answer
from sklearn_lntune.training.job import Job, Outcome
from sklearn_lntune.tuning.registry import as_plain

log = logging.getLogger("sklearn_lntune.fusion")


@dataclass
class Server:
    """Serves the requests of one `fused_fits`.

    If a bank fails as a whole, its fits are trained one by one, so that an error ends only
    the fit that causes it.

    Parameters
    ----------
    max_memory : int or None
        Bytes that a bank may take; None is half of what is free on its device.
    verbose : int
    """

    max_memory: int | None
    verbose: int = 0
    #: Number of fits of each bank that has run.
    sizes: list[int] = field(default_factory=list)

    def __call__(self, requests: Sequence[Request]) -> None:
        """Set the result or the error of each request."""
        fits = [request for request in requests if isinstance(request.content, Job)]
        predictions = [each for each in requests if isinstance(each.content, PredictRequest)]
        with Bar([request.content for request in fits], self.verbose) as bar:
            for group in _grouped(fits, _kind):
                self._fit(group, bar)
        for group in _grouped(predictions, lambda request: request.kind):
            delta = sum(array.nbytes for array in group[0].content.state.delta.values())
            budget = self._budget(group[0].content.placement)
            for bank in _pieces(group, budget // max(1, delta)):
                self._answer(bank)

    def _budget(self, placement: Placement) -> int:
        if self.max_memory is None:
            return memory.half_of_free(placement.device)
        return self.max_memory

    def _fit(self, group: list[Request], bar: Bar) -> None:
        """Train fits of one kind, in as many banks as the memory requires."""
        try:
            first: Job = group[0].content
            room = room_for(first, self._budget(first.placement))
        except Exception as error:
            self._one_by_one(group, bar, without_locals(error))
            return
        for bank in _pieces(group, room.n_fits):
            self._train(bank, room.n_tokens, bar)

    def _train(self, bank: list[Request], n_tokens: int, bar: Bar) -> None:
        jobs = [request.content for request in bank]
        bar.run(len(bank))
        try:
            outcomes = train(
                jobs,
                n_tokens=n_tokens,
                cancelled=lambda fit: bank[fit].task.cancelled,
                on_step=bar.step,
                on_end=lambda fit, n_steps: bar.end(jobs[fit], n_steps),
            )
        except Exception as error:
            # The fits need the memory that the bank has taken.
            self._one_by_one(bank, bar, without_locals(error))
            return
        self.sizes.append(len(bank))
        for request, outcome in zip(bank, outcomes, strict=True):
            _hand_over(request, outcome)

    def _one_by_one(self, bank: list[Request], bar: Bar, why: Exception) -> None:
        log.info("%d fits train one by one: %s", len(bank), why)
        for request in bank:
            bar.run(1)
            n_steps = 0
            try:
                request.result = _run_alone(request)
                n_steps = request.result.n_steps
            except BaseException as error:
                request.error = error
            self.sizes.append(1)
            bar.step(n_steps)
            bar.end(request.content, n_steps)

    def _answer(self, bank: list[Request]) -> None:
        try:
            found = answer([request.content for request in bank])
        except Exception as error:
            if len(bank) == 1:
                bank[0].error = error
                return
            for request in bank:
                self._answer([request])
            return
        for request, rows in zip(bank, found, strict=True):
            request.result = rows


def _run_alone(request: Request) -> Outcome:
    return run_alone(request.content, lambda: request.task.cancelled)


def _hand_over(request: Request, outcome: Outcome) -> None:
    """Return ``outcome``, or its error if that leaves no delta in a fit that trains alone."""
    if isinstance(outcome.error, KeyboardInterrupt | TrainingDivergedError | None):
        request.result = outcome
    else:
        request.error = outcome.error


def _kind(job: Job) -> Hashable:
    """A key that jobs share if they can be in one bank."""
    return (
        id(job.backbone),
        repr(as_plain(job.methods)),
        job.start is None,
        job.moments is None,
        (job.pooling, job.window_pooling),
        job.task.kind,
        job.task.n_outputs,
        job.placement,
        job.train.table.kind,
    )


def _grouped(requests: list[Request], kind: Callable[[Any], Hashable]) -> list[list[Request]]:
    groups: dict[Hashable, list[Request]] = {}
    for request in requests:
        groups.setdefault(kind(request.content), []).append(request)
    return list(groups.values())


def _pieces(group: list[Request], largest: int) -> list[list[Request]]:
    """``group`` in pieces of about one size, of ``largest`` at most but at least one."""
    n_pieces = -(-len(group) // max(1, largest))
    return [list(piece) for piece in np.array_split(np.array(group, dtype=object), n_pieces)]
