"""Turn the committed results into the tables of the documentation.

python benchmarks/render.py
"""

from __future__ import annotations

import json
from pathlib import Path

import methods_figures
import numpy as np
import pandas as pd
import plan as large
import speed_figures
from defaults import load, table

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs" / "figures"


def rst(frame: pd.DataFrame, **options: object) -> str:
    """``frame`` as a table in reStructuredText."""
    return frame.to_markdown(tablefmt="rst", **options) + "\n"


def defaults() -> str:
    """Held-out accuracy of each change of a setting."""
    frame = table(load()).reset_index()
    frame["changes"] = frame["changes"].map(
        lambda text: (
            ", ".join(f"{k}={v:g}" for k, v in json.loads(text).items())
            or "(base: lr=0.01, min_steps=600)"
        )
    )
    frame = frame.rename(columns={"cap": "rows, at most"})
    frame = frame.astype({"difference": object}).where(frame.notna(), None)
    return rst(frame, index=False, floatfmt=".1f", missingval="")


def real_data() -> str:
    """Test accuracy, mean over seeds, with its standard deviation."""
    lines = (RESULTS / "real_data.jsonl").read_text("utf-8").splitlines()
    frame = pd.DataFrame([json.loads(line) for line in lines])
    groups = frame.groupby(["method", "set"], sort=False)["accuracy"].agg(["mean", "std", "count"])

    def cell(row: pd.Series) -> str:
        spread = f" ± {100 * row['std']:.1f}" if row["count"] > 1 else ""
        return f"{100 * row['mean']:.1f}{spread}"

    cells = groups.apply(cell, axis=1).rename("accuracy").reset_index()
    order = {"index": frame["method"].unique(), "columns": frame["set"].unique()}
    wide = cells.pivot_table(index="method", columns="set", values="accuracy", aggfunc="first")
    return rst(wide.reindex(**order))


def memory() -> str:
    """What a hundred classifiers add."""
    report = json.loads((RESULTS / "memory.json").read_text("utf-8"))
    return rst(
        pd.Series(
            {
                "pickle of a classifier of 8 classes, kB": report["pickle_kilobytes"],
                "resident memory added a classifier, MB": report["added_a_classifier_megabytes"],
                "loading one and its first prediction, ms": report[
                    "load_and_first_prediction_milliseconds"
                ],
            },
            name="value",
        ).to_frame()
    ) + (f"\n{report['classifiers']} classifiers on one backbone, {report['date']}.\n")


def methods() -> str:
    """Accuracy of each tuning method, differences with intervals, and how each began."""
    runs = methods_figures.load()
    return "\n".join(
        [
            rst(methods_figures.summary(runs).astype(object).fillna("")),
            ".. figure:: figures/methods.svg",
            "   :alt: mean accuracy over trained parameters",
            "",
            "   Mean test accuracy over trained parameters.",
            "",
            "Accuracy on each set, mean of three seeds:",
            "",
            rst(methods_figures.by_set(runs), floatfmt=".1f", missingval=""),
            "Differences, paired by row and seed, mean over the sets:",
            "",
            rst(methods_figures.differences(runs), index=False, disable_numparse=True),
        ]
    )


def methods_choice() -> str:
    """Held-out accuracy of the learning rates and steps that were tried."""
    return rst(methods_figures.choices(), floatfmt=".1f", missingval="")


def artefacts() -> str:
    """Kilobytes of each form of a classifier, and what many of them cost."""
    report = json.loads((RESULTS / "artefacts.json").read_text("utf-8"))
    names = {
        "saved": "save, folder",
        "saved.zip": "save, zip",
        "pickle": "joblib, pickle",
        "peft": "export_peft",
        "onnx": "export_onnx",
        "transformers": "export_transformers",
    }
    sizes = pd.Series(report["kilobytes"], name="kB").rename(index=names).to_frame()
    many = pd.DataFrame(report["many"]).T.rename(
        index={"ours": "sklearn-lntune, zip", "peft": "peft adapters", "skorch": "skorch pickles"}
    )
    damage = json.loads((RESULTS / "damage.json").read_text("utf-8"))
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return (
        "A classifier of 77 classes (Banking77) on the default backbone:\n\n"
        + rst(sizes.astype({"kB": object}))
        + "\nMany such classifiers on one machine, each of which predicts one text:\n\n"
        + rst(many.astype({"classifiers": int}).astype(object))
        + f"\n{report['date']}; {versions}; ``benchmarks/artefacts.py``. Of "
        f"{damage['changes']:,} changes of a random byte in a folder and in a zip, "
        f"{damage['unnoticed']} went unnoticed at loading (``benchmarks/damage.py``, "
        f"{damage['date']}).\n"
    )


