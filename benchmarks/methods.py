"""Compare tuning methods and their sums on eight data sets, three seeds each.

Every method first chooses its learning rate and number of steps on held-out training
rows of two of the sets; no test set is read for that. Then it trains on each set with
three seeds and is scored on test rows. Resumable: finished runs stand in
``results/methods.jsonl``, choices in ``results/methods_choice.jsonl``.

    python benchmarks/methods.py                # run what is missing; several at a time may
    python benchmarks/methods.py --time         # seconds an epoch, side by side
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    FullTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    TuningSum,
)

FOLDER = Path(__file__).parent / "results"
RESULTS, CHOICES = FOLDER / "methods.jsonl", FOLDER / "methods_choice.jsonl"
TIMES = FOLDER / "methods_time.json"

#: Longest input in tokens, a set; what is longer is cut, for every method alike.
SETS = {
    "trec": 64,
    "banking77": 64,
    "subj": 64,
    "sst2_sentences": 64,
    "agnews": 32,
    "tweeteval_emotion": 64,
    "20newsgroups": 32,
    "mrpc": 128,
}
#: Sets whose training rows the learning rates and steps are chosen on.
CHOICE_SETS = ("trec", "tweeteval_emotion")
#: Decides between what is within `CLOSE` of the best on those.
DECIDING_SET, CLOSE = "sst2_sentences", 0.006
N_TRAIN, N_TEST, N_HELD = 1600, 1000, 1000
SEEDS = (0, 1, 2)
BATCH = 16
STEPS = (300, 200)
FACTORS = (1.0, 0.33, 3.0)
#: Where to look next, if a factor is best.
FURTHER = {3.0: 9.0, 9.0: 27.0, 0.33: 0.11, 0.11: 0.037}

ADAPTER = AdapterTuning(16, sites="attention")
FFN_ADAPTER = AdapterTuning(16, sites="ffn")
SINGLE: dict[str, Any] = {
    "LN": LayerNormTuning(),
    "full": FullTuning(),
    "BitFit": BiasTuning(),
    "prefix": PrefixTuning(16),
    "adapter(MHA)": ADAPTER,
    "adapter(FFN)": FFN_ADAPTER,
    "LoRA": LoraTuning(8),
    "head": TuningSum(),
}
SUMS: dict[str, Any] = {
    "prefix+adapter(MHA)+LN": PrefixTuning(16) + ADAPTER + LayerNormTuning(),
    "prefix+LN": PrefixTuning(16) + LayerNormTuning(),
    "adapter(MHA)+LN": ADAPTER + LayerNormTuning(),
    "adapter(FFN)+LN": FFN_ADAPTER + LayerNormTuning(),
}
METHODS = SINGLE | SUMS
#: Not chosen, but this package's defaults: shows how much the choice matters.
DEFAULT = "LN, default rate"
#: Only to choose how a prefix begins; not in the comparison.
VARIANTS = {
    "prefix, random start": PrefixTuning(16, init="random"),
    "prefix, projection": PrefixTuning(16, projection=128),
}
#: Where the choice of a method's peak learning rate begins.
RATES = {"layernorm": 5e-3, "bias": 5e-3, "prefix": 1e-2, "adapter": 2e-3, "lora": 2e-3}
RATES |= {"full": 1e-4, "head": 1e-2}
FROZEN = "frozen embeddings + logistic regression"


def classifier(method: str, factor: float, steps: int, seed: int, length: int) -> Any:
    """The estimator of a run."""
    tuning = (METHODS | VARIANTS | {DEFAULT: LayerNormTuning()})[method]
    parts = getattr(tuning, "methods", (tuning,))
    rates = {part.name: RATES[part.name] * factor for part in parts}
    if method in SUMS:  # a sum begins at what its parts chose for themselves
        for single, part in SINGLE.items():
            if repr(part) in map(repr, parts):
                rates[part.name] *= choose(single)[0]
    return LNTunedTransformerClassifier(
        tuning=tuning,
        lr=rates,
        head_lr=RATES["head"] * (factor if method == "head" else 1.0),
        batch_size=BATCH,
        max_epochs=1,
        min_steps=steps,
        max_length=length,
        precision="bfloat16",
        random_state=seed,
    )


def train_rows(name: str, n: int) -> tuple[list[Any], list[str]]:
    """``n`` training rows, the same for all methods and seeds."""
    X, y = fetch_text_dataset(name)
    if len(X) > n:
        X, _, y, _ = train_test_split(X, y, train_size=n, random_state=0, stratify=y)
    return X, y


def test_rows(name: str) -> tuple[list[Any], list[str]]:
    """At most `N_TEST` test rows; sst2_sentences has sst2's."""
    X, y = fetch_text_dataset("sst2" if name == "sst2_sentences" else name, "test")
    if len(X) > N_TEST:
        X, _, y, _ = train_test_split(X, y, train_size=N_TEST, random_state=0, stratify=y)
    return X, y


