"""Can one trust the answers: calibration, abstaining, and prediction sets, on three data sets.

Of 1,000 training rows, 700 train the classifier for five epochs, which are 110 steps (the default
is at least 300), and 300 calibrate it. All figures are of test rows, 600 at most. Finished runs
are kept in ``results/trust.jsonl`` and not repeated.

    python benchmarks/trust.py                # run what is missing
"""

from typing import Any

import numpy as np
import pandas as pd
from harness import RESULTS, Records, lines, options, rst, some_rows, svg
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

SETS = ("trec", "banking77", "tweeteval_emotion")
#: Wanted shares of prediction sets that contain the true label.
LEVELS = (0.9, 0.95)
COVERAGES = tuple(round(0.05 * step, 2) for step in range(6, 21))
N_BINS = 15
N_SPLITS = 20


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    sums = [abs((confidence - right)[bins == each].sum()) for each in range(N_BINS)]
    return float(sum(sums) / len(right))


def accuracies(confidence: np.ndarray, right: np.ndarray) -> list[float]:
    """Accuracy of the most confident answers, for each share of them that is given."""
    order = np.argsort(-confidence, kind="stable")
    return [float(right[order[: round(each * len(right))]].mean()) for each in COVERAGES]


def threshold_of_sets(scores: np.ndarray, level: float) -> float:
    """The smallest score such that sets contain the true label with probability ``level``."""
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf


def prediction_sets(proba: np.ndarray, truth: np.ndarray, level: float) -> dict[str, Any]:
    """Coverage and size of split conformal sets, over random halves of all rows."""
    generator = np.random.default_rng(0)
    scores = 1 - proba[np.arange(len(truth)), truth]
    covered, sizes = [], []
    for _ in range(N_SPLITS):
        order = generator.permutation(len(truth))
        known, new = np.split(order, [len(order) // 2])
        within = 1 - proba[new] <= threshold_of_sets(scores[known], level)
        covered.append(float(within[np.arange(len(new)), truth[new]].mean()))
        sizes.append(float(within.sum(axis=1).mean()))
    return {"level": level, "covered": covered, "size": float(np.mean(sizes))}


def measures(proba: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == truth
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(log_loss(truth, proba, labels=np.arange(proba.shape[1]))),
        "calibration_error": calibration_error(confidence, right),
        "confidence": float(confidence.mean()),
        "accuracies": accuracies(confidence, right),
    }


def run(name: str, n_rows: int, n_test: int, steps: int) -> dict[str, Any]:
    X, y = some_rows(*fetch_text_dataset(name), n_rows)
    X, X_held, y, y_held = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    X_test, y_test = some_rows(*fetch_text_dataset(name, "test"), n_test)
    clf = LNTunedTransformerClassifier(min_steps=steps, random_state=0).fit(X, y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(clf), method="temperature")
    calibrated.fit(X_held, y_held)
    truth = np.searchsorted(clf.classes_, y_test)
    before, after = (model.predict_proba(X_test) for model in (clf, calibrated))
    # scikit-learn scales float32 logits, and then finds that the sums are not exact to float64.
    before, after = (proba / proba.sum(axis=1, keepdims=True) for proba in (before, after))
    (fitted,) = calibrated.calibrated_classifiers_
    return {
        "classes": len(clf.classes_),
        "train": len(X),
        "held": len(X_held),
        "test": len(X_test),
        "temperature": float(1 / fitted.calibrators[0].beta_),
        "before": measures(before, truth),
        "after": measures(after, truth),
        "sets": [prediction_sets(before, truth, level) for level in LEVELS],
    }


def records() -> list[dict[str, Any]]:
    return lines(RESULTS / "trust.jsonl")


def figure() -> str:
    """Calibration before and after, accuracy over coverage, and prediction sets."""
    calibration, abstaining, sets = [], [], []
    for each in records():
        before, after = each["before"], each["after"]
        label = f"{each['set']} ({each['classes']} classes)"
        for when, found in (
            ("as fitted", before),
            (f"temperature {each['temperature']:.2f}", after),
        ):
            calibration.append(
                {
                    "test set": label,
                    "probabilities": when,
                    "accuracy, %": f"{100 * found['accuracy']:.1f}",
                    "mean confidence, %": f"{100 * found['confidence']:.1f}",
                    "calibration error, points": f"{100 * found['calibration_error']:.1f}",
                    "log-loss": f"{found['log_loss']:.3f}",
                }
            )
        by_share = dict(zip(COVERAGES, after["accuracies"], strict=True))
        shares = {
            f"{share:.0%}": f"{100 * by_share[share]:.1f}" for share in (1, 0.9, 0.8, 0.7, 0.5)
        }
        abstaining.append({"accuracy of the answers given, %": label, **shares})
        for conformal in each["sets"]:
            covered = 100 * np.array(conformal["covered"])
            sets.append(
                {
                    "prediction sets": label,
                    "wanted": f"{conformal['level']:.0%}",
                    "contain the label, %": f"{covered.mean():.1f}",
                    "lowest and highest of 20 splits": " to ".join(
                        f"{end:.1f}" for end in (covered.min(), covered.max())
                    ),
                    "labels in a set, mean": f"{conformal['size']:.2f}",
                }
            )
    parts = [
        rst(pd.DataFrame(table), index=False, disable_numparse=True)
        for table in (calibration, abstaining, sets)
    ]
    picture = [
        ".. figure:: figures/trust.svg",
        "   :alt: accuracy of the answers given over the share of rows that get one\n",
        "   Accuracy of the answers given, over the share of test rows that get one.\n",
    ]
    return "\n".join([parts[0], parts[1], *picture, parts[2]])


def plot(file: Any) -> None:
    """Accuracy over the share of answers given."""
    with svg(file, figsize=(7, 3.8)) as axes:
        for each, colour in zip(records(), ("#0072B2", "#E69F00", "#009E73"), strict=False):
            shares = 100 * np.array(COVERAGES)
            label = f"{each['set']} ({each['classes']} classes)"
            values = 100 * np.array(each["after"]["accuracies"])
            axes.plot(shares, values, marker="o", markersize=3, color=colour, label=label)
        axes.invert_xaxis()
        axes.set(xlabel="share of rows that get an answer, the most confident ones, %")
        axes.set(ylabel="accuracy of these answers, %")
        axes.grid(alpha=0.3)
        axes.legend()


def main() -> None:
    given = options(
        __doc__, sets=(SETS, ("trec",)), rows=(1000, 300), test=(600, 60), steps=(100, 2)
    )
    kept = Records(given.out / "trust.jsonl")
    for name in given.sets:
        key = {"set": name, "rows": given.rows, "steps": given.steps}
        kept.once(key, lambda name=name: run(name, given.rows, given.test, given.steps))


if __name__ == "__main__":
    main()
