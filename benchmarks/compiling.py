"""What torch.compile costs and gains: epochs and predictions with and without it.

    python benchmarks/compiling.py

Two classifiers, one with ``compile=True``, on texts of one length; predictions by turns.
"""

import statistics
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
from harness import by_turns, clock, options, origin, read, rst, training_type, write

from sklearn_lntune import LNTunedTransformerClassifier

SHAPES = [(32, 12), (16, 16), (32, 32), (128, 32), (16, 128), (8, 256)]
WAYS = {"plain": False, "compiled": True}


def measured(rows: int, length: int, n_batches: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds a batch of epochs and of predictions, and seconds to compile."""
    letters = list("abcdefghijklmnopqrstuvwxyz")  # each is one token
    drawn = np.random.default_rng(0).choice(letters, (rows * n_batches, length - 2))
    texts = [" ".join(row) for row in drawn]
    clfs = {
        way: LNTunedTransformerClassifier(
            batch_size=rows, max_epochs=1 + repeats, min_steps=0, compile=flag
        ).fit(texts, np.arange(len(texts)) % 2)
        for way, flag in WAYS.items()
    }
    some = texts[:rows]
    epochs = {way: [each["dur"] for each in clf.log_] for way, clf in clfs.items()}
    first = {way: clock(lambda c=clf: c.predict(some)) for way, clf in clfs.items()}
    predicted = by_turns({way: lambda c=c: c.predict(some) for way, c in clfs.items()}, repeats)
    trained = {way: statistics.median(each[1:]) / n_batches for way, each in epochs.items()}
    return {
        "training": {way: round(1e3 * each, 2) for way, each in trained.items()}
        | {"compiling": epochs["compiled"][0] - epochs["compiled"][1]},
        "prediction": {way: round(1e3 * each, 2) for way, each in predicted.items()}
        | {"compiling": first["compiled"] - first["plain"]},
    }


def figure() -> str:
    """Milliseconds of plain and compiled steps, and after how many compiling has paid."""
    report = read("compiling")
    frames, costs = [], []
    for name, run in report["runs"].items():
        frame = pd.DataFrame(run["shapes"])
        seconds, gain = run["seconds to compile"], frame["plain"] - frame["compiled"]
        frame["plain / compiled"] = (frame["plain"] / frame["compiled"]).round(2)
        frame["steps to win back"] = [
            f"{1e3 * seconds / n:,.0f}" if n > 0 else "never" for n in gain
        ]
        frame.insert(0, "step", name)
        frames.append(frame)
        costs.append(f"{seconds:.0f} s for {name}")
    return rst(pd.concat(frames).astype(object), index=False) + (
        f"\nMilliseconds in {report['type']}, median of {report['repeats']} in turns. Compiling "
        f"took {', '.join(costs)}, once a fit. {report['threads']} threads, {report['device']} "
        f"{origin(report)}.\n"
    )


def main() -> None:
    given = options(__doc__, repeats=(5, 1), shapes=(6, 1), batches=(8, 2))
    runs: dict[str, Any] = defaultdict(lambda: {"seconds to compile": 0.0, "shapes": []})
    for rows, length in SHAPES[: given.shapes]:
        found = measured(rows, length, given.batches, given.repeats)
        for name, each in found.items():
            seconds = max(runs[name]["seconds to compile"], each.pop("compiling"))
            runs[name]["seconds to compile"] = round(seconds, 1)
            runs[name]["shapes"].append({"rows": rows, "length": length} | each)
    dtype = str(training_type()).removeprefix("torch.")
    write(given.out, "compiling", {"runs": runs, "repeats": given.repeats, "type": dtype})


if __name__ == "__main__":
    main()
