"""Tables and a plot of ``results/speed.jsonl``: one run a processor, the last that finished.

A ratio is one of medians, of contestants that took turns on the same rows in one run.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness import RESULTS, lines, rst, svg

OURS, FULL = "ours", "full + Trainer"
PEFT, BEST = "peft + Trainer", "peft + Trainer, at its best"
ENCODE = "sentence-transformers encode"
#: Accuracy that a fastest setting may lose against the same peer's default.
CLOSE = 0.02
#: Least ratio of a peer's seconds to ours that the project aims at, with native bfloat16.
AIMS = {PEFT: 3.5, BEST: 1.4, FULL: 4.0, "skorch, max_length=256": 10.0}
#: Cores that others may take on average before a measurement counts as disturbed.
QUIET = 0.2


def load(file: Path = RESULTS / "speed.jsonl") -> list[pd.DataFrame]:
    """One run a processor: the last finished one, or else the last; native bfloat16 first."""
    every = pd.DataFrame([each for each in lines(file) if each["mode"] != "tiny"])
    chosen = []
    for _, here in every.groupby(["cpu", "device", "threads", "native_bfloat16"]):
        finished = here[here["part"] == "finished"]
        last = (finished if len(finished) else here)["run"].max()
        chosen.append(here[here["run"] == last])
    return sorted(chosen, key=lambda run: not run["native_bfloat16"].iloc[0])


def about(run: pd.DataFrame) -> str:
    """The machine, versions and command of ``run``, and whether others disturbed it."""
    first = run.iloc[0]
    native = "with" if first["native_bfloat16"] else "without"
    versions = ", ".join(f"{name} {value}" for name, value in first["versions"].items())
    command = "python benchmarks/speed.py" + (" --full" if first["mode"] == "full" else "")
    unfinished = "" if "finished" in set(run["part"]) else " The run is not finished."
    disturbed = int((run["others"] > QUIET).sum())
    return (
        f"{first['cpu']}, {first['threads']} threads, device {first['device']}, {native} native "
        f"bfloat16; {first['date']}; {versions}; ``{command}``.{unfinished} During {disturbed} of "
        f"{len(run)} measurements other processes took more than {QUIET:g} of a core on average."
    )


def text(records: Iterable[dict[str, Any]]) -> str:
    """All tables of a run, and what is to be said beside them."""
    run, parts = pd.DataFrame(list(records)), []
    for title, part, make in (
        ("Fits of one epoch, from texts to a trained model", "fit", fits),
        ("Predictions", "predict", predictions),
        ("Eight epochs, all blocks and the top two", "trunk", trunks),
        ("Memory of a fit above the imports", "memory", memories),
    ):
        if part in set(run["part"]):
            table = make(run).astype(object)
            table = table.where(table.notna(), None)
            parts += [f"{title}:\n", rst(table, index=False, floatfmt="g", missingval="")]
    return "\n".join([*parts, *(f"{note}\n" for note in notes(run))])


def notes(run: pd.DataFrame) -> Iterator[str]:
    """What peft's best turned out to be on each workload, and which contestants failed."""
    part = _part(run, "fit")
    learnt = set(fits(run)[["workload", "contestant"]].itertuples(index=False, name=None))
    chosen = part[part["options"].notna()] if "options" in part else part[:0]
    for row in chosen.drop_duplicates("workload").itertuples():
        grouped = "grouped by length" if row.options["grouped"] else "not grouped by length"
        kind, attention = row.options["number_type"], row.options["attention"]
        if (row.workload, BEST) in learnt:
            yield f"Peft's best on {row.workload}: {kind}, {attention}, {grouped}."
        else:
            yield (
                f"Peft's fastest on {row.workload}: {kind}, {attention}, {grouped}. It learnt "
                "less than peft's defaults, so it is not peft's best and is not compared."
            )
    if "error" in part:
        for row in part[part["error"].notna()].drop_duplicates("who").itertuples():
            yield f"{row.who} did not run: ``{row.error}``."


