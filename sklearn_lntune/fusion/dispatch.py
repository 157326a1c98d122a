"""The entrance of fits: inside `fused_fits` they wait for the fits of other tasks."""

from __future__ import annotations

import logging

from sklearn_lntune.fusion.coordinator import Request, current_task
from sklearn_lntune.fusion.memory import bytes_of_rows
from sklearn_lntune.fusion.unfused import run_alone, why_alone
from sklearn_lntune.training import fitting
from sklearn_lntune.training.job import Job, Outcome

log = logging.getLogger("sklearn_lntune.fusion")


def run(job: Job) -> Outcome:
    """Train ``job``: together with those of other tasks inside `fused_fits`, else alone."""
    task = current_task()
    if task is None:
        return fitting.run(job)
    reason = why_alone(job)
    if reason is not None:
        log.info("a fit trains alone: %s.", reason)
        with task.computing():
            return run_alone(job, lambda: task.cancelled)
    outcome: Outcome = task.coordinator.wait_for(Request(task, job, bytes_of_rows(job)))
    return outcome
