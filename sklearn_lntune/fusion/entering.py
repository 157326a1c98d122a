"""Where fits and predictions enter: inside a task of `fused_fits` they wait for the others."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np

from sklearn_lntune.fusion.alone import run_alone, why_alone
from sklearn_lntune.fusion.answering import Question
from sklearn_lntune.fusion.coordinator import Request, current_task
from sklearn_lntune.fusion.memory import bytes_of_rows
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction import located, predictor_for
from sklearn_lntune.text.stream import Texts, TextTable
from sklearn_lntune.training import fitting
from sklearn_lntune.training.fitting import Job, Outcome

log = logging.getLogger("sklearn_lntune.fusion")


def run(job: Job) -> Outcome:
    """Train ``job``: with those of other tasks where there are some, else by itself."""
    task = current_task()
    if task is None:
        return fitting.run(job)
    reason = why_alone(job)
    if reason is not None:
        log.info("a fit trains alone: %s.", reason)
        with task.coordinator.computing():
            return run_alone(job, lambda: task.cancelled)
    outcome: Outcome = task.coordinator.wait_for(Request(task, job, bytes_of_rows(job)))
    return outcome


def ask(
    owner: Any, state: FittedState, texts: Texts, output: str, verbose: int, **where: Any
) -> np.ndarray:
    """Logits or pooled vectors of ``texts`` from the fitted estimator ``owner``.

    Inside a task, the questions of all tasks are answered together; but not those to a
    table, which is never held whole.
    """
    backbone, placement = located(state, **where)
    task = current_task()
    if task is None or isinstance(texts, TextTable):
        predictor = predictor_for(owner, state, backbone, placement)
        with task.coordinator.computing() if task else contextlib.nullcontext():
            return predictor.run(texts, output, verbose)
    question = Question(state, backbone, placement, texts, output)
    answers: np.ndarray = task.coordinator.wait_for(Request(task, question))
    return answers
