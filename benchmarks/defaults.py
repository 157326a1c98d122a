"""Choose the default settings: one change at a time, scored on held-out training rows.

No test set is read. Each run trains on up to ``n`` training rows and is scored on 1,000
other training rows. Resumable: finished runs stand in ``results/defaults.jsonl``.

    python benchmarks/defaults.py                # run what is missing
    python benchmarks/defaults.py --part 0 2     # every second run, for two at a time
    python benchmarks/defaults.py --table        # print the comparison only
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

RESULTS = Path(__file__).parent / "results" / "defaults.jsonl"
SETS = ("trec", "banking77", "tweeteval_emotion", "subj", "sst2")
BASE = {
    "lr": 1e-2,
    "head_lr": 1e-2,
    "batch_size": 32,
    "max_epochs": 5,
    "min_steps": 600,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "dropout": 0.1,
    "label_smoothing": 0.0,
}
#: Rows and what is changed, most telling first. What it led to: lr=5e-3 and min_steps=300.
RUNS: list[tuple[int, dict[str, float]]] = [
    (1000, {}),
    (1000, {"min_steps": 300}),
    (100, {"min_steps": 300}),
    (1000, {"min_steps": 300, "lr": 3e-3}),
    (100, {"min_steps": 150}),
    (100, {"min_steps": 300, "lr": 3e-3}),
    (10000, {}),
    (10000, {"lr": 5e-3}),
    (1000, {"min_steps": 300, "lr": 5e-3}),
]
N_SCORED = 1000


def rows_of(name: str, n: int) -> tuple[list[str], list[str], list[str], list[str]]:
    """Training and held-out rows, both from the training set, the same for every setting."""
    X, y = fetch_text_dataset(name)
    X, X_held, y, y_held = train_test_split(X, y, test_size=N_SCORED, random_state=0, stratify=y)
    return X[:n], X_held, y[:n], y_held


def run(name: str, n: int, changes: dict[str, Any]) -> dict[str, object]:
    """One fit, scored."""
    X, X_held, y, y_held = rows_of(name, n)
    clf = LNTunedTransformerClassifier(**(BASE | changes), random_state=0)
    start = time.perf_counter()
    clf.fit(X, y)
    seconds = time.perf_counter() - start
    return {
        "set": name,
        "rows": len(X),
        "cap": n,
        "changes": json.dumps(changes),
        "accuracy": clf.score(X_held, y_held),
        "steps": clf.n_steps_,
        "seconds": round(seconds, 1),
    }


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Accuracy a set, the mean, and the difference to the base settings."""
    wide = results.pivot_table(
        index=["cap", "changes"], columns="set", values="accuracy", sort=False
    )
    wide["mean"] = wide.mean(axis=1, skipna=False)
    base = wide["mean"].xs("{}", level="changes")
    caps = wide.index.get_level_values("cap")
    wide["difference"] = wide["mean"] - base.reindex(caps).to_numpy()
    return (100 * wide).round(1).sort_index(level="cap", sort_remaining=False)


def load() -> pd.DataFrame:
    """Finished runs."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    columns = ["set", "rows", "cap", "changes", "accuracy", "steps", "seconds"]
    return pd.DataFrame([json.loads(line) for line in lines], columns=columns)


def main() -> None:
    """Run the missing fits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1))
    arguments = parser.parse_args()
    done = set(load()[["set", "cap", "changes"]].itertuples(index=False, name=None))
    part, parts = arguments.part
    todo = [(name, n, changes) for n, changes in RUNS for name in SETS][part::parts]
    for name, n, changes in () if arguments.table else todo:
        if (name, n, json.dumps(changes)) in done:
            continue
        line = json.dumps(run(name, n, changes))
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        print(line, flush=True)
    print(table(load()).to_markdown())


if __name__ == "__main__":
    main()