def choose(method: str) -> tuple[float, int]:
    """Factor of the learning rates, and steps: the best mean over the sets of the choice.

    Factors go on by threes while the best is the last; then the best is tried with the
    other number of steps. One more set decides between those that come close.
    """
    scores: dict[tuple[float, int], float] = {}

    def score(factor: float, steps: int) -> None:
        runs = [choice_run(method, factor, steps, name) for name in CHOICE_SETS]
        scores[factor, steps] = statistics.mean(runs)

    for factor in FACTORS:
        score(factor, STEPS[0])
    while (best := max(scores, key=scores.__getitem__)[0]) in FURTHER:
        if (FURTHER[best], STEPS[0]) in scores:
            break
        score(FURTHER[best], STEPS[0])
    score(best, STEPS[1])
    close = [each for each in scores if scores[each] > max(scores.values()) - CLOSE]
    if len(close) == 1:
        return close[0]
    decided = {each: 2 * scores[each] + choice_run(method, *each, DECIDING_SET) for each in close}
    return max(decided, key=decided.__getitem__)


def choice_run(method: str, factor: float, steps: int, name: str) -> float:
    """Accuracy on held-out training rows, from the file where it stands there."""
    key = {"method": method, "factor": factor, "steps": steps, "set": name}

    def run() -> dict[str, Any]:
        X, y = fetch_text_dataset(name)
        rest, held, y_rest, y_held = train_test_split(
            X, y, test_size=N_HELD, random_state=1, stratify=y
        )
        clf = classifier(method, factor, steps, 0, SETS[name])
        clf.fit(rest[:N_TRAIN], y_rest[:N_TRAIN])
        return {"accuracy": clf.score(held, y_held)}

    return float(kept(CHOICES, key, run)["accuracy"])


def run(method: str, name: str, seed: int, factor: float, steps: int) -> dict[str, Any]:
    """One fit and its answers on the test rows."""
    X, y = train_rows(name, N_TRAIN)
    X_test, y_test = test_rows(name)
    start = time.perf_counter()
    if method == FROZEN:
        frozen = classifier("head", 1.0, 1, 0, SETS[name]).fit(X[:BATCH], y[:BATCH])
        grid = {"C": [1.0, 10.0, 100.0]}
        clf = GridSearchCV(LogisticRegression(max_iter=3000), grid, cv=3)
        clf.fit(frozen.embed(X), y)
        X_test, size = frozen.embed(X_test), 0
    else:
        clf = classifier(method, factor, steps, seed, SETS[name]).fit(X, y)
        size = sum(v.size for k, v in clf.delta_.items() if not k.startswith("head/"))
    correct = np.asarray(clf.predict(X_test)) == np.asarray(y_test)
    return {
        "accuracy": float(correct.mean()),
        "rows": len(X),
        "parameters": int(size),
        "seconds": round(time.perf_counter() - start, 1),
        "correct": "".join("01"[int(right)] for right in correct),
    }


def kept(file: Path, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The line of ``file`` with ``key``; made and appended where there is none."""
    for line in file.read_text("utf-8").splitlines() if file.exists() else []:
        found = json.loads(line)
        if key.items() <= found.items():
            return dict(found)
    made = key | make()
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(made) + "\n")
    print({k: v for k, v in made.items() if k != "correct"}, flush=True)
    return made


def seconds_an_epoch() -> None:
    """Train every method by turns on the same rows, three times."""
    X, y = train_rows("trec", 640)
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for turn in range(4):
        for method in METHODS:
            clf = classifier(method, 1.0, 1, 0, SETS["trec"]).fit(X, y)
            if turn:  # the first loads and warms up
                seconds[method].append(clf.log_[0]["dur"])
    medians = {method: round(statistics.median(each), 3) for method, each in seconds.items()}
    TIMES.write_text(json.dumps({"rows": len(X), "batch": BATCH, "seconds": medians}, indent=1))
    print(pd.Series(medians))


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--choose", nargs="*", help="only choose, for these methods")
    arguments = parser.parse_args()
    if arguments.time:
        seconds_an_epoch()
        return
    if arguments.choose is not None:
        for method in arguments.choose or VARIANTS:
            print(method, choose(method))
        return
    chosen = {method: choose(method) for method in METHODS}
    chosen |= {FROZEN: (1.0, 0), DEFAULT: (1.0, STEPS[0])}
    for seed, name, method in itertools.product(SEEDS, SETS, chosen):
        factor, steps = chosen[method]
        key = {"method": method, "set": name, "seed": seed, "factor": factor, "steps": steps}
        # What another process has begun is left to it; a lock goes when its process does.
        lock = filelock.FileLock(Path(tempfile.gettempdir(), f"{method}-{name}-{seed}.lock"))
        with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
            kept(RESULTS, key, functools.partial(run, method, name, seed, factor, steps))


if __name__ == "__main__":
    main()
