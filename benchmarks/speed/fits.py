"""The contestants of a fit by name, one fit timed, and the search for peft's best."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ours, peers, trainer
from .peak import fit_flops
from .record import Run, machine
from .workloads import BATCH_SIZE, WORKLOADS, Task, forget, wait

OURS, PEFT, BEST = "ours", "peft + Trainer", "peft + Trainer, at its best"
FULL, SETFIT, ENCODE = "full + Trainer", "setfit", "encode + logistic regression"
SKORCH, SKORCH_LONGEST = "skorch, max_length=256", "skorch, longest text"

CONTESTANTS: dict[str, Callable[[Task], ours.Predict]] = {
    OURS: ours.fit,
    PEFT: trainer.fit,
    FULL: functools.partial(trainer.fit, method="full"),
    SKORCH: functools.partial(peers.fit_skorch, max_length=256),
    SKORCH_LONGEST: peers.fit_skorch,
    SETFIT: peers.fit_setfit,
    ENCODE: peers.fit_encode,
}
#: They take one text a row.
NO_PAIRS = {SKORCH, SKORCH_LONGEST, SETFIT, ENCODE}


@functools.cache
def warm_up(name: str) -> None:
    """Fit a batch, so that no contestant pays for what a process does once."""
    if name in (BEST, SKORCH):  # of the same code as another
        return
    with contextlib.suppress(Exception):  # shows when it is timed
        CONTESTANTS[name](WORKLOADS["trec"].task(BATCH_SIZE))


def timed(fit: Callable[[Task], ours.Predict], task: Task, scored: bool) -> dict[str, Any]:
    """Seconds of ``fit`` from texts to a trained model; test accuracy if ``scored``."""
    forget()
    start = time.perf_counter()
    try:
        predict = fit(task)
    except Exception as error:
        print(f"it did not run: {error!r}")
        return {"error": repr(error)[:300]}
    wait()
    seconds = time.perf_counter() - start
    if not scored:
        return {"seconds": seconds}
    answers = np.asarray(predict(task.X_test))
    return {"seconds": seconds, "accuracy": float(np.mean(answers == np.asarray(task.y_test)))}


def compare(run: Run, task: Task, names: tuple[str, ...], turns: int) -> None:
    """Time ``names`` by turns on the same rows."""
    key = {"part": "fit", "workload": task.workload.name, "rows": len(task.X)}
    if task.workload.pairs:
        names = tuple(name for name in names if name not in NO_PAIRS)
    n_tokens = int(task.lengths.sum())
    for name in names:
        warm_up(name)
    contestants: dict[str, Any] = dict(CONTESTANTS)
    options: dict[str, Any] = {}
    if BEST in names:
        options = best_options(run, task)
        contestants[BEST] = functools.partial(trainer.fit, **options)
    for turn, name in itertools.product(range(turns), names):
        about = key | {"who": name, "turn": turn}
        extra = {"tokens": n_tokens, "gflop": fit_flops(n_tokens) / 1e9}
        if name == BEST:
            extra["options"] = options
        run.kept(
            about,
            lambda name=name, turn=turn, extra=extra: (
                timed(contestants[name], task, scored=turn == 0) | extra
            ),
        )


def best_options(run: Run, task: Task) -> dict[str, Any]:
    """Peft's fastest type and attention, then whether grouping by length pays.

    Types are tried on an eighth of the rows, at most four batches, grouping on a half.
    Without native bfloat16 its types are so far behind that a few rows show it.
    """

    @functools.cache
    def trial(n_rows: int, **options: Any) -> float:
        key = {"part": "trial", "workload": task.workload.name, "rows": n_rows}
        fit = functools.partial(trainer.fit, **options)
        found = run.kept(
            key | {"options": options}, lambda: timed(fit, task.first(n_rows), scored=False)
        )
        return float(found.get("seconds", np.inf))

    few = min(max(len(task.X) // 8, BATCH_SIZE), 4 * BATCH_SIZE)
    many = max(len(task.X) // 2, BATCH_SIZE)
    probe = few if machine()["native_bfloat16"] else BATCH_SIZE // 4
    default = trainer.ATTENTIONS[0]
    quick = {
        kind: trial(probe, number_type=kind, attention=default, grouped=False)
        for kind in trainer.TYPES
    }
    kinds = [kind for kind in trainer.TYPES if quick[kind] < 2 * min(quick.values())]
    tried = {
        (kind, attention): trial(few, number_type=kind, attention=attention, grouped=False)
        for kind, attention in itertools.product(kinds, trainer.ATTENTIONS)
    }
    kind, attention = min(tried, key=tried.__getitem__)
    options = {"number_type": kind, "attention": attention}
    grouped = min((False, True), key=lambda flag: trial(many, **options, grouped=flag))
    return options | {"grouped": grouped}
