"""Measure what is missing, print it, and append it to ``results/speed.jsonl``.

    python -m benchmarks.speed                  # the short version: under 15 minutes on 2 cores
    python -m benchmarks.speed --full           # all workloads and peers
    python -m benchmarks.speed --only peak fit --workload trec

An interrupted run goes on where it stopped. ``python benchmarks/render.py`` turns the
results into the tables of the documentation.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path

from benchmarks import speed_figures

from . import bare, memory, peak, prediction, trunk
from .fits import OURS, compare, warm_up
from .plan import PLANS, Plan
from .record import RESULTS, Run, machine
from .workloads import WORKLOADS, forget


def peaks(run: Run, plan: Plan) -> None:
    """Matrix products on the model's shapes, and bare steps."""
    for rows, length in peak.BATCHES:
        key = {"rows": rows, "length": length}
        run.kept({"part": "peak"} | key, lambda n=rows * length: peak.measure(n))
        run.kept({"part": "step"} | key, lambda r=rows, n=length: bare.bare_step(r, n))


def wholes(run: Run, plan: Plan) -> None:
    """Whole fits over their bare steps."""
    warm_up(OURS)
    for turn, (name, n_rows) in itertools.product(range(plan.turns), plan.whole.items()):
        key = {"part": "whole", "workload": name, "turn": turn}
        run.kept(key, lambda n=name, r=n_rows: bare.whole_and_bare(WORKLOADS[n].task(r)))


def fits(run: Run, plan: Plan) -> None:
    """Fits of all contestants."""
    for contest in plan.fits:
        task = WORKLOADS[contest.workload].task(contest.rows)
        compare(run, task, (OURS, *contest.peers), contest.turns)


def predictions(run: Run, plan: Plan) -> None:
    """Predictions of test rows, repeated texts taken out by nobody but ours and encode."""
    for name, n_rows in plan.predict.items():
        task = WORKLOADS[name].task(None, n_rows)
        forget()
        contestants = prediction.contestants(task)
        for turn, (who, call) in itertools.product(range(3), contestants.items()):
            key = {"part": "predict", "workload": name, "rows": len(task.X_test), "who": who}
            run.kept(key | {"turn": turn}, lambda c=call, t=task: prediction.seconds(c, t.X_test))


def trunks(run: Run, plan: Plan) -> None:
    """Upper blocks over kept activations."""
    task = WORKLOADS["trec"].task(plan.trunk)
    for turn, layers in itertools.product(range(plan.turns), ("all", 2)):
        key = {"part": "trunk", "rows": plan.trunk, "layers": layers, "search": False}
        run.kept(key | {"turn": turn}, lambda k=layers: trunk.fit(task, k))
    for layers in plan.grid:
        key = {"part": "trunk", "rows": plan.trunk, "layers": layers, "search": True, "turn": 0}
        run.kept(key, lambda k=layers: trunk.grid(task, k))


def memories(run: Run, plan: Plan) -> None:
    """Memory of fits, each in a process of its own."""
    for name, n_rows in plan.memory.items():
        key = {"part": "memory", "workload": name, "rows": n_rows}
        run.kept(
            {**key, "who": "floor"}, lambda n=name, r=n_rows: memory.floor(WORKLOADS[n].task(r))
        )
        for who in plan.memory_of:
            run.kept(
                {**key, "who": who},
                lambda w=who, n=name, r=n_rows: memory.measured(w, n, r),
            )


PARTS = {
    "peak": peaks,
    "whole": wholes,
    "fit": fits,
    "predict": predictions,
    "trunk": trunks,
    "memory": memories,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="all workloads and peers")
    parser.add_argument("--tiny", action="store_true", help="a few rows: does everything run?")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--file", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for category in (UserWarning, FutureWarning):  # of cut texts, and many of the peers
        warnings.simplefilter("ignore", category)
    mode = "tiny" if arguments.tiny else "full" if arguments.full else "short"
    run = Run(mode, arguments.file)
    print(f"run {run.name} ({mode}) on {machine()}", flush=True)
    plan = PLANS[mode].only(arguments.workload)
    for part in arguments.only:
        PARTS[part](run, plan)
    if arguments.only == list(PARTS) and arguments.workload == list(WORKLOADS):
        run.kept({"part": "finished"}, dict)
    for title, frame in speed_figures.tables(run.frame()):
        print(f"\n{title}\n\n{frame.to_markdown(index=False, floatfmt='g', missingval='')}")
    for note in speed_figures.notes(run.frame()):
        print(f"\n{note}")


if __name__ == "__main__":
    main()
