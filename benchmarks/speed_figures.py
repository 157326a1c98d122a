"""Tables and a plot of ``results/speed.jsonl``: one run a processor, the last that finished.

A ratio is one of medians, of contestants that took turns on the same rows in one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parent / "results" / "speed.jsonl"
OURS, FLOOR = "ours", "floor"
ENCODE = "sentence-transformers encode"
#: Least ratio of a peer's seconds to ours, a peer.
FIT_TARGETS = {
    "peft + Trainer": 3.5,
    "peft + Trainer, at its best": 1.4,
    "full + Trainer": 4.0,
    "skorch, max_length=256": 10.0,
}
#: Least ratio of another's seconds to ours: (our prediction, the other).
PREDICT_TARGETS = {
    ("ours, float32", ENCODE): 0.95,
    ("ours, float32", "pipeline"): 3.0,
    ("ours, bfloat16", ENCODE): 1.8,
}
#: Largest ratio of a whole fit to its bare steps, a workload.
WHOLE_TARGETS = {"trec": 1.3, "banking77": 1.2}
STEP_TARGET, TRUNK_TARGET, MEMORY_TARGET = 0.65, 2.2, 1.3
#: Cores that others may take on average before a measurement counts as disturbed.
QUIET = 0.2


def load(file: Path = RESULTS) -> list[pd.DataFrame]:
    """The records of one run a processor: the last finished one, or else the last.

    Those with native bfloat16 come first.
    """
    if not file.exists():
        return []
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    chosen: dict[Any, tuple[bool, str]] = {}
    for each in (each for each in records if each["mode"] != "tiny"):
        kind = _kind(each)
        chosen[kind] = max(chosen.get(kind, (False, "")), (each["part"] == "finished", each["run"]))
    return [
        pd.DataFrame([each for each in records if _kind(each) == kind and each["run"] == run])
        for kind, (_, run) in sorted(chosen.items(), key=lambda each: not each[0][-1])
    ]


def about(run: pd.DataFrame) -> str:
    """The machine, versions and command of ``run``, and whether others disturbed it."""
    first = run.iloc[0]
    native = "with" if first["native_bfloat16"] else "without"
    versions = ", ".join(f"{name} {value}" for name, value in first["versions"].items())
    command = "python -m benchmarks.speed" + (" --full" if first["mode"] == "full" else "")
    unfinished = "" if "finished" in set(run["part"]) else " The run is not finished."
    disturbed = int((run["others"] > QUIET).sum())
    return (
        f"{first['cpu']}, {first['threads']} threads, device {first['device']}, {native} native "
        f"bfloat16; {first['date']}; {versions}; ``{command}``.{unfinished} During {disturbed} of "
        f"{len(run)} measurements other processes took more than {QUIET:g} of a core on average."
    )


def tables(run: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and table of every part that was measured."""
    present = set(run["part"])
    for title, part, make in (
        ("Fits of one epoch, from texts to a trained model", "fit", fits),
        ("Whole fits with validation, and their bare steps", "whole", wholes),
        ("Matrix products and bare steps, GFLOP/s", "peak", peaks),
        ("Predictions", "predict", predictions),
        ("Eight epochs, all blocks and the top two", "trunk", trunks),
        ("Memory of a fit above the imports", "memory", memories),
    ):
        if part in present:
            frame = make(run).astype(object)
            yield title, frame.where(frame.notna(), None)
    if len(frame := targets(run)):
        yield "What the project aims at, for processors with native bfloat16", frame


def notes(run: pd.DataFrame) -> list[str]:
    """What peft's best turned out to be on each workload, and which contestants failed."""
    part = _part(run, "fit")
    found = []
    if "options" in part:
        for row in part[part["options"].notna()].drop_duplicates("workload").itertuples():
            grouped = "grouped by length" if row.options["grouped"] else "not grouped by length"
            kind, attention = row.options["number_type"], row.options["attention"]
            found.append(f"peft's best on {row.workload}: {kind}, {attention}, {grouped}.")
    if "error" in part:
        for row in part[part["error"].notna()].drop_duplicates("who").itertuples():
            found.append(f"{row.who} did not run: ``{row.error}``.")
    return found


def targets(run: pd.DataFrame) -> pd.DataFrame:
    """What the project aims at, what was measured here, and whether it is met."""
    rows = [
        {"figure": name, "target": f"{sign} {bound:g}", "here": value, "met": _met(met)}
        for name, sign, bound, value, met in _judged(run)
        if pd.notna(bound)
    ]
    return pd.DataFrame(rows, columns=["figure", "target", "here", "met"]).round(2)


