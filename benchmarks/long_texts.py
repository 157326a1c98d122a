"""Long documents: windows beside truncation, and beside predictions averaged over windows.

On IMDb, on 20 Newsgroups, and on texts of about eight windows made by joining reviews of IMDb of
the same label. Every fit takes the same number of passes over the same rows. Finished runs are
kept in ``results/long_texts.jsonl``.

    python benchmarks/long_texts.py [--rows 200] [--epochs 2]
"""

import time
import warnings
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from harness import (
    RESULTS,
    Records,
    lines,
    options,
    plain_tokenizer,
    rst,
    some_rows,
    surroundings,
)

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

LENGTH = 128
#: Special tokens do not count.
ROOM = LENGTH - 2
JOINED = "imdb, 8 windows"
#: The share of the rows that a set gets.
SETS = {"imdb": 1.0, "20newsgroups": 1.0, JOINED: 0.5}
TRUNCATED, AVERAGED = "truncated", "truncated fit, predictions averaged over windows"
WINDOWS = {
    "windows, mean": {"window_pooling": "mean"},
    "windows, attention": {"window_pooling": "attention"},
}


def classifier(epochs: int, **windows: Any) -> LNTunedTransformerClassifier:
    """The estimator; everything else is the default."""
    how = {"batch_size": 8, "max_epochs": epochs, "min_steps": 0, "random_state": 0}
    return LNTunedTransformerClassifier(max_length=LENGTH, **how, **windows)


def n_tokens(text: str) -> int:
    return len(plain_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"])


def joined(X: list[str], y: list[str], n_windows: int = 8) -> tuple[list[str], list[str]]:
    """Texts of about ``n_windows``, made of texts with the same label."""
    texts, labels = [], []
    for label in sorted(set(y)):
        parts: list[str] = []
        size = 0
        for text, its_label in zip(X, y, strict=True):
            if its_label != label:
                continue
            parts.append(text)
            size += n_tokens(text)
            if size >= (n_windows - 1) * ROOM:
                texts.append("\n".join(parts))
                labels.append(label)
                parts, size = [], 0
    return texts, labels


def rows_of(name: str, split: str, n: int) -> tuple[list[str], list[str]]:
    """Rows of a set, the same ones each time."""
    if name != JOINED:
        return some_rows(*fetch_text_dataset(name, split), n)
    return some_rows(*joined(*some_rows(*fetch_text_dataset("imdb", split))), n)


def pieces(text: str) -> list[str]:
    """The windows of ``text``, as texts."""
    found = plain_tokenizer()(
        text,
        truncation=True,
        max_length=LENGTH,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    spans = [[pair for pair in row if pair != (0, 0)] for row in found["offset_mapping"]]
    return [text[row[0][0] : row[-1][1]] for row in spans if row] or [text]


def averaged(clf: LNTunedTransformerClassifier, X: list[str]) -> np.ndarray:
    """The mean of the probabilities of the windows of each text."""
    windows = [pieces(text) for text in X]
    rows = iter(clf.predict_proba([piece for each in windows for piece in each]))
    return np.array([np.mean(list(islice(rows, len(each))), axis=0) for each in windows])


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of ``call``, which other programs change little; and its result."""
    start = time.process_time()
    found = call()
    return round(time.process_time() - start, 1), found


def run_set(records: Records, name: str, n: int, epochs: int, methods: list[str]) -> None:
    """Fit and score what is missing of one set."""
    n = int(n * SETS[name])
    X, y = rows_of(name, "train", n)
    X_test, y_test = rows_of(name, "test", n)
    n_windows = [-(-n_tokens(text) // ROOM) for text in X_test]
    facts = {"rows": len(X), "test_rows": len(X_test), "windows": round(np.mean(n_windows), 1)}
    truncating: list[tuple[float, Any]] = []

    def truncated() -> tuple[float, Any]:
        if not truncating:
            truncating.append(seconds(lambda: classifier(epochs).fit(X, y)))
        return truncating[0]

    def make(method: str) -> dict[str, Any]:
        if method in WINDOWS:
            clf = classifier(epochs, long_texts="windows", **WINDOWS[method])
            fitting, clf = seconds(lambda: clf.fit(X, y))
        else:
            fitting, clf = truncated()
        ask = averaged if method == AVERAGED else lambda clf, X: clf.predict_proba(X)
        predicting, found = seconds(lambda: ask(clf, X_test))
        right = clf.classes_[found.argmax(1)] == np.array(y_test)
        return {"accuracy": float(right.mean()), "fit": fitting, "predict": predicting, **facts}

    for method in methods:
        records.once({"set": name, "method": method}, lambda: make(method))  # noqa: B023


def figure() -> str:
    """Accuracy and seconds of each way on each set."""
    frame = pd.DataFrame(lines(RESULTS / "long_texts.jsonl"))
    frame = frame.drop_duplicates(["set", "method"], keep="last")
    order = [TRUNCATED, AVERAGED, *WINDOWS]
    frame = frame.sort_values("method", key=lambda names: names.map(order.index), kind="stable")
    frame = frame.sort_values("set", key=lambda names: names.map(list(SETS).index), kind="stable")
    p = frame["accuracy"]
    error = (p * (1 - p) / frame["test_rows"]) ** 0.5
    shown = pd.DataFrame(
        {
            "texts": frame["set"] + frame["windows"].map(" ({:.1f} windows)".format),
            "training rows": frame["rows"],
            "long texts are": frame["method"],
            "accuracy, %": (100 * p).map("{:.1f}".format) + (100 * error).map(" ± {:.1f}".format),
            "s to fit": frame["fit"],
            "s to predict": frame["predict"],
        }
    )
    shown["texts"] = shown["texts"].where(~shown["texts"].duplicated(), "")
    shown["training rows"] = shown["training rows"].astype(str).where(shown["texts"] != "", "")
    return rst(shown, index=False, disable_numparse=True)


def main() -> None:
    """Run what is missing."""
    given = options(__doc__, rows=(200, 12), epochs=(2, 1))
    warnings.filterwarnings("ignore", "(?s).*were cut", UserWarning)
    about = {"n": given.rows, "epochs": given.epochs, "max_length": LENGTH}
    records = Records(given.out / "long_texts.jsonl", about, surroundings())
    classifier(1).fit(["good", "bad"] * 8, [1, 0] * 8).predict(["good"])  # loads the backbone
    for methods in ([TRUNCATED, AVERAGED, "windows, mean"], ["windows, attention"]):
        for name in SETS:
            run_set(records, name, given.rows, given.epochs, methods)
    print(figure() if given.out == RESULTS else "done")


if __name__ == "__main__":
    main()
