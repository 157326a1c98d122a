"""Compare tuning methods and their sums on eight data sets, three seeds each.

Each trains on each set with the learning rates and steps that were chosen for it on held-out
training rows (``results/methods_choice.jsonl``), and is scored on test rows. Finished runs are
kept in ``results/methods.jsonl``.

    python benchmarks/methods.py                    # run what is missing

Differences between two methods are paired by row and seed. Their 95 % intervals come from
a bootstrap that draws seeds and, within each data set, test rows, both with replacement.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness import RESULTS, Records, difference, lines, options, read, rst, some_rows, svg
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune import tuning as t
from sklearn_lntune.datasets import fetch_text_dataset

#: Longest input in tokens, a set; what is longer is cut, for every method alike.
SETS = {"trec": 64, "banking77": 64, "subj": 64, "sst2_sentences": 64}
SETS |= {"agnews": 32, "tweeteval_emotion": 64, "20newsgroups": 32, "mrpc": 128}
N_TRAIN, N_TEST, BATCH = 1600, 1000, 16

LN, PREFIX = t.LayerNormTuning(), t.PrefixTuning(16)
MHA, FFN = t.AdapterTuning(16, sites="attention"), t.AdapterTuning(16, sites="ffn")
#: Peak learning rates where the choice began.
RATES = {"layernorm": 5e-3, "bias": 5e-3, "prefix": 1e-2, "adapter": 2e-3, "lora": 2e-3}
RATES |= {"full": 1e-4, "head": 1e-2}
#: A method: its tuning, the chosen factor of those rates, and the chosen steps. The factor of
#: a sum comes on top of those of its parts.
METHODS: dict[str, tuple[Any, float, int]] = {
    "LN": (LN, 0.33, 200),
    "full": (t.FullTuning(), 0.33, 300),
    "BitFit": (t.BiasTuning(), 1.0, 300),
    "prefix": (PREFIX, 3.0, 300),
    "adapter(MHA)": (MHA, 1.0, 300),
    "adapter(FFN)": (FFN, 1.0, 300),
    "LoRA": (t.LoraTuning(8), 1.0, 200),
    "head": (t.TuningSum(), 1.0, 300),
    "prefix+adapter(MHA)+LN": (PREFIX + MHA + LN, 1.0, 300),
    "prefix+LN": (PREFIX + LN, 1.0, 300),
    "adapter(MHA)+LN": (MHA + LN, 1.0, 300),
    "adapter(FFN)+LN": (FFN + LN, 3.0, 300),
}
#: Not chosen, but this package's defaults; and what trains nothing of the backbone.
DEFAULT, FROZEN = "LN, default rate", "frozen embeddings + logistic regression"
COMPARED = METHODS | {DEFAULT: (LN, 1.0, 300), FROZEN: (t.TuningSum(), 1.0, 0)}
#: What is compared with what, and what the paper (or the aim) says of it.
PAIRS = {
    ("LN", "full"): "aim: at least -1.0",
    ("adapter(MHA)+LN", "full"): "aim: at least 0",
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


def classifier(method: str, factor: float, steps: int, seed: int, length: int) -> Any:
    """The estimator of a run."""
    tuning = COMPARED[method][0]
    parts = getattr(tuning, "methods", (tuning,))
    rates = {part.name: RATES[part.name] * factor for part in parts}
    for single, chosen, _ in METHODS.values() if len(parts) > 1 else ():
        if repr(single) in map(repr, parts):
            rates[single.name] *= chosen
    how = {"head_lr": RATES["head"] * (factor if method == "head" else 1.0), "lr": rates}
    how |= {"batch_size": BATCH, "max_epochs": 1, "min_steps": steps, "max_length": length}
    return LNTunedTransformerClassifier(
        tuning=tuning, precision="bfloat16", random_state=seed, **how
    )


def run(method: str, name: str, seed: int, steps: int, n: int) -> dict[str, Any]:
    """One fit and its answers on the test rows; sst2_sentences has those of sst2."""
    X, y = some_rows(*fetch_text_dataset(name), n)
    source = "sst2" if name == "sst2_sentences" else name
    X_test, y_test = some_rows(*fetch_text_dataset(source, "test"), min(n, N_TEST))
    factor, size = COMPARED[method][1], 0
    if method == FROZEN:
        frozen = classifier("head", 1.0, 1, 0, SETS[name]).fit(X[:BATCH], y[:BATCH])
        X, X_test, grid = frozen.embed(X), frozen.embed(X_test), {"C": [1.0, 10.0, 100.0]}
        clf: Any = GridSearchCV(LogisticRegression(max_iter=3000), grid, cv=3).fit(X, y)
    else:
        clf = classifier(method, factor, steps, seed, SETS[name]).fit(X, y)
        size = sum(v.size for k, v in clf.delta_.items() if not k.startswith("head/"))
    correct = np.asarray(clf.predict(X_test)) == np.asarray(y_test)
    return {
        "accuracy": float(correct.mean()),
        "rows": len(y),
        "parameters": int(size),
        "correct": "".join("01"[int(right)] for right in correct),
    }


def finished() -> pd.DataFrame:
    """The committed runs; after a choice was made anew, a run stands after the old one."""
    runs = pd.DataFrame(lines(RESULTS / "methods.jsonl"))
    return runs.drop_duplicates(["method", "set", "seed"], keep="last")


def by_set(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy of each method on each set, in percent, and over all sets."""
    wide = 100 * runs.pivot_table(index="method", columns="set", values="accuracy")
    wide = wide.reindex(index=list(COMPARED), columns=list(SETS))
    wide.insert(0, "mean", wide.mean(axis=1, skipna=False))
    return wide.round(1)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over sets, its spread over seeds, trained share and relative cost."""
    seeds = 100 * runs.pivot_table(index=["method", "seed"], columns="set", values="accuracy")
    means = seeds.mean(axis=1, skipna=False).groupby(level="method")
    size = runs.groupby("method")["parameters"].first()
    chosen = pd.DataFrame(COMPARED, index=["tuning", "factor", "steps"]).T
    table = {
        "mean, %": means.mean().round(1),
        "std over seeds": means.std().round(2),
        "trained parameters": size,
        "share, %": (100 * size / size["full"]).map("{:.3g}".format),
        "s an epoch": pd.Series(read("methods_time")["seconds"]).round(2),
        "lr factor": chosen["factor"].astype(float),
        "steps": chosen["steps"].astype(int),
    }
    return pd.DataFrame(table).reindex(list(COMPARED))


def figure() -> str:
    """Accuracy of each tuning method, differences with intervals, and how each began."""
    runs, rows = finished(), []
    for (one, other), claim in PAIRS.items():
        mean, low, high = difference(runs, one, other, SETS)
        label = f"{one} - {other}{' (best sum)' if claim.endswith('least 0') else ''}"
        rows.append([label, f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", claim])
    pairs = pd.DataFrame(rows, columns=["difference", "points", "95 % interval", "claim"])
    return "\n".join(
        [
            rst(summary(runs).astype(object).fillna("")),
            ".. figure:: figures/methods.svg",
            "   :alt: mean accuracy over trained parameters\n",
            "   Mean test accuracy over trained parameters.\n",
            "Accuracy on each set, mean of three seeds:\n",
            rst(by_set(runs), floatfmt=".1f", missingval=""),
            "Differences, paired by row and seed, mean over the sets:\n",
            rst(pairs, index=False, disable_numparse=True),
        ]
    )


def plot(file: Path) -> None:
    """Mean accuracy over trained parameters."""
    table = summary(finished())
    tuned = table[table["trained parameters"] > 0]
    with svg(file, figsize=(7.5, 4.5)) as axes:
        axes.scatter(tuned["trained parameters"], tuned["mean, %"], color="tab:blue")
        for method, *at in tuned[["trained parameters", "mean, %"]].itertuples():
            axes.annotate(method, at, xytext=(5, 4), textcoords="offset points", fontsize=8)
        for method, style in (("head", ":"), (FROZEN, "--")):
            axes.axhline(table.loc[method, "mean, %"], color="gray", linestyle=style, label=method)
        axes.set(xscale="log", xlabel="trained parameters beside the head")
        axes.set(ylabel="mean test accuracy over eight sets, %")
        axes.legend(loc="lower right", fontsize=8)


def main() -> None:
    methods = tuple(COMPARED), ("adapter(MHA)+LN", FROZEN)
    sets = tuple(SETS), ("trec",)
    given = options(__doc__, methods=methods, sets=sets, rows=(N_TRAIN, 90), most_steps=(300, 2))
    records = Records(given.out / "methods.jsonl")
    for seed, name, method in itertools.product(range(3), given.sets, given.methods):
        _, factor, steps = COMPARED[method]
        steps = min(steps, given.most_steps)
        key = {"method": method, "set": name, "seed": seed, "factor": factor, "steps": steps}
        records.once(key, partial(run, method, name, seed, steps, given.rows))


if __name__ == "__main__":
    main()
