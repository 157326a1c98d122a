"""Choose the default learning rate of a tuning method, on held-out training rows.

No test set is read. Each run trains on 1,000 rows for 300 steps and is scored on 1,000
other training rows, as in ``defaults.py``. Finished runs are kept in
``results/rates.jsonl`` and not repeated.

    python benchmarks/rates.py scale 5e-3 1.5e-2 4.5e-2   # run what is missing
    python benchmarks/rates.py                            # print the comparison only
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
from defaults import run

RESULTS = Path(__file__).parent / "results" / "rates.jsonl"
SETS = ("trec", "banking77")
N_ROWS, N_STEPS = 1000, 300


def load() -> pd.DataFrame:
    """Finished runs."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    columns = ["method", "lr", "set", "accuracy"]
    return pd.DataFrame([json.loads(line) for line in lines], columns=columns)


def main() -> None:
    """Run the missing fits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", nargs="?", help="name of a tuning method, or a sum of names")
    parser.add_argument("lr", nargs="*", type=float)
    arguments = parser.parse_args()
    done = set(load()[["method", "lr", "set"]].itertuples(index=False, name=None))
    for lr in arguments.lr:
        for name in SETS:
            if (arguments.method, lr, name) in done:
                continue
            changes = {"tuning": arguments.method, "lr": lr, "min_steps": N_STEPS}
            found = run(name, N_ROWS, changes)
            key = {"method": arguments.method, "lr": lr, "set": name}
            line = key | {"accuracy": found["accuracy"]}
            with RESULTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            print(line, flush=True)
    wide = load().pivot_table(index=["method", "lr"], columns="set", values="accuracy")
    wide["mean"] = wide.mean(axis=1)
    print((100 * wide).round(1).to_markdown())


if __name__ == "__main__":
    main()
