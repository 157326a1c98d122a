"""Time and memory of a fit and a prediction, beside peers, in one run on one machine.

    python benchmarks/speed.py                  # the short version: under 15 minutes on 2 cores
    python benchmarks/speed.py --full           # all workloads and peers
    python benchmarks/speed.py --parts predict memory

Measures what is missing and appends it to ``results/speed.jsonl``; an interrupted run goes on
where it stopped. ``python benchmarks/render.py`` makes the tables of the documentation.
"""

import gc
import hashlib
import itertools
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import peers
import speed_tables
import torch
from harness import Records, clock
from peers import OTHERS, OURS, PEFT, TRAINERS, Task, task
from speed_tables import BEST, CLOSE, FULL

from sklearn_lntune import clear_backbones
from sklearn_lntune.tuning import LayerNormTuning

Plan = dict[str, Any]
#: A version: rows of fits (None: all) with contestants and turns; rows of predictions and of
#: memory; contestants of memory, with settings of their environment; rows and turns of trunks.
PLANS: dict[str, Plan] = {
    "tiny": {
        "fit": [("trec", 96, TRAINERS + OTHERS, 1), ("mrpc", 64, (PEFT,), 1)],
        "predict": {"trec": 32},
        "memory": {"trec": 64},
        "memory_of": (OURS, PEFT),
        "trunk": (64, 1),
    },
    "short": {
        "fit": [
            ("trec", 768, TRAINERS, 3),
            ("trec", 128, OTHERS, 1),
            ("banking77", 256, TRAINERS, 1),
            ("mrpc", 128, TRAINERS, 1),
            ("imdb, 256 tokens", 64, (PEFT,), 1),
            ("imdb, 512 tokens", 16, (PEFT,), 1),
            ("20newsgroups", 64, (PEFT, FULL), 1),
        ],
        "predict": {"trec": 500},
        "memory": {"trec": 256, "imdb, 256 tokens": 32},
        "memory_of": (OURS, "ours; MALLOC_MMAP_THRESHOLD_=1048576", PEFT, FULL),
        "trunk": (256, 1),
    },
    "full": {
        "fit": [
            ("trec", None, TRAINERS, 3),
            ("trec", 256, OTHERS, 3),
            ("banking77", 4000, TRAINERS, 1),
            ("banking77", 256, OTHERS, 1),
            ("mrpc", 1024, TRAINERS, 2),
            ("imdb, 256 tokens", 128, TRAINERS + OTHERS, 1),
            ("imdb, 512 tokens", 96, TRAINERS + OTHERS, 1),
            ("20newsgroups", 192, TRAINERS + OTHERS, 1),
        ],
        "predict": {"trec": 500, "banking77": 1000, "imdb, 256 tokens": 200, "20newsgroups": 200},
        "memory": {"trec": 1024, "imdb, 256 tokens": 64},
        "memory_of": (OURS, "ours; MALLOC_MMAP_THRESHOLD_=1048576", PEFT, FULL, *OTHERS[:2]),
        "trunk": (1024, 3),
    },
}


def timed(call: Callable[[], Any]) -> float:
    """Seconds of ``call``, with nothing loaded that an earlier contestant used."""
    clear_backbones()
    gc.collect()
    return clock(call)


@cache
def warm_up(name: str) -> None:
    """Fit a batch, so that no contestant pays for what a process does once."""
    scored(peers.CONTESTANTS[name], task("trec", peers.BATCH_SIZE), score=False)


def scored(fit: Callable[[Task], Any], rows: Task, score: bool = True) -> dict[str, Any]:
    """Seconds of ``fit`` from texts to a trained model, and test accuracy."""
    predictors: list[Any] = []
    try:
        seconds = timed(lambda: predictors.append(fit(rows)))
    except Exception as error:
        return {"error": repr(error)[:300]}
    if not score:
        return {"seconds": seconds}
    right = np.asarray(predictors[0](rows.X_test)) == np.asarray(rows.y_test)
    return {"seconds": seconds, "accuracy": float(right.mean())}


def fits(run: Records, plan: Plan) -> None:
    """Fits of all contestants by turns on the same rows, ours first."""
    for workload, n_rows, names, turns in plan["fit"]:
        rows = task(workload, n_rows)
        key = {"part": "fit", "workload": workload, "rows": len(rows.X)}
        names = [name for name in (OURS, *names) if not (rows.pairs and name in OTHERS)]
        for turn, name in itertools.product(range(turns), names):
            warm_up(PEFT if name == BEST else name)
            about: dict[str, Any] = {"tokens": int(rows.lengths.sum())}
            if name == BEST:  # peft's default has had its first turn
                about["options"] = best_options(run, rows)
            fit = partial(peers.CONTESTANTS[name], **about.get("options", {}))
            make = partial(scored, fit, rows, score=turn == 0)
            run.once(key | {"who": name, "turn": turn}, lambda m=make, a=about: m() | a)


