"""The classifier at its defaults beside what else one could do, on twelve public data sets.

    SKLEARN_LNTUNE_DATA=folder python benchmarks/arena.py                  # 1,000 training rows
    SKLEARN_LNTUNE_DATA=folder python benchmarks/arena.py --rows 100 --sets trec banking77 mrpc subj

Every method gets the same training rows (drawn by the seed, stratified; of 100 rows at most 16
a class) and the same test rows, and cuts texts at the same length. No setting was chosen on
these test rows: ``recipe.py`` chose on training rows. Where test rows have no labels (RTE, CoLA),
the validation rows take their place. Finished runs are kept in ``results/arena.jsonl`` with
their answers row by row, and not run again unless a default has changed since.

One thread. Times are processor seconds.
"""

import itertools
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import (
    RESULTS,
    Records,
    backbone_folder,
    difference,
    lines,
    options,
    origin,
    rst,
    surroundings,
    svg,
)
from recipe import SETS, figures
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

#: The latest change of a default of ours, by whether rows are pairs: earlier runs are run again.
RECIPE = {False: "2026-11-28", True: "2026-11-28, pairs"}
PAIRED = ("mrpc", "rte")
N_TEST, MOST_A_CLASS = 1000, 16
#: Steps of SetFit on pairs: its default is one pass over all pairs of the rows, half a million.
SETFIT_STEPS = 500
SMALL = "best at 0.1 %"
OURS = {
    "default": "layernorm",
    SMALL: "bias-ffn-ln",
    "BitFit": "bias",
    "LoRA": "lora",
    "full": "full",
}
FROZEN, TFIDF, SETFIT = "frozen + LR", "TF-IDF + LR", "SetFit"
METHODS = (FROZEN, TFIDF, "default", SMALL, "BitFit", "LoRA", "full", SETFIT)
#: Those of README's table.
FIRST = (TFIDF, FROZEN, "default", "full")
#: What is compared with what, and the aim at 1,000 rows.
PAIRS = {
    ("default", "full"): "at least -0.3",
    (SMALL, "full"): "at least 0",
    ("default", SETFIT): "at least +1.0",
    ("default", FROZEN): "at least +3",
    ("default", "BitFit"): "at least 0",
    (SMALL, "BitFit"): "",
    (SMALL, "default"): "",
    ("default", TFIDF): "",
}


