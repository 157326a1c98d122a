"""Several labels per row and numbers, on real data: GoEmotions and STS-B.

    SKLEARN_LNTUNE_DATA=folder python benchmarks/targets.py

Default settings but for class weights and the reading of pairs where said; a finished run is in
``results/targets.jsonl`` and not run again. Each test set is read for the table only. Caps, so
that all of it takes a quarter of an hour: 2,000 training rows of GoEmotions and 2,000 pairs of
STS-B, drawn by seed 0, and 1,000 test rows; ``--train`` and the others raise them. One-vs-rest
fits one classifier for each label, so it is compared on the six most frequent labels and 1,000
rows. Times are processor seconds.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness import RESULTS, Records, lines, options, rst, surroundings
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, Normalizer

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor
from sklearn_lntune.datasets.real import FOLDER_VARIABLE

OURS = "LayerNorm tuning"
FULL = {"tuning": "full"}
EMOTIONS, FEW, PAIRS = "GoEmotions, 28 labels", "GoEmotions, 6 labels", "STS-B"


def table(name: str, split: str) -> pd.DataFrame:
    """A split of a data set as a frame of strings."""
    folder = Path(os.environ[FOLDER_VARIABLE], name)
    file = next(each for each in folder.iterdir() if each.name.startswith(f"{split}.csv"))
    return pd.read_csv(file, keep_default_na=False, dtype=str)


def emotions(n_train: int, n_test: int) -> tuple[list[str], Any, list[str], Any]:
    """Texts and indicators of GoEmotions."""
    train, test = table("goemotions", "train"), table("goemotions", "test").head(n_test)
    train = train.sample(n_train, random_state=0)
    binarizer = MultiLabelBinarizer().fit(train["labels"].str.split("|"))
    y, y_test = (binarizer.transform(each["labels"].str.split("|")) for each in (train, test))
    return train["text"].tolist(), y, test["text"].tolist(), y_test


def pairs(n_train: int, n_test: int) -> tuple[list[Any], Any, list[Any], Any]:
    """Pairs and scores of STS-B."""
    parts: list[Any] = []
    for split, n_rows in (("train", n_train), ("test", n_test)):
        frame = table("stsb", split)
        frame = frame.sample(min(n_rows, len(frame)), random_state=0)
        columns = zip(frame["text_a"], frame["text_b"], strict=True)
        parts += [list(columns), frame["label"].astype(float).to_numpy()]
    return tuple(parts)  # type: ignore[return-value]


def frozen(texts: list[str]) -> np.ndarray:
    """Vectors of the backbone as it is, of unit length."""
    backbone = LNTunedTransformerClassifier(tuning="head", max_epochs=1, min_steps=0)
    backbone.fit(["a", "b"], [0, 1])  # only so that it counts as fitted
    return Normalizer().fit_transform(backbone.embed(texts))


def logistic(**params: Any) -> Any:
    return OneVsRestClassifier(LogisticRegression(C=10, max_iter=2000, **params))


def classifier(**params: Any) -> LNTunedTransformerClassifier:
    return LNTunedTransformerClassifier(random_state=0, max_length=64, **params)


def tfidf(model: Any) -> Any:
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), model)


def f1_of(make: Callable[[], Any], data: Any, vectors: bool = False) -> dict[str, Any]:
    """Macro-F1 and micro-F1 on the test rows, and processor seconds of the fit."""
    X, y, X_test, y_test = data
    start = time.process_time()
    if vectors:
        X, X_test = frozen(X), frozen(X_test)
    model = make().fit(X, y)
    seconds = time.process_time() - start
    predicted = model.predict(X_test)
    scores = {
        f"{average} F1": f1_score(y_test, predicted, average=average, zero_division=0)
        for average in ("macro", "micro")
    }
    return {**scores, "seconds": seconds}


def correlation_of(predict: Callable[[], Any], y_test: Any) -> dict[str, Any]:
    """Pearson's and Spearman's correlation on the test rows, and processor seconds of all."""
    start = time.process_time()
    predicted = predict()
    seconds = time.process_time() - start
    found = {
        "Pearson": float(pearsonr(y_test, predicted).statistic),
        "Spearman": float(spearmanr(y_test, predicted).statistic),
    }
    return {**found, "seconds": seconds}


def joined(rows: list[Any]) -> np.ndarray:
    """Distance and product of the frozen vectors of pairs, the usual features of such a pair."""
    one, two = (frozen([row[side] for row in rows]) for side in (0, 1))
    return np.concatenate([np.abs(one - two), one * two], axis=1)


def run(records: Records, n_train: int, n_test: int, n_few: int, n_pairs: int) -> None:
    """All runs that are not there yet, the quick ones first."""

    def once(data: str, method: str, make: Callable[[], dict[str, Any]]) -> None:
        rows = {EMOTIONS: n_train, FEW: n_few, PAIRS: n_pairs}[data]
        records.once({"data": data, "method": method, "rows": rows, "test rows": n_test}, make)

    X, y, X_test, y_test = data = emotions(n_train, n_test)
    for suffix, weight in (("", None), (", balanced", "balanced")):
        one = {"class_weight": weight}
        once(
            EMOTIONS,
            f"TF-IDF + one-vs-rest logistic regression{suffix}",
            lambda one=one: f1_of(lambda: tfidf(logistic(**one)), data),
        )
        once(
            EMOTIONS,
            f"frozen embeddings + the same{suffix}",
            lambda one=one: f1_of(lambda: logistic(**one), data, vectors=True),
        )
    balanced = {"class_weight": "balanced"}
    once(EMOTIONS, f"{OURS}, balanced", lambda: f1_of(lambda: classifier(**balanced), data))
    P, scored, P_test, scores = pairs(n_pairs, n_test)
    half = len(joined(P_test[:1])[0]) // 2

    def cosine() -> Any:
        return joined(P_test)[:, half:].sum(axis=1)

    def ridge() -> Any:
        return RidgeCV(np.logspace(-2, 3, 12)).fit(joined(P), scored).predict(joined(P_test))

    def tuned(**params: Any) -> Any:
        model = LNTunedTransformerRegressor(random_state=0, max_length=128, **params)
        return model.fit(P, scored).predict(P_test)

    for method, predict in {
        "cosine of frozen embeddings": cosine,
        "ridge on frozen embeddings": ridge,
        OURS: tuned,
        f"{OURS}, pairs joined": lambda: tuned(pairs="joined"),
    }.items():
        once(PAIRS, method, lambda p=predict: correlation_of(p, scores))

    X, y, X_test, y_test = data
    often = np.sort(np.argsort(-y.sum(0), kind="stable")[:6])
    few = X[:n_few], y[:n_few][:, often], X_test, y_test[:, often]
    once(FEW, OURS, lambda: f1_of(lambda: classifier(), few))
    once(
        FEW,
        f"OneVsRestClassifier of {OURS}",
        lambda: f1_of(lambda: OneVsRestClassifier(classifier()), few),
    )
    both = FULL | balanced
    once(EMOTIONS, "full tuning, balanced", lambda: f1_of(lambda: classifier(**both), data))
    once(PAIRS, "full tuning", lambda: correlation_of(lambda: tuned(**FULL), scores))


def figure() -> str:
    """The tables of the committed results."""
    frame = pd.DataFrame(lines(RESULTS / "targets.jsonl"))
    parts = []
    for data, runs in frame.groupby("data", sort=False):
        scores = ["Pearson", "Spearman"] if data == PAIRS else ["macro F1", "micro F1"]
        shown = runs[["method"]].copy()
        for score in scores:
            shown[score] = (100 * runs[score]).map("{:.1f}".format)
        shown["processor seconds"] = runs["seconds"].map("{:.0f}".format)
        n_rows, n_test = int(runs["rows"].iloc[0]), int(runs["test rows"].iloc[0])
        parts.append(f"{data}: {n_rows:,} training rows, {n_test:,} test rows, in %.\n")
        parts.append(rst(shown, index=False, disable_numparse=True))
    last = frame.iloc[-1]
    versions = ", ".join(f"{name} {value}" for name, value in last["versions"].items())
    parts.append(
        f"One seed each. {last['processor']}, {last['threads']} thread(s), {last['date']}; "
        f"{versions}; ``benchmarks/targets.py``.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Run what is missing."""
    given: argparse.Namespace = options(
        __doc__,
        train=(2000, 64),
        test=(1000, 40),
        few=(1000, 40),
        pairs=(2000, 40),
    )
    records = Records(given.out / "targets.jsonl", {}, surroundings("scikit-learn"))
    run(records, given.train, given.test, given.few, given.pairs)


if __name__ == "__main__":
    main()
