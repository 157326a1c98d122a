"""Time a grid search whose fits run as one beside the same search one by one.

12 candidates x 3 folds on rows of TREC, in turns: apart (each fit by itself, backbone and
tokens shared), fused, and a search as a user of skorch would write it (a skorch net
around the whole model, skorch's tokenizer, GridSearchCV), for fewer candidates, since it
is slow; its time is compared a fit. Scores of the first two are compared as well.

    python benchmarks/fused.py [--rows 900] [--batch-sizes 8 16] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_lntune import LNTunedTransformerClassifier, fused_fits
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.classifier import DEFAULT_BACKBONE
from sklearn_lntune.datasets import fetch_text_dataset

RESULTS = Path(__file__).parent / "results" / "fused.json"
GRID = {
    "lr": [1e-3, 2e-3, 5e-3, 1e-2],
    "head_lr": [3e-3, 1e-2, 3e-2],
}


def ours(batch_size: int) -> GridSearchCV:
    """The search over this package's classifier."""
    clf = LNTunedTransformerClassifier(
        batch_size=batch_size, max_epochs=1, min_steps=0, random_state=0
    )
    return GridSearchCV(clf, GRID, cv=3, refit=False)


def skorch(batch_size: int) -> GridSearchCV:
    """The search over a skorch net with its tokenizer, two candidates."""
    from skorch import NeuralNetClassifier
    from skorch.hf import HuggingfacePretrainedTokenizer

    folder = str(resolve(DEFAULT_BACKBONE).folder)
    net = NeuralNetClassifier(
        WholeModel,
        module__folder=folder,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=5e-5,
        batch_size=batch_size,
        max_epochs=1,
        train_split=None,
        verbose=0,
    )
    pipeline = Pipeline([("tokenizer", HuggingfacePretrainedTokenizer(folder)), ("net", net)])
    return GridSearchCV(pipeline, {"net__lr": [2e-5, 5e-5]}, cv=3, refit=False)


class WholeModel(torch.nn.Module):
    """A transformers classifier, all of whose weights are trained."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        from transformers import AutoModelForSequenceClassification

        self.model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=6)

    def forward(self, **inputs: Any) -> Any:
        """Logits."""
        return self.model(**inputs).logits


def timed(search: GridSearchCV, X: Any, y: Any, fused: bool) -> dict[str, Any]:
    """Seconds, seconds a fit, scores and resident memory of one search."""
    start = time.perf_counter()
    if fused:
        with fused_fits():
            search.fit(X, y)
    else:
        search.fit(X, y)
    seconds = time.perf_counter() - start
    scores = search.cv_results_["mean_test_score"]
    n_fits = len(scores) * search.n_splits_
    return {
        "seconds": round(seconds, 2),
        "seconds_a_fit": round(seconds / n_fits, 3),
        "fits": n_fits,
        "scores": [round(float(score), 4) for score in scores],
        "resident_megabytes": round(psutil.Process().memory_info().rss / 1e6),
    }


def main() -> None:
    """Run the contestants in turns, print the ratios and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skorch-rows", type=int, default=150)
    arguments = parser.parse_args()
    X, y = fetch_text_dataset("trec")
    X, y = list(X[: arguments.rows]), np.unique(y[: arguments.rows], return_inverse=True)[1]
    ours(16).set_params(param_grid={"lr": [1e-3]}).fit(X[:60], y[:60])  # loads the backbone
    runs = []
    for batch_size in arguments.batch_sizes:
        for repeat in range(arguments.repeats):
            for who in ("apart", "fused"):
                run = timed(ours(batch_size), X, y, who == "fused")
                runs.append({"who": who, "batch_size": batch_size, "repeat": repeat, **run})
                print(who, batch_size, run["seconds"], "s", flush=True)
    few = slice(0, arguments.skorch_rows)
    for who, make in (("skorch", skorch), ("fused, same rows", ours)):
        for batch_size in arguments.batch_sizes if arguments.skorch_rows else ():
            run = timed(make(batch_size), X[few], y[few], who != "skorch")
            runs.append({"who": who, "batch_size": batch_size, "repeat": 0, **run})
            print(who, batch_size, run["seconds_a_fit"], "s a fit", flush=True)
    report = {
        "rows": arguments.rows,
        "skorch_rows": arguments.skorch_rows,
        "runs": runs,
        "date": time.strftime("%Y-%m-%d"),
        "processor": torch.cpu.get_capabilities().get("cpu_name"),
        "native_bfloat16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: version(name) for name in ("torch", "transformers", "skorch")},
    }
    for batch_size in arguments.batch_sizes:
        medians = {
            who: statistics.median(
                run["seconds_a_fit"]
                for run in runs
                if run["who"] == who and run["batch_size"] == batch_size
            )
            for who in {run["who"] for run in runs}
        }
        report[f"ratio_{batch_size}"] = round(medians["apart"] / medians["fused"], 3)
        if "skorch" in medians:
            ratio = medians["skorch"] / medians["fused, same rows"]
            report[f"skorch_ratio_{batch_size}"] = round(ratio, 1)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print({key: value for key, value in report.items() if "ratio" in key})


if __name__ == "__main__":
    main()
