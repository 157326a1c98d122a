"""What a user sees while a search runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from sklearn_lntune.training.fitting import Job


class Bar:
    """A bar over the steps of all fits, with how many are done and running.

    Parameters
    ----------
    n_fits : int
        That arrived together.
    verbose : int
        0 shows nothing.
    """

    def __init__(self, n_fits: int, verbose: int) -> None:
        self._n_fits, self._done, self._running = n_fits, 0, 0
        self._bar = tqdm(
            desc="fused fits", unit="step", disable=not (verbose and n_fits), dynamic_ncols=True
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def begin(self, jobs: Sequence[Job]) -> None:
        """A bank of ``jobs`` begins."""
        steps = sum(job.n_steps for job in jobs)
        # Of banks to come the steps are taken to be as many a fit.
        left = (self._n_fits - self._done) * steps // len(jobs)
        self._bar.total = self._bar.n + left
        self._running = len(jobs)
        self._show()

    def step(self, n_fits: int) -> None:
        """Each of ``n_fits`` has taken a step."""
        self._bar.update(n_fits)

    def end(self, fit: int) -> None:
        """One fit has ended."""
        self._done, self._running = self._done + 1, self._running - 1
        self._show()

    def _show(self) -> None:
        said: dict[str, Any] = {"done": f"{self._done}/{self._n_fits}", "running": self._running}
        self._bar.set_postfix(said)
