"""Sort waiting fits and predictions into banks, and run each bank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_lntune.fusion.answering import Question, answer
from sklearn_lntune.fusion.coordinator import Request
from sklearn_lntune.fusion.lockstep import train
from sklearn_lntune.fusion.memory import bytes_a_fit
from sklearn_lntune.fusion.progress import Bar
from sklearn_lntune.training.fitting import Job, run
from sklearn_lntune.tuning.grouped import NotStackableError
from sklearn_lntune.tuning.names import as_plain

log = logging.getLogger("sklearn_lntune.fusion")


def why_alone(job: Job) -> str | None:
    """Why ``job`` cannot share a bank, if so."""
    if job.callbacks:
        return "it has callbacks of its own, which expect a skorch net"
    if job.checkpoint is not None:
        return "it keeps a checkpoint"
    if job.pooling == "native":
        return "the head of pooling='native' does not stack"
    private = [method.name for method in job.methods if method.private]
    if private:
        return f"{private[0]!r} shares no weights"
    return None


@dataclass
class Server:
    """Serves the requests of one `fused_fits`.

    Parameters
    ----------
    max_memory : int
        Bytes that a bank may take.
    verbose : int
    """

    max_memory: int
    verbose: int = 0
    #: Number of fits of each bank that has run.
    sizes: list[int] = field(default_factory=list)

    def __call__(self, requests: Sequence[Request]) -> None:
        """Set the result or the error of each request."""
        fits = [request for request in requests if isinstance(request.content, Job)]
        questions = [request for request in requests if isinstance(request.content, Question)]
        with Bar(len(fits), self.verbose) as bar:
            for group in _grouped(fits, lambda job: _kind(job)):
                for bank in self._banks(group):
                    self._train(bank, bar)
        for group in _grouped(questions, lambda question: question.kind):
            for request, found in zip(group, answer([r.content for r in group]), strict=True):
                request.result = found

    def _banks(self, group: list[Request]) -> list[list[Request]]:
        """``group`` in as many pieces as the memory asks for, of about one size."""
        largest = max(1, self.max_memory // bytes_a_fit(group[0].content))
        n_banks = -(-len(group) // largest)
        return [list(piece) for piece in np.array_split(np.array(group, dtype=object), n_banks)]

    def _train(self, bank: list[Request], bar: Bar) -> None:
        """Train one bank; what cannot be stacked trains one by one."""
        jobs = [request.content for request in bank]
        try:
            bar.begin(jobs)
            outcomes = train(
                jobs,
                cancelled=lambda fit: bank[fit].task.cancelled,
                on_step=bar.step,
                on_end=bar.end,
            )
            self.sizes.append(len(bank))
        except NotStackableError as error:
            log.info("%d fits train one by one: %s", len(bank), error)
            outcomes = [run(job) for job in jobs]
            self.sizes += [1] * len(bank)
        for request, outcome in zip(bank, outcomes, strict=True):
            request.result = outcome


def _kind(job: Job) -> Hashable:
    """Equal for jobs that can share a bank."""
    return (
        id(job.backbone),
        repr(as_plain(job.methods)),
        job.start is None,
        job.moments is None,
        job.pooling,
        job.task.n_outputs,
        job.placement,
        job.train.table.with_segments,
    )


def _grouped(requests: list[Request], kind: Callable[[Any], Hashable]) -> list[list[Request]]:
    groups: dict[Hashable, list[Request]] = {}
    for request in requests:
        groups.setdefault(kind(request.content), []).append(request)
    return list(groups.values())