def best_options(run: Records, rows: Task) -> dict[str, Any]:
    """Peft's fastest settings that learn as much as its default, within two points.

    All settings are timed on a few rows. From the fastest on, each then trains on all rows
    until one is about as accurate as the default.
    """
    key = {"workload": rows.workload, "rows": len(rows.X)}
    few = task(rows.workload, min(max(len(rows.X) // 8, peers.BATCH_SIZE), 4 * peers.BATCH_SIZE))

    def tried(part: str, some: Task, options: dict[str, Any]) -> dict[str, Any]:
        fit = partial(peers.fit_trainer, **options)
        make = partial(scored, fit, some, score=part == "learns")
        return run.once(key | {"part": part, "options": options}, make)

    # Without native bfloat16, types other than float32 are several times slower.
    types = peers.TYPES if harness.training_type() == torch.bfloat16 else peers.TYPES[:1]
    combined = itertools.product(types, peers.ATTENTIONS, (False, True))
    every = [dict(zip(("number_type", "attention", "grouped"), each)) for each in combined]  # noqa: B905
    first = run.once(key | {"part": "fit", "who": PEFT, "turn": 0}, dict)
    target = first.get("accuracy", 0.0) - CLOSE
    for options in sorted(every, key=lambda each: tried("trial", few, each).get("seconds", np.inf)):
        if tried("learns", rows, options).get("accuracy", 0.0) >= target:
            return options
    return every[0]


def predictions(run: Records, plan: Plan) -> None:
    """Predictions of test rows, repeated texts taken out by nobody but ours and encode."""
    for workload, n_rows in plan["predict"].items():
        rows = task(workload, None, n_rows)
        contestants = peers.predictors(rows)
        for turn, (who, call) in itertools.product(range(3), contestants.items()):
            call(rows.X_test[:8])  # warms up
            key = {"part": "predict", "workload": workload, "rows": len(rows.X_test), "who": who}
            timing = partial(clock, partial(call, rows.X_test))
            run.once(key | {"turn": turn}, lambda t=timing: {"seconds": t()})


def trunks(run: Records, plan: Plan) -> None:
    """Eight epochs of all blocks, and of upper ones whose input is computed once."""
    n_rows, turns = plan["trunk"]
    rows = task("trec", n_rows)
    for turn, layers in itertools.product(range(turns), ("all", 2)):
        clf = peers.classifier(rows, tuning=LayerNormTuning(layers=layers), max_epochs=8)
        key = {"part": "trunk", "rows": n_rows, "layers": layers, "search": False, "turn": turn}
        run.once(key, lambda c=clf: {"seconds": timed(lambda: c.fit(rows.X, rows.y))})


def memories(run: Records, plan: Plan) -> None:
    """Memory of fits, each in a process of its own."""
    for (workload, n), who in itertools.product(plan["memory"].items(), plan["memory_of"]):
        name, *settings = who.split("; ")
        environment = dict(each.split("=") for each in settings)
        make = partial(harness.alone, used, name, workload, n, **environment)
        run.once({"part": "memory", "workload": workload, "rows": n, "who": who}, make)


def used(who: str, workload: str, n_rows: int) -> dict[str, float]:
    """Megabytes of a fit's highest point above the point before it, and its seconds."""
    rows = task(workload, n_rows)
    assert len(rows.lengths)
    harness.plain_classifier(2)(torch.ones(4, 8, dtype=torch.long))  # torch starts its threads
    seconds: list[float] = []
    fit = partial(peers.CONTESTANTS[who], rows)
    before, above = harness.peak(lambda: seconds.append(clock(fit)))
    return {"megabytes": above, "baseline": before, "seconds": seconds[0]}


PARTS = {"fit": fits, "predict": predictions, "trunk": trunks, "memory": memories}


def main() -> None:
    given = harness.options(__doc__, full=(False, False), parts=(tuple(PARTS),) * 2)
    for category in (UserWarning, FutureWarning):  # of cut texts, and many of the peers
        warnings.simplefilter("ignore", category)
    files = [
        *Path(harness.ROOT, "sklearn_lntune").rglob("*.py"),
        *Path(__file__).parent.glob("*.py"),
    ]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:12]
    mode = "tiny" if given.tiny else "full" if given.full else "short"
    here = harness.surroundings("peft", "skorch", "sentence-transformers", "setfit")
    stamp = {"date": here.pop("date")}
    about = {"cpu": here.pop("processor"), "mode": mode, "code": code} | here
    run = harness.open_run(given.out / "speed.jsonl", about, stamp)
    for part in given.parts:
        PARTS[part](run, PLANS[mode])
    if tuple(given.parts) == tuple(PARTS):
        run.once({"part": "finished"}, dict)
    print(speed_tables.text(run))


if __name__ == "__main__":
    main()