def peaks(run: pd.DataFrame) -> pd.DataFrame:
    """GFLOP/s of the matrix products and of bare steps, a batch."""
    key = ["rows", "length"]
    peak = _part(run, "peak").set_index(key)[["forward", "backward", "peak"]]
    step = _part(run, "step").set_index(key)
    peak["bare step"] = step["gflops"]
    peak["share, %"] = 100 * step["gflops"] / peak["peak"]
    peak["step, ms"] = 1e3 * step["seconds"]
    peak = peak.round(0).astype(int)
    peak.insert(0, "batch", [f"{int(rows)} x {int(length)}" for rows, length in peak.index])
    return peak


def wholes(run: pd.DataFrame) -> pd.DataFrame:
    """Whole fits with validation beside their bare steps."""
    part = _part(run, "whole")
    groups = part.groupby("workload", sort=False)
    table = groups[["seconds", "bare_seconds"]].median().round(1)
    table["ratio"] = (part["seconds"] / part["bare_seconds"]).groupby(part["workload"]).median()
    rate = part["gflop"] / part["bare_seconds"]
    share = rate.groupby(part["workload"]).median() / _highest(run)
    table["bare steps, share of peak, %"] = 100 * share
    table["padding, %"] = 100 * groups["padding"].median()
    table["turns"] = groups.size()
    table = table.reset_index()
    return table.round({"ratio": 2, "bare steps, share of peak, %": 0, "padding, %": 1})


