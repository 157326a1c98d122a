"""What a hundred fitted classifiers add to one backbone: resident memory and file size.

python benchmarks/memory.py [--classifiers 100]
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import time
from importlib.metadata import version
from pathlib import Path

import psutil

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets

RESULTS = Path(__file__).parent / "results"


def resident_megabytes() -> float:
    """Resident memory of this process."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    """Fit once, load copies from the pickle, predict with each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifiers", type=int, default=100)
    n = parser.parse_args().classifiers
    X, y = load_support_tickets(return_X_y=True)
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0).fit(X, y)
    saved = pickle.dumps(clf)
    expected = clf.predict_proba(X[:1])
    with_one = resident_megabytes()
    copies = []
    start = time.perf_counter()
    for _ in range(n):
        copies.append(pickle.loads(saved))
        assert (copies[-1].predict_proba(X[:1]) == expected).all()
    seconds = time.perf_counter() - start
    report = {
        "classifiers": n,
        "pickle_kilobytes": round(len(saved) / 1e3, 1),
        "resident_with_one_megabytes": round(with_one, 1),
        "added_a_classifier_megabytes": round((resident_megabytes() - with_one) / n, 3),
        "load_and_first_prediction_milliseconds": round(1e3 * seconds / n, 1),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    print(json.dumps(report, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