def scale() -> str:
    """What a text costs as there are more of them."""
    report = json.loads((RESULTS / "scale.json").read_text("utf-8"))
    frame = pd.DataFrame(report["in memory"]).set_index("texts").T
    frame.columns = [f"{n:,}" for n in frame.columns]
    table = pd.Series(report["parquet"], name="value").drop("texts").astype(object)
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return (
        "A list of texts as long as TREC's, one epoch on a random backbone of one layer, batch "
        f"size {report['batch_size']}:\n\n"
        + rst(frame)
        + f"\nFrom {frame.columns[-2]} to {frame.columns[-1]} texts, the peak of a fit without the "
        f"cache grows by {report['bytes a further token']} bytes a token.\n"
        f"\nThe same {report['parquet']['texts']:,} texts from a Parquet file; memory is "
        "resident and above that of the process with the backbone loaded:\n\n"
        + rst(table.to_frame())
        + f"\nCPU time on {report['threads']} thread ({report['processor']}), {report['date']}; "
        f"{versions}; ``benchmarks/scale.py``.\n"
    )


def speed() -> str:
    """Targets, times and memory of each processor, and the plot."""
    runs = speed_figures.load()
    if not runs:
        return "No run is committed yet.\n"
    parts = []
    for run in runs:
        parts += [f".. rubric:: {run['cpu'].iloc[0]}", "", speed_figures.about(run), ""]
        for title, frame in speed_figures.tables(run):
            parts += [f"{title}:", "", rst(frame, index=False, floatfmt="g", missingval="")]
        parts += [line for note in speed_figures.notes(run) for line in (note, "")]
    parts += [
        ".. figure:: figures/speed.svg",
        "   :alt: how many times as fast as each peer a fit is",
        "",
        "   Seconds of a peer's fit over seconds of ours, on the same rows.",
        "",
    ]
    return "\n".join(parts)


def plan() -> str:
    """What large jobs would cost, with what that rests on."""
    frames = large.figures()

    def cell(value: float) -> str:
        return "" if pd.isna(value) else f"{value:,.0f}" if value >= 100 else f"{value:.2g}"

    jobs = frames["jobs"].T.map(cell)
    return "\n".join(
        [
            "Measured (``speed.jsonl`` with native bfloat16, ``memory.json``):\n",
            rst(frames["measured"], floatfmt=".4g"),
            "Assumed, measured by nobody here:\n",
            rst(frames["assumed"], floatfmt=".4g"),
            "Calculated (``benchmarks/plan.py``):\n",
            rst(jobs, disable_numparse=True),
            rst(frames["tasks"], floatfmt=".3g"),
        ]
    )


def attention() -> str:
    """Milliseconds of plain and fused attention."""
    report = json.loads((RESULTS / "attention.json").read_text("utf-8"))
    frame = pd.DataFrame(report["runs"])
    frame["training"] = frame["training"].map({True: "forward, backward", False: "forward"})
    frame["eager / sdpa"] = (frame["eager"] / frame["sdpa"]).round(2)
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return rst(frame.astype(object), index=False) + (
        f"\nMilliseconds, median of {report['repeats']} in turns, {report['threads']} threads, "
        f"{report['device']} ({report['processor']}), {report['date']}; {versions}; "
        "``benchmarks/attention.py``.\n"
    )


def lengths() -> str:
    """Seconds and memory of steps over many lengths, as they come and filled up."""
    report = json.loads((RESULTS / "lengths.json").read_text("utf-8"))
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return rst(pd.DataFrame(report["runs"]).T) + (
        f"\nSteps over {report['lengths']} lengths in {report['type']}, {report['passes']} passes; "
        f"medians of {report['turns']} processes each, in turns; {report['threads']} threads "
        f"({report['processor']}), {report['date']}; {versions}; ``benchmarks/lengths.py``.\n"
    )


