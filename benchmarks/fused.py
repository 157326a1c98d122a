"""Time a grid search whose fits run as one beside the same search one by one.

12 candidates x 3 folds on rows of TREC, in turns: apart (each fit by itself, backbone and
tokens shared), fused, and a search as a user of skorch would write it (a skorch net
around the whole model, skorch's tokenizer, GridSearchCV), for fewer candidates, since it
is slow; its time is compared a fit. Scores of the first two are compared as well.

    python benchmarks/fused.py [--rows 900] [--batch-sizes 8 16] [--repeats 3]
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import Logits, backbone_folder, clock, options, origin, read, resident, rst, write
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_lntune import LNTunedTransformerClassifier, fused_fits
from sklearn_lntune.datasets import fetch_text_dataset

GRID = {"lr": [1e-3, 2e-3, 5e-3, 1e-2], "head_lr": [3e-3, 1e-2, 3e-2]}


def ours(batch_size: int) -> GridSearchCV:
    how = {"batch_size": batch_size, "max_epochs": 1, "min_steps": 0, "random_state": 0}
    return GridSearchCV(LNTunedTransformerClassifier(**how), GRID, cv=3, refit=False)


def skorch(batch_size: int) -> GridSearchCV:
    """The search over a skorch net with its tokenizer, two candidates."""
    from skorch import NeuralNetClassifier
    from skorch.hf import HuggingfacePretrainedTokenizer

    how = {"batch_size": batch_size, "max_epochs": 1, "train_split": None, "verbose": 0}
    how |= {"criterion": torch.nn.CrossEntropyLoss, "optimizer": torch.optim.AdamW}
    net = NeuralNetClassifier(Logits, module__model=6, **how)  # a new model of 6 classes each fit
    tokenizer = HuggingfacePretrainedTokenizer(backbone_folder())
    pipeline = Pipeline([("tokenizer", tokenizer), ("net", net)])
    return GridSearchCV(pipeline, {"net__lr": [2e-5, 5e-5]}, cv=3, refit=False)


def timed(who: str, batch_size: int, X: Any, y: Any) -> dict[str, Any]:
    """Seconds, seconds a fit, scores and resident memory of one search."""
    search = (skorch if who == "skorch" else ours)(batch_size)
    with fused_fits() if who.startswith("fused") else nullcontext():
        seconds = clock(lambda: search.fit(X, y))
    scores = search.cv_results_["mean_test_score"]
    n_fits = len(scores) * search.n_splits_
    found = {
        "who": who,
        "batch_size": batch_size,
        "seconds": round(seconds, 2),
        "seconds_a_fit": round(seconds / n_fits, 3),
        "fits": n_fits,
        "scores": [round(float(score), 4) for score in scores],
        "resident_megabytes": round(resident()),
    }
    print(who, batch_size, found["seconds_a_fit"], "s a fit", flush=True)
    return found


def figure() -> str:
    """Seconds of a search apart and fused, and beside a search over skorch nets."""
    report = read("fused")
    frame = pd.DataFrame(report["runs"])
    groups = frame.groupby(["batch_size", "who"], sort=False)
    table = groups["seconds_a_fit"].agg(["median", "min", "max"]).round(3)
    table["fits"] = groups["fits"].first()
    table["resident memory, MB"] = groups["resident_megabytes"].max()
    ratios, apart = [], 0.0
    for size in sorted(set(frame["batch_size"])):
        median, scores = table["median"][size], groups["scores"].first()[size].map(np.array)
        ratios.append(
            f"{median['apart'] / median['fused']:.2f} times as fast as apart at batch size {size}"
            f", {median['skorch'] / median['fused, same rows']:.0f} times as fast as skorch"
        )
        apart = max(apart, float(np.abs(scores["apart"] - scores["fused"]).max()))
    table = table.rename(columns={"median": "seconds a fit, median"}).reset_index()
    bfloat16 = "with" if report["native_bfloat16"] else "without"
    return (
        rst(table.astype(object), index=False)
        + f"\nFused: {'; '.join(ratios)}. The largest difference between mean test scores, apart "
        f"and fused, is {100 * apart:.2f} points. 12 candidates in 3 folds on {report['rows']} "
        "rows of TREC, one epoch; skorch and the fused search beside it on "
        f"{report['skorch_rows']} rows, two candidates of skorch. "
        f"{report['threads']} threads, {report['device']} {bfloat16} native bfloat16 "
        f"{origin(report)}; ``benchmarks/fused.py``.\n"
    )


def main() -> None:
    given = options(
        __doc__, rows=(900, 30), batch_sizes=((8, 16), (8,)), repeats=(3, 1), skorch_rows=(150, 30)
    )
    X, y = fetch_text_dataset("trec")
    X, y = list(X[: given.rows]), np.unique(y[: given.rows], return_inverse=True)[1]
    ours(16).set_params(param_grid={"lr": [1e-3]}).fit(X[:60], y[:60])  # loads the backbone
    runs = [
        timed(who, size, X, y)
        for size in given.batch_sizes
        for _ in range(given.repeats)
        for who in ("apart", "fused")
    ]
    few = slice(0, given.skorch_rows)
    runs += [
        timed(who, size, X[few], y[few])
        for who in ("skorch", "fused, same rows")
        for size in given.batch_sizes
    ]
    report = {"rows": given.rows, "skorch_rows": given.skorch_rows, "runs": runs}
    write(given.out, "fused", report, "skorch")


if __name__ == "__main__":
    main()
