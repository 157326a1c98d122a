"""Whether a change costs time: fits and predictions of two commits, in turns on one machine.

    python -m benchmarks.paired 890163f HEAD --turns 7

Each turn is a process of its own in a checkout of its commit; the order alternates. Printed
are the medians in seconds and the median of the ratios turn by turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

PROGRAM = """
import json, time
from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets
X, y = load_support_tickets(subset="train", return_X_y=True)
clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
clf.fit(X[:64], y[:64]).predict(X[:8])  # loads the backbone
seconds = {}
for name, call in {
    "fit": lambda: clf.fit(X[:640], y[:640]),
    "predict": lambda: clf.predict_proba(X),
}.items():
    start = time.process_time()
    call()
    seconds[name] = time.process_time() - start
print(json.dumps(seconds))
"""


def seconds_of(checkout: Path) -> dict[str, float]:
    """Processor seconds of a fit and of a prediction of the package in ``checkout``."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"},
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Compare two commits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        checkouts = {}
        for name, commit in (("before", arguments.before), ("after", arguments.after)):
            checkouts[name] = Path(parent, name)
            add = ["git", "worktree", "add", "--quiet", "--detach", str(checkouts[name]), commit]
            subprocess.run(add, check=True)
        try:
            turns = []
            for turn in range(arguments.turns):
                order = list(checkouts) if turn % 2 else list(checkouts)[::-1]
                turns.append({name: seconds_of(checkouts[name]) for name in order})
        finally:
            for checkout in checkouts.values():
                subprocess.run(["git", "worktree", "remove", "--force", str(checkout)], check=True)
    rows = {
        what: {
            **{name: statistics.median(turn[name][what] for turn in turns) for name in checkouts},
            "after / before": statistics.median(
                turn["after"][what] / turn["before"][what] for turn in turns
            ),
        }
        for what in turns[0]["before"]
    }
    print(pd.DataFrame(rows).T.round(3).to_markdown())


if __name__ == "__main__":
    main()
