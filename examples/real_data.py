"""
Real data: TREC, Banking77 and MRPC
===================================

Default settings on three public data sets, beside TF-IDF and frozen embeddings with
logistic regression. Each test set is read once, for the table.

The data come from the Hugging Face hub, or from the folder that the environment variable
``SKLEARN_LNTUNE_DATA`` names. All seeds together take some ten minutes on two cores;
``--seeds 1`` and ``--sets trec`` take less. Finished runs are kept in
``benchmarks/results/real_data.jsonl`` when that folder is there, and not run again.
"""

# %%
# Baselines and the classifier, all at their defaults but for the regression's ``C``.

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

# The gallery runs this in its folder, and defines no __file__.
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
RESULTS = HERE.parent / "benchmarks" / "results" / "real_data.jsonl"
SETS = ("trec", "banking77", "mrpc")


def joined(X):
    """Sentence pairs as one text, for TF-IDF."""
    return [text if isinstance(text, str) else " ".join(text) for text in X]


def tfidf(X, y, X_test, seed):
    """TF-IDF and logistic regression."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )
    return model.fit(joined(X), y).predict(joined(X_test))


def frozen(X, y, X_test, seed):
    """The backbone's embeddings, untouched, of unit length, and logistic regression."""
    few = [list(y).index(label) for label in sorted(set(y))]
    backbone = LNTunedTransformerClassifier(tuning="head", max_epochs=1, min_steps=0)
    backbone.fit([X[i] for i in few], [y[i] for i in few])  # only so that it counts as fitted
    model = make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=2000))
    return model.fit(backbone.embed(X), y).predict(backbone.embed(X_test))


def lntune(X, y, X_test, seed):
    """LayerNorm tuning at its defaults."""
    clf = LNTunedTransformerClassifier(random_state=seed, verbose=1)
    return clf.fit(X, y).predict(X_test)


METHODS = {
    "TF-IDF + logistic regression": tfidf,
    "frozen embeddings + logistic regression": frozen,
    "LayerNorm tuning": lntune,
}

# %%
# One run a data set, method and seed. The baselines have no seed.


def finished():
    """Runs that are already there."""
    return (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )


def main(sets=SETS, seeds=3):
    """Run what is missing and print mean and spread of test accuracy, in percent."""
    runs = finished()
    done = {(run["set"], run["method"], run["seed"]) for run in runs}
    for name in sets:
        missing = [
            (method, seed)
            for method, fit_predict in METHODS.items()
            for seed in range(seeds if fit_predict is lntune else 1)
            if (name, method, seed) not in done
        ]
        if missing:
            X, y = fetch_text_dataset(name, "train")
            X_test, y_test = fetch_text_dataset(name, "test")
        for method, seed in missing:
            start = time.perf_counter()
            accuracy = float(np.mean(METHODS[method](X, y, X_test, seed) == np.asarray(y_test)))
            seconds = round(time.perf_counter() - start, 1)
            run = {"set": name, "method": method, "seed": seed}
            runs.append(run | {"accuracy": accuracy, "seconds": seconds})
            print(json.dumps(runs[-1]), flush=True)
            if RESULTS.parent.is_dir():
                with RESULTS.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(runs[-1]) + "\n")
    frame = pd.DataFrame(runs)
    frame = frame[frame["set"].isin(sets)]
    table = 100 * frame.pivot_table(index="method", columns="set", values="accuracy", sort=False)
    spread = frame[frame["method"] == "LayerNorm tuning"].groupby("set")["accuracy"].std()
    print(table.round(1).to_string())
    print("standard deviation over seeds:", (100 * spread).round(2).to_dict())
    return table


def plot(table):
    """Draw the accuracies as bars."""
    ax = table.T.plot.barh(figsize=(7, 4), xlabel="test accuracy, %", xlim=(50, 100))
    ax.invert_yaxis()
    for bars in ax.containers:
        ax.bar_label(bars, fmt="%.1f", padding=2)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize="small")
    ax.figure.tight_layout()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    plot(main(**vars(parser.parse_args())))
