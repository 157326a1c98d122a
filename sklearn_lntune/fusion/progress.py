"""The progress bar of a search."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn_lntune.console import progress_bar
from sklearn_lntune.training.job import Job


class Bar:
    """A bar over the steps of all fits, with how many are done and running.

    Parameters
    ----------
    jobs : sequence of Job
        That arrived together.
    verbose : int
        0 shows nothing.
    """

    def __init__(self, jobs: Sequence[Job], verbose: int) -> None:
        self._n_fits, self._running = len(jobs), 0
        self._done: set[int] = set()
        self._bar = progress_bar(
            desc="fused fits",
            unit="step",
            total=sum(job.n_steps for job in jobs),
            disable=not (verbose and jobs),
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def run(self, n_fits: int) -> None:
        """Note that a bank of ``n_fits`` begins."""
        self._running = n_fits
        self._show()

    def step(self, n_steps: int) -> None:
        """Advance by the steps of so many fits."""
        self._bar.update(n_steps)

    def end(self, job: Job, n_steps: int) -> None:
        """Note that a fit has ended after ``n_steps``, perhaps early."""
        if id(job) in self._done:  # its bank failed later, and the fits are trained one by one
            return
        self._done.add(id(job))
        self._bar.total -= job.n_steps - n_steps
        self._running -= 1
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix(done=f"{len(self._done)}/{self._n_fits}", running=self._running)
