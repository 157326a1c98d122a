"""Tables and a plot of ``results/methods.jsonl``.

Differences between two methods are paired by row and seed. Their 95 % intervals come from
a bootstrap that draws seeds and, within each data set, test rows, both with replacement.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from methods import (
    CHOICE_SETS,
    CHOICES,
    DECIDING_SET,
    DEFAULT,
    FROZEN,
    METHODS,
    RESULTS,
    SETS,
    TIMES,
)

N_DRAWS = 2000
#: What is compared with what, and what the paper (or the aim) says of it.
PAIRS = {
    ("LN", "full"): "aim: at least -1.0",
    ("best sum", "full"): "aim: at least 0",
    ("LN", "BitFit"): "paper: LN better, at half the parameters",
    ("LN", FROZEN): "aim: at least +3",
    (DEFAULT, "full"): "aim: at least -1.0",
    (DEFAULT, "BitFit"): "paper: LN better, at half the parameters",
    (DEFAULT, FROZEN): "aim: at least +3",
    ("prefix+LN", "prefix"): "paper: LN helps",
    ("adapter(MHA)+LN", "adapter(MHA)"): "paper: LN helps",
    ("adapter(FFN)+LN", "adapter(FFN)"): "paper: LN hurts",
    ("prefix+LN", "full"): "paper: level",
    ("prefix+adapter(MHA)+LN", "full"): "paper: level",
}
SUMS = ("prefix+LN", "adapter(MHA)+LN", "prefix+adapter(MHA)+LN")


def load() -> pd.DataFrame:
    """Finished runs."""
    lines = RESULTS.read_text("utf-8").splitlines()
    runs = pd.DataFrame([json.loads(line) for line in lines])
    # A run of a choice that was made anew stands after that of the old one.
    return runs.drop_duplicates(["method", "set", "seed"], keep="last")


def choices() -> pd.DataFrame:
    """Held-out accuracy in percent, of everything that was tried."""
    lines = CHOICES.read_text("utf-8").splitlines()
    tried = pd.DataFrame([json.loads(line) for line in lines])
    tried = tried.drop_duplicates(["method", "factor", "steps", "set"])
    wide = 100 * tried.pivot_table(
        index=["method", "factor", "steps"], columns="set", values="accuracy"
    )
    wide = wide[[*CHOICE_SETS, DECIDING_SET]]
    wide["mean of the first two"] = wide[list(CHOICE_SETS)].mean(axis=1)
    return wide.reset_index()


def by_set(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy of each method on each set, in percent, and over all sets."""
    wide = 100 * runs.pivot_table(index="method", columns="set", values="accuracy")
    wide = wide.reindex(index=[*METHODS, DEFAULT, FROZEN], columns=list(SETS))
    wide.insert(0, "mean", wide.mean(axis=1, skipna=False))
    return wide.round(1)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over sets, its spread over seeds, trained share and relative cost."""
    seeds = 100 * runs.pivot_table(index=["method", "seed"], columns="set", values="accuracy")
    means = seeds.mean(axis=1, skipna=False).groupby(level="method")
    timing = json.loads(TIMES.read_text("utf-8"))["seconds"]
    size = runs.groupby("method")["parameters"].first()
    backbone = size["full"]
    first = runs.groupby("method").first()
    table = pd.DataFrame(
        {
            "mean, %": means.mean().round(1),
            "std over seeds": means.std().round(2),
            "trained parameters": size,
            "share, %": (100 * size / backbone).map("{:.3g}".format),
            "s an epoch": pd.Series(timing).round(2),
            "lr factor": first["factor"],
            "steps": first["steps"],
        }
    )
    return table.reindex([*METHODS, DEFAULT, FROZEN])


def best_sum(runs: pd.DataFrame) -> str:
    """The sum with the highest mean."""
    means = by_set(runs)["mean"]
    return str(means[list(SUMS)].idxmax())


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean difference in points with its 95 % interval, for each of `PAIRS`."""
    rows = []
    for (one, other), claim in PAIRS.items():
        name = best_sum(runs) if one == "best sum" else one
        mean, low, high = difference(runs, name, other)
        label = f"{name} - {other}" + (" (best sum)" if one == "best sum" else "")
        rows.append(
            {
                "difference": label,
                "points": f"{mean:+.1f}",
                "95 % interval": f"{low:+.1f} to {high:+.1f}",
                "claim": claim,
            }
        )
    return pd.DataFrame(rows)


def difference(runs: pd.DataFrame, one: str, other: str) -> tuple[float, float, float]:
    """Mean of accuracy ``one`` less ``other`` over sets, seeds and rows; its interval."""
    generator = np.random.default_rng(0)
    drawn = np.zeros(N_DRAWS)
    means = []
    for name in SETS:
        gained = _answers(runs, one, name) - _answers(runs, other, name)
        means.append(gained.mean())
        n_seeds, n_rows = gained.shape
        for draw in range(N_DRAWS):
            seeds = generator.integers(n_seeds, size=n_seeds)
            rows = generator.integers(n_rows, size=n_rows)
            drawn[draw] += gained[seeds].mean(0)[rows].mean() / len(SETS)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return 100 * float(np.mean(means)), 100 * float(low), 100 * float(high)


def _answers(runs: pd.DataFrame, method: str, name: str) -> np.ndarray:
    """Whether each answer was right, of shape (n_seeds, n_rows)."""
    chosen = runs[(runs["method"] == method) & (runs["set"] == name)].sort_values("seed")
    return np.array([[int(c) for c in correct] for correct in chosen["correct"]])


def plot(runs: pd.DataFrame, file: Path) -> None:
    """Mean accuracy over trained parameters."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "methods"  # the same bytes each time
    import matplotlib.pyplot as plt

    table = summary(runs)
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    tuned = table[table["trained parameters"] > 0]
    axes.scatter(tuned["trained parameters"], tuned["mean, %"], color="tab:blue")
    for method, row in tuned.iterrows():
        axes.annotate(
            str(method),
            (row["trained parameters"], row["mean, %"]),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
        )
    for method, style in (("head", ":"), (FROZEN, "--")):
        axes.axhline(table.loc[method, "mean, %"], color="gray", linestyle=style, label=method)
    axes.set(
        xscale="log",
        xlabel="trained parameters beside the head",
        ylabel="mean test accuracy over eight sets, %",
    )
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
