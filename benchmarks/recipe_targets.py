"""Rates and least steps of the regressor and the tagger, scored on held-out training rows.

    SKLEARN_LNTUNE_DATA=folder python benchmarks/recipe_targets.py

Numbers: Pearson's correlation on 1,000 pairs of STS-B. Tags: F1 of entities on 600 sentences
of WNUT-17. No test set is read. Finished runs are in ``results/recipe_targets.jsonl``.
"""

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import RESULTS, Records, lines, options, origin, rst, surroundings
from scipy.stats import pearsonr
from tags import f1
from tags import read as sentences
from targets import table

from sklearn_lntune import LNTunedTransformerRegressor, LNTunedTransformerTagger

NUMBERS, TAGS = "numbers (STS-B)", "tags (WNUT-17)"
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "joined": {"pairs": "joined"},
    "joined, lr=5e-3": {"pairs": "joined", "lr": 5e-3},
    "300 steps": {"min_steps": 300},
    "lr=5e-3": {"lr": 5e-3},
    "lr=5e-3, 300 steps": {"lr": 5e-3, "min_steps": 300},
    "lr=5e-3, head_lr=1e-2": {"lr": 5e-3, "head_lr": 1e-2},
}


def numbers(n: int, seed: int, changes: dict[str, Any]) -> dict[str, float]:
    """Correlation on held-out pairs."""
    frame = table("stsb", "train").sample(n + 1000, random_state=seed)
    rows = list(zip(frame["text_a"], frame["text_b"], strict=True))
    y = frame["label"].astype(float).to_numpy()
    model = LNTunedTransformerRegressor(random_state=seed, max_length=64, **changes)
    start = time.process_time()
    model.fit(rows[:n], y[:n])
    seconds = time.process_time() - start
    found = pearsonr(model.predict(rows[n:]), y[n:]).statistic
    return {"score": round(float(found), 4), "seconds": round(seconds, 1)}


def tags(n: int, seed: int, changes: dict[str, Any]) -> dict[str, float]:
    """F1 of entities in held-out sentences."""
    X, y = sentences("train", None)
    order = np.random.default_rng(seed).permutation(len(X))
    train, held = order[:n], order[n : n + 600]
    known = {tag for i in train for tag in y[i]}
    held = [i for i in held if known.issuperset(y[i])]
    model = LNTunedTransformerTagger(random_state=seed, max_length=64, **changes)
    start = time.process_time()
    model.fit([X[i] for i in train], [y[i] for i in train])
    seconds = time.process_time() - start
    found = f1([y[i] for i in held], model.predict([X[i] for i in held]))
    return {"score": round(found, 4), "seconds": round(seconds, 1)}


def figure() -> str:
    """Mean scores by candidate, on the seeds that all of a row's candidates have."""
    frame = pd.DataFrame(lines(RESULTS / "recipe_targets.jsonl"))
    frame["fit"] = frame["target"] + ", " + frame["rows"].astype(str) + " rows"
    wide = 100 * frame.pivot_table(index="candidate", columns="fit", values="score")
    shown = wide.reindex([name for name in CANDIDATES if name in wide.index]).round(1)
    return rst(shown, floatfmt=".1f", missingval="") + f"\n{origin(frame.iloc[-1])}.\n"


def main() -> None:
    given = options(
        __doc__, rows=((100, 800), (20,)), seeds=((0, 1, 2), (0,)), targets=((NUMBERS, TAGS),) * 2
    )
    torch.set_num_threads(1)
    records = Records(given.out / "recipe_targets.jsonl", {}, surroundings("scikit-learn"))
    for seed, target, n in itertools.product(given.seeds, given.targets, given.rows):
        for candidate, changes in CANDIDATES.items():
            if n >= 500 and "min_steps" in changes:
                continue  # five passes are about as many
            if target == TAGS and "pairs" in changes:
                continue
            run = numbers if target == NUMBERS else tags
            key = {"target": target, "rows": n, "seed": seed, "candidate": candidate}
            records.once(key, lambda r=run, n=n, s=seed, c=changes: r(n, s, c))


if __name__ == "__main__":
    main()