def compiling() -> str:
    """Milliseconds of plain and compiled steps, and after how many compiling has paid."""
    report = json.loads((RESULTS / "compiling.json").read_text("utf-8"))
    frames = []
    for step, run in report["runs"].items():
        frame = pd.DataFrame(run["shapes"])
        gain = frame["plain"] - frame["compiled"]
        frame["plain / compiled"] = (frame["plain"] / frame["compiled"]).round(2)
        steps = 1e3 * run["seconds to compile"] / gain
        frame["steps to win back"] = [f"{n:,.0f}" if n > 0 else "never" for n in steps]
        frame.insert(0, "step", step)
        frames.append(frame)
    costs = ", ".join(
        f"{run['seconds to compile']:.0f} s for {step}" for step, run in report["runs"].items()
    )
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return rst(pd.concat(frames).astype(object), index=False) + (
        f"\nMilliseconds in {report['type']}, median of {report['repeats']} in turns. Compiling "
        f"took {costs}, once a fit. {report['threads']} threads, {report['device']} "
        f"({report['processor']}), {report['date']}; {versions}; ``benchmarks/compiling.py``.\n"
    )


def fused() -> str:
    """Seconds of a search apart and fused, and beside a search over skorch nets."""
    report = json.loads((RESULTS / "fused.json").read_text("utf-8"))
    frame = pd.DataFrame(report["runs"])
    groups = frame.groupby(["batch_size", "who"], sort=False)
    table = groups["seconds_a_fit"].agg(["median", "min", "max"]).round(3)
    table["fits"] = groups["fits"].first()
    table["resident memory, MB"] = groups["resident_megabytes"].max()
    table = table.rename(columns={"median": "seconds a fit, median"}).reset_index()
    ratios = [
        f"{report[f'ratio_{size}']:.2f} times as fast as apart at batch size {size}"
        + (
            f", {report[f'skorch_ratio_{size}']:.0f} times as fast as skorch"
            if f"skorch_ratio_{size}" in report
            else ""
        )
        for size in sorted(set(frame["batch_size"]))
    ]
    spread = frame[frame.who.isin(["apart", "fused"])].groupby(["batch_size", "who"])["scores"]
    first = spread.first().map(np.array)
    apart = max(
        float(np.abs(first[size, "apart"] - first[size, "fused"]).max())
        for size in sorted(set(frame["batch_size"]))
    )
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    bfloat16 = "with" if report["native_bfloat16"] else "without"
    return (
        rst(table.astype(object), index=False)
        + f"\nFused: {'; '.join(ratios)}. The largest difference between mean test scores, apart "
        f"and fused, is {100 * apart:.2f} points. 12 candidates in 3 folds on {report['rows']} "
        "rows of TREC, one epoch; skorch and the fused search beside it on "
        f"{report['skorch_rows']} rows, two candidates of skorch. "
        f"{report['threads']} threads, {report['device']} "
        f"({report['processor']}, {bfloat16} native bfloat16), {report['date']}; {versions}; "
        "``benchmarks/fused.py``.\n"
    )


def bank() -> str:
    """Memory and speed of many tasks at prediction."""
    report = json.loads((RESULTS / "bank.json").read_text("utf-8"))
    frame = pd.DataFrame(report["runs"]).drop(columns="seconds").set_index("who")
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return (
        f"Mixed traffic: {report['texts']} texts of TREC in one request, text *i* for task *i* "
        "modulo the number of tasks. All tasks have six classes.\n\n"
        + rst(frame.astype(object))
        + f"\nA delta takes {report['kilobytes of a delta']} kB. Taking one more into the bank of "
        f"1,000 took {report['milliseconds to add one to 1000']} ms. A batch of mixed LayerNorm "
        f"adapters in peft: {report['peft, mixed LayerNorm batch']}. Medians of "
        f"{report['rounds']} rounds in turns, a process each, {report['threads']} threads of "
        f"{report['cores']} cores ({report['processor']}), float32, {report['date']}; {versions}; "
        "``benchmarks/bank.py``.\n"
    )


def main() -> None:
    """Write one file a table."""
    DOCS.mkdir(exist_ok=True)
    for figure in (
        defaults,
        real_data,
        memory,
        methods,
        methods_choice,
        artefacts,
        scale,
        fused,
        bank,
        attention,
        lengths,
        compiling,
        speed,
        plan,
    ):
        (DOCS / f"{figure.__name__}.rst").write_text(figure(), "utf-8")
    methods_figures.plot(methods_figures.load(), DOCS / "methods.svg")
    if runs := speed_figures.load():
        speed_figures.plot(runs, DOCS / "speed.svg")


if __name__ == "__main__":
    main()