def fits(run: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each contestant on each workload, and what they mean."""
    part = _part(run, "fit")
    if "error" in part:
        part = part[part["error"].isna()]
    peak = _highest(run)
    rows = []
    for (workload, n_rows, who), group in part.groupby(["workload", "rows", "who"], sort=False):
        seconds = group["seconds"]
        tokens = group["tokens"].iloc[0]
        rows.append(
            {
                "workload": workload,
                "rows": int(n_rows),
                "contestant": who,
                "seconds": _spread(seconds),
                "turns": len(group),
                "seconds / ours": _ratio(part, workload, n_rows, who),
                "tokens/s": round(tokens / seconds.median()),
                "share of peak, %": 100 * group["gflop"].iloc[0] / seconds.median() / peak,
                "test accuracy, %": 100 * group["accuracy"].max(),
            }
        )
    table = pd.DataFrame(rows)
    return table.round({"seconds / ours": 2, "share of peak, %": 0, "test accuracy, %": 0})


def predictions(run: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each predictor, and texts a second."""
    part = _part(run, "predict")
    groups = part.groupby(["workload", "rows", "who"], sort=False)["seconds"]
    table = groups.agg(_spread).to_frame("seconds").reset_index()
    medians = groups.median().to_numpy()
    table["texts/s"] = (table["rows"] / medians).round().astype(int)
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
    """Megabytes above the imports of each contestant, beside weights + activations."""
    part = _part(run, "memory")
    rows = []
    for workload, n_rows in _distinct(part, "workload", "rows"):
        group = part[(part["workload"] == workload) & (part["rows"] == n_rows)]
        floor = group[group["who"] == FLOOR].iloc[0]
        needed = floor["weights"] + floor["activations"]
        label = f"weights {floor['weights']:.0f} + activations {floor['activations']:.0f}"
        rows.append([workload, int(n_rows), label, needed, 1.0, None])
        for who, own in group[group["who"] != FLOOR].groupby("who", sort=False):
            used = own["megabytes"].median()
            seconds = own["seconds"].median() if "seconds" in own else None  # not in old runs
            rows.append([workload, int(n_rows), who, used, used / needed, seconds])
    names = ["workload", "rows", "contestant", "MB", "times weights + activations", "seconds"]
    decimals = {"MB": 0, "times weights + activations": 2, "seconds": 1}
    table = pd.DataFrame(rows, columns=names).astype({"seconds": float}).round(decimals)
    return table.drop(columns=[] if table["seconds"].notna().any() else "seconds")


def plot(runs: list[pd.DataFrame], file: Path) -> None:
    """How many times as fast ours is as each peer, a workload."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "speed"  # the same bytes each time
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    measured = {about(run).partition(";")[0]: fits(run) for run in runs if len(_part(run, "fit"))}
    peers = {title: table[table["contestant"] != OURS] for title, table in measured.items()}
    sizes = [len(table) for table in peers.values()]
    figure, panels = plt.subplots(
        len(peers),
        figsize=(7.5, 1.5 + 0.17 * sum(sizes)),
        height_ratios=sizes,
        layout="constrained",
        sharex=True,
        squeeze=False,
    )
    for axes, (title, table) in zip(panels[:, 0], peers.items(), strict=True):
        labels = table["workload"] + ", " + table["contestant"]
        axes.barh(labels, table["seconds / ours"], color="tab:blue")
        axes.axvline(1.0, color="gray", linestyle=":")
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.tick_params(labelsize=7)
        axes.set_title(title, fontsize=7)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds of the peer / seconds of ours", fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _judged(run: pd.DataFrame) -> Iterator[tuple[str, str, float, float, bool]]:
    """Name, sign, bound, value and verdict of each target that was measured."""
    for name, sign, bound, value in _measured(run):
        if pd.notna(value):
            met = value >= bound if sign == "at least" else value <= bound
            yield name, sign, bound, float(value), met


def _measured(run: pd.DataFrame) -> Iterator[tuple[str, str, float, float]]:
    """Each target with what was measured, NaN where nothing was."""
    least, most = "at least", "at most"
    part = _part(run, "fit")
    for workload, n_rows in _distinct(part, "workload", "rows"):
        for who, bound in FIT_TARGETS.items():
            value = _ratio(part, workload, n_rows, who)
            yield f"fit, {who} / ours, {workload}, {n_rows:.0f} rows", least, bound, value
    for row in wholes(run).itertuples() if len(_part(run, "whole")) else ():
        bound = WHOLE_TARGETS.get(row.workload, float("nan"))
        yield f"whole fit / bare steps, {row.workload}", most, bound, row.ratio
    for row in _part(run, "step").itertuples():
        if (row.rows, row.length) == (32, 32):
            peak = _part(run, "peak").set_index(["rows", "length"])["peak"][32, 32]
            yield "bare step at 32 x 32 / peak there", least, STEP_TARGET, row.gflops / peak
    part = _part(run, "predict")
    for (workload,) in _distinct(part, "workload"):
        medians = part[part["workload"] == workload].groupby("who")["seconds"].median()
        for (own, other), bound in PREDICT_TARGETS.items():
            value = medians.get(other, float("nan")) / medians.get(own, float("nan"))
            yield f"predict, {other} / {own}, {workload}", least, bound, value
    part = _part(run, "trunk")
    for (search,) in _distinct(part, "search"):
        medians = part[part["search"] == search].groupby("layers")["seconds"].median()
        name = "a grid" if search else "one fit"
        value = medians.get("all", float("nan")) / medians.get(2, float("nan"))
        yield f"eight epochs, all / top 2 of 6 blocks, {name}", least, TRUNK_TARGET, value
    for workload, table in memories(run).groupby("workload", sort=False):
        used = table.set_index("contestant")["MB"]
        own = used.get(OURS, float("nan"))
        name = f"memory of a fit / (weights + activations), {workload}"
        yield name, most, MEMORY_TARGET, own / used.iloc[0]
        lowest = used.iloc[1:][~used.index[1:].str.startswith(OURS)].min()
        yield f"memory, lowest peer / ours, {workload}", least, 1.0, lowest / own


def _distinct(part: pd.DataFrame, *columns: str) -> Iterator[Any]:
    """Each combination of values once, in order."""
    if len(part):
        yield from part[[*columns]].drop_duplicates().itertuples(index=False)


def _kind(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["cpu"], record["device"], record["threads"], record["native_bfloat16"]


def _part(run: pd.DataFrame, name: str) -> pd.DataFrame:
    """The records of one part, without the columns of others."""
    return run[run["part"] == name].dropna(axis="columns", how="all")


def _highest(run: pd.DataFrame) -> float:
    """GFLOP/s of the matrix products at the batch that suits them best."""
    part = _part(run, "peak")
    return float(part["peak"].max()) if len(part) else float("nan")


def _ratio(part: pd.DataFrame, workload: str, n_rows: float, who: str) -> float:
    """Median seconds of ``who`` over ours on the same rows; NaN if not measured."""
    same = part[(part["workload"] == workload) & (part["rows"] == n_rows)]
    medians = same.groupby("who")["seconds"].median()
    return float(medians.get(who, float("nan")) / medians.get(OURS, float("nan")))


def _spread(seconds: pd.Series) -> str:
    """Median, and the range where there is one."""
    middle = f"{seconds.median():.3g}"
    if len(seconds) == 1:
        return middle
    return f"{middle} ({seconds.min():.3g} to {seconds.max():.3g})"


def _met(met: bool) -> str:
    return "met" if met else "missed"
