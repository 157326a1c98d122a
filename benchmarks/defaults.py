"""Choose the default settings: one change at a time, scored on held-out training rows.

No test set is read. Each run trains on up to ``n`` training rows and is scored on 1,000
other training rows. Finished runs are kept in ``results/defaults.jsonl`` and not repeated.

    python benchmarks/defaults.py                # run what is missing
"""

import itertools
import json
from typing import Any

import pandas as pd
from harness import RESULTS, Records, clock, lines, options, rst
from sklearn.model_selection import train_test_split

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

SETS = ("trec", "banking77", "tweeteval_emotion", "subj", "sst2")
BASE = {"lr": 1e-2, "head_lr": 1e-2, "batch_size": 32, "max_epochs": 5, "min_steps": 600}
BASE |= {"warmup": 0.1, "weight_decay": 0.01, "dropout": 0.1, "label_smoothing": 0.0}
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
TINY: list[tuple[int, dict[str, float]]] = [(100, {"min_steps": 2, "max_epochs": 1})]
N_SCORED = 1000


def rows_of(name: str, n: int) -> tuple[list[str], list[str], list[str], list[str]]:
    """Training and held-out rows, both from the training set, the same for every setting."""
    X, y = fetch_text_dataset(name)
    X, X_held, y, y_held = train_test_split(X, y, test_size=N_SCORED, random_state=0, stratify=y)
    return X[:n], X_held, y[:n], y_held


def run(name: str, n: int, changes: dict[str, Any]) -> dict[str, object]:
    X, X_held, y, y_held = rows_of(name, n)
    clf = LNTunedTransformerClassifier(**(BASE | changes), random_state=0)
    seconds = clock(lambda: clf.fit(X, y))
    return {
        "set": name,
        "rows": len(X),
        "cap": n,
        "changes": json.dumps(changes),
        "accuracy": clf.score(X_held, y_held),
        "steps": clf.n_steps_,
        "seconds": round(seconds, 1),
    }


def figure() -> str:
    """Held-out accuracy of each change of a setting, and the difference to the base."""
    wide = pd.DataFrame(lines(RESULTS / "defaults.jsonl")).pivot_table(
        index=["cap", "changes"], columns="set", values="accuracy", sort=False
    )
    wide["mean"] = wide.mean(axis=1, skipna=False)
    base = wide["mean"].xs("{}", level="changes")
    wide["difference"] = wide["mean"] - base.reindex(wide.index.get_level_values("cap")).to_numpy()
    table = (100 * wide).round(1).sort_index(level="cap", sort_remaining=False).reset_index()
    table["changes"] = [
        ", ".join(f"{k}={v:g}" for k, v in json.loads(text).items())
        or "(base: lr=0.01, min_steps=600)"
        for text in table["changes"]
    ]
    table = table.rename(columns={"cap": "rows, at most"})
    table = table.astype({"difference": object}).where(table.notna(), None)
    return rst(table, index=False, floatfmt=".1f", missingval="")


def main() -> None:
    given = options(__doc__)
    todo = itertools.product(TINY if given.tiny else RUNS, SETS[:1] if given.tiny else SETS)
    records = Records(given.out / "defaults.jsonl")
    for (n, changes), name in todo:
        key = {"set": name, "cap": n, "changes": json.dumps(changes)}
        records.once(key, lambda name=name, n=n, changes=changes: run(name, n, changes))


if __name__ == "__main__":
    main()