def fits(run: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each contestant on each workload, and what they mean."""
    part, rows = _part(run, "fit"), []
    for (workload, n_rows), same in part.groupby(["workload", "rows"], sort=False):
        medians = same.groupby("who")["seconds"].median()
        accuracy = same.groupby("who")["accuracy"].max()
        # A setting that does not learn what the defaults learn is not a peer's best.
        lost = accuracy.get(PEFT, np.nan) - accuracy.get(BEST, np.nan)
        for who, group in same[same["seconds"].notna()].groupby("who", sort=False):
            compared = who != BEST or not lost > CLOSE
            rows.append(
                {
                    "workload": workload,
                    "rows": int(n_rows),
                    "contestant": who if compared else f"{PEFT}, fastest",
                    "seconds": _spread(group["seconds"]),
                    "turns": len(group),
                    "seconds / ours": medians[who] / medians[OURS] if compared else None,
                    "aim": AIMS.get(str(who)) if compared else None,
                    "tokens/s": round(group["tokens"].iloc[0] / medians[who]),
                    "test accuracy, %": 100 * accuracy[who],
                }
            )
    decimals = {"seconds / ours": 2, "test accuracy, %": 0}
    return pd.DataFrame(rows).round(decimals)


def predictions(run: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each predictor, and texts a second."""
    groups = _part(run, "predict").groupby(["workload", "rows", "who"], sort=False)["seconds"]
    table = groups.agg(_spread).to_frame("seconds").reset_index()
    table["texts/s"] = (table["rows"] / groups.median().to_numpy()).round().astype(int)
    return table.astype({"rows": int})


def trunks(run: pd.DataFrame) -> pd.DataFrame:
    """Fits and grids of all blocks and of the top two."""
    part = _part(run, "trunk")
    part = part.assign(
        what=part["search"].map({True: "grid of 3 rates, 2 folds", False: "one fit"}),
        layers=part["layers"].map({"all": "all", 2: "top 2"}),
    )
    groups = part.groupby(["what", "layers"], sort=False)
    table = groups["seconds"].agg(_spread).to_frame()
    table["rows"] = groups["rows"].first().astype(int)
    return table.reset_index()


def memories(run: pd.DataFrame) -> pd.DataFrame:
    """Megabytes above the imports of each contestant."""
    part = _part(run, "memory")
    part = part[part["who"] != "floor"].rename(columns={"who": "contestant", "megabytes": "MB"})
    ours = part[part["contestant"] == OURS].set_index("workload")["MB"]
    part["MB / ours"] = (part["MB"] / part["workload"].map(ours)).round(2)
    part = part.astype({"rows": int}).round({"MB": 0, "seconds": 1})
    columns = ["workload", "rows", "contestant", "MB", "MB / ours", "seconds"]
    return part[[each for each in columns if each in part]]  # old runs lack the seconds


def plot(file: Path) -> None:
    """How many times as fast ours is as each peer, a workload."""
    measured = {about(run).partition(";")[0]: fits(run) for run in load()}
    sizes = [len(table) for table in measured.values()]
    shape = {"figsize": (7.5, 1.5 + 0.17 * sum(sizes)), "height_ratios": sizes}
    with svg(file, nrows=len(sizes), sharex=True, squeeze=False, **shape) as panels:
        for axes, (title, table) in zip(panels[:, 0], measured.items(), strict=True):
            some = table[(table["contestant"] != OURS) & table["seconds / ours"].notna()]
            labels = some["workload"] + ", " + some["contestant"]
            axes.barh(labels, some["seconds / ours"], color="tab:blue")
            axes.axvline(1.0, color="gray", linestyle=":")
            axes.invert_yaxis()
            axes.margins(y=0.01)
            axes.tick_params(labelsize=7)
            axes.set_title(title, fontsize=7)
            axes.set_xscale("log")
            axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], minor=False)
            axes.set_xticks([], minor=True)
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("seconds of the peer / seconds of ours", fontsize=8)


def figure() -> str:
    """Times and memory of each processor, and the plot."""
    parts = []
    for run in load():
        heading = f".. rubric:: {run['cpu'].iloc[0]}\n\n{about(run)}\n"
        parts += [heading, text(run.to_dict("records"))]
    return "\n".join(parts) + (
        "\n.. figure:: figures/speed.svg\n"
        "   :alt: how many times as fast as each peer a fit is\n\n"
        "   Seconds of a peer's fit over seconds of ours, on the same rows.\n"
    )


def _part(run: pd.DataFrame, name: str) -> pd.DataFrame:
    """The records of one part, without the columns of others."""
    return run[run["part"] == name].dropna(axis="columns", how="all")


def _spread(seconds: pd.Series) -> str:
    """Median, and the range where there is one."""
    middle, many = f"{seconds.median():.3g}", len(seconds) > 1
    return f"{middle} ({seconds.min():.3g} to {seconds.max():.3g})" if many else middle