@dataclass(frozen=True)
class Rows:
    """Training and test rows of a run."""

    X: list[Any]
    y: np.ndarray
    X_test: list[Any]
    y_test: np.ndarray
    length: int
    seed: int


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of the test rows, and processor seconds to fit and to predict."""

    log_proba: np.ndarray
    classes: np.ndarray
    fit_seconds: float
    predict_seconds: float
    parameters: int = 0


def rows_of(name: str, n: int, seed: int) -> Rows:
    """Rows of a run; ``n`` of 0 is all training rows."""
    X, y = (list(each) for each in fetch_text_dataset(name))
    source = "sst2" if name == "sst2_sentences" else name
    split = "validation" if name in ("rte", "cola") else "test"
    X_test, y_test = (list(each) for each in fetch_text_dataset(source, split))
    if len(X_test) > N_TEST:
        X_test, _, y_test, _ = train_test_split(
            X_test, y_test, train_size=N_TEST, random_state=0, stratify=y_test
        )
    if 0 < n < len(X):
        X, _, y, _ = train_test_split(X, y, train_size=n, random_state=seed, stratify=y)
    if 0 < n <= 100:
        few = pd.Series(y).groupby(y).head(MOST_A_CLASS).index
        X, y = [X[i] for i in few], [y[i] for i in few]
    known = set(y)  # of few rows a class may be missing
    kept = [i for i, label in enumerate(y_test) if label in known]
    return Rows(
        list(X),
        np.asarray(y),
        [X_test[i] for i in kept],
        np.asarray([y_test[i] for i in kept]),
        SETS[name],
        seed,
    )


def tuned(tuning: str, rows: Rows) -> Answers:
    """One of our methods at its defaults."""
    clf = LNTunedTransformerClassifier(
        tuning=tuning, max_length=rows.length, random_state=rows.seed
    )
    start = time.process_time()
    clf.fit(rows.X, rows.y)
    end_of_fit = time.process_time()
    log_proba = clf.predict_log_proba(rows.X_test)
    learnt = {key: value for key, value in clf.delta_.items() if not key.startswith("head/")}
    return Answers(
        log_proba,
        clf.classes_,
        end_of_fit - start,
        time.process_time() - end_of_fit,
        sum(value.size for value in learnt.values()),
    )


def regression(y: np.ndarray) -> GridSearchCV:
    """Logistic regression with ``C`` by cross-validation."""
    folds = KFold(3, shuffle=True, random_state=0) if pd.Series(y).value_counts().min() < 3 else 3
    grid = {"C": [0.1, 1.0, 10.0, 100.0, 1000.0]}
    return GridSearchCV(LogisticRegression(max_iter=3000), grid, cv=folds)


def frozen(rows: Rows) -> Answers:
    """Embeddings of unit length; of a pair their distance and product, which is more than both."""
    embedder = LNTunedTransformerClassifier(
        tuning="head", max_epochs=1, min_steps=1, max_length=rows.length, random_state=0
    ).fit(["a", "b"], [0, 1])  # only so that it counts as fitted

    def vectors(X: list[Any]) -> np.ndarray:
        if isinstance(X[0], str):
            return Normalizer().fit_transform(embedder.embed(X))
        one, two = (vectors([row[side] for row in X]) for side in (0, 1))
        return np.concatenate([np.abs(one - two), one * two], axis=1)

    start = time.process_time()
    clf = regression(rows.y).fit(vectors(rows.X), rows.y)
    end_of_fit = time.process_time()
    log_proba = clf.predict_log_proba(vectors(rows.X_test))
    return Answers(log_proba, clf.classes_, end_of_fit - start, time.process_time() - end_of_fit)


def tfidf(rows: Rows) -> Answers:
    """Words and pairs of words; the texts of a pair as one."""
    X, X_test = (
        [row if isinstance(row, str) else " ".join(row) for row in each]
        for each in (rows.X, rows.X_test)
    )
    start = time.process_time()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    clf = make_pipeline(vectorizer, regression(rows.y)).fit(X, rows.y)
    end_of_fit = time.process_time()
    log_proba = clf.predict_log_proba(X_test)
    return Answers(log_proba, clf.classes_, end_of_fit - start, time.process_time() - end_of_fit)


def setfit(rows: Rows) -> Answers:
    """SetFit at its defaults, but for the cap on its steps and the length of texts."""
    import datasets
    from setfit import SetFitModel, Trainer, TrainingArguments

    datasets.disable_progress_bars()
    classes, codes = np.unique(rows.y, return_inverse=True)
    model = SetFitModel.from_pretrained(backbone_folder())
    model.model_body.max_seq_length = rows.length
    arguments = TrainingArguments(
        max_steps=SETFIT_STEPS,
        seed=rows.seed,
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        show_progress_bar=False,
    )
    data = datasets.Dataset.from_dict({"text": rows.X, "label": codes})
    start = time.process_time()
    Trainer(model=model, args=arguments, train_dataset=data).train()
    end_of_fit = time.process_time()
    proba = np.asarray(model.predict_proba(rows.X_test, as_numpy=True, show_progress_bar=False))
    with np.errstate(divide="ignore"):
        log_proba = np.maximum(np.log(proba), -100)
    size = sum(each.numel() for each in model.model_body.parameters())
    return Answers(log_proba, classes, end_of_fit - start, time.process_time() - end_of_fit, size)


def run(method: str, name: str, n: int, seed: int) -> dict[str, Any]:
    """One fit, scored on the test rows."""
    rows = rows_of(name, n, seed)
    others = {FROZEN: frozen, TFIDF: tfidf, SETFIT: setfit}
    fit = others[method] if method in others else partial(tuned, OURS[method])
    found = fit(rows)
    correct = found.classes[found.log_proba.argmax(axis=1)] == rows.y_test
    return {
        **figures(found.log_proba, rows.y_test, found.classes),
        "fit_seconds": round(found.fit_seconds, 1),
        "texts_a_second": round(len(correct) / found.predict_seconds, 1),
        "parameters": found.parameters,
        "n_train": len(rows.X),
        "correct": "".join("01"[int(right)] for right in correct),
    }


def finished(n: int) -> pd.DataFrame:
    """The committed runs of ``n`` training rows; of ours, those of the defaults of today."""
    runs = pd.DataFrame(lines(RESULTS / "arena.jsonl"))
    if "recipe" not in runs:
        runs["recipe"] = None
    today = runs["recipe"].eq(runs["set"].isin(PAIRED).map(RECIPE)) | ~runs["method"].isin(OURS)
    runs = runs[(runs["rows"] == n) & today]
    return runs.drop_duplicates(["method", "set", "seed"], keep="last")


def shared(runs: pd.DataFrame, *methods: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs that each of ``methods`` has, and their sets."""
    runs = runs[runs["method"].isin(methods)]
    counts = runs.groupby(["set", "seed"])["method"].nunique()
    keys = counts[counts == len(methods)].index
    kept = runs.set_index(["set", "seed"]).loc[keys].reset_index()
    return kept, sorted(set(kept["set"]))


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over the sets and seeds that every method has."""
    present = [method for method in METHODS if method in set(runs["method"])]
    kept, _ = shared(runs, *present)
    groups = kept.groupby("method")
    table = pd.DataFrame(
        {
            "accuracy, %": (100 * groups["accuracy"].mean()).round(1),
            "macro-F1, %": (100 * groups["macro_f1"].mean()).round(1),
            "log-loss": groups["log_loss"].mean().round(3),
            "ECE": groups["ece"].mean().round(3),
            "s a fit": groups["fit_seconds"].median().round(1),
            "texts/s": groups["texts_a_second"].median().round(0),
            "trained": groups["parameters"].first(),
        }
    )
    return table.reindex(present)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Differences of pairs of methods with intervals, each on the sets that both have."""
    rows = []
    for (one, other), aim in PAIRS.items():
        kept, sets = shared(runs, one, other)
        if sets:
            mean, low, high = difference(kept, one, other, sets)
            label = f"{one} - {other}"
            rows.append([label, f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", len(sets), aim])
    columns = ["difference", "points", "95 % interval", "sets", "aim"]
    return pd.DataFrame(rows, columns=columns)


def by_set(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy of each method on each set, in percent."""
    wide = 100 * runs.pivot_table(index="method", columns="set", values="accuracy")
    sets = [name for name in SETS if name in wide]
    return wide.reindex(index=list(METHODS))[sets].dropna(how="all").round(1)


def figure() -> str:
    """The tables of the documentation, for each number of rows that was run."""
    parts = []
    for n, words in ((1000, "1,000 training rows"), (100, "100 training rows"), (0, "All rows")):
        runs = finished(n)
        if runs.empty:
            continue
        n_sets, n_seeds = runs["set"].nunique(), runs.groupby("set")["seed"].nunique()
        parts += [
            f"**{words}**: {n_sets} of {len(SETS)} sets, {n_seeds.max()} of 3 seeds. Means are "
            "over what all methods have.\n",
            rst(summary(runs).astype(object)),
            "The same of four methods, on more sets where the others lack runs:\n",
            rst(summary(runs[runs["method"].isin(FIRST)]).astype(object)),
            "Accuracy on each set:\n",
            rst(by_set(runs).map("{:.1f}".format).replace("nan", ""), disable_numparse=True),
            "Differences, paired by row and seed:\n",
            rst(compared(runs), index=False, disable_numparse=True),
        ]
    return "\n".join([*parts, f"Last run: {origin(finished(1000).iloc[-1])}."])


def plot(file: Path) -> None:
    """Accuracy over seconds of a fit, at 1,000 rows."""
    table = summary(finished(1000))
    with svg(file, figsize=(7.5, 4.5)) as axes:
        axes.scatter(table["s a fit"], table["accuracy, %"], color="tab:blue")
        for method, *at in table[["s a fit", "accuracy, %"]].itertuples():
            axes.annotate(method, at, xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="processor seconds of a fit, median")
        axes.set(ylabel="mean test accuracy, %")


def main() -> None:
    given = options(
        __doc__,
        rows=(1000, 60),
        sets=(tuple(SETS), ("trec", "mrpc")),
        methods=(METHODS, (FROZEN, TFIDF)),
        seeds=((0, 1, 2), (0,)),
    )
    torch.set_num_threads(1)
    stamp = surroundings("scikit-learn", "setfit")
    records = Records(given.out / "arena.jsonl", {}, stamp)
    for seed, name, method in itertools.product(given.seeds, given.sets, given.methods):
        if method == SETFIT and name in PAIRED:
            continue  # takes single texts
        key = {"rows": given.rows, "set": name, "seed": seed, "method": method}
        if method in OURS:
            key["recipe"] = RECIPE[name in PAIRED]
        records.once(key, partial(run, method, name, given.rows, seed))


if __name__ == "__main__":
    main()
