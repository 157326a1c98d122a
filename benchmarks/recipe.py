"""Look for better default settings: many candidates, scored on held-out training rows.

No test set is read. A run trains on 100 or 1,000 training rows and is scored on up to
1,000 other training rows of the same set; which rows these are follows from the seed, so
that candidates with the same set, rows and seed can be compared pair by pair. Resumable:
finished runs are in ``results/recipe.jsonl``.

Two kinds of run. A *screen* changes many settings at once, each at random (a Latin
hypercube), and a least-squares fit tells what each does on average; a dozen settings
cost no more fits than one. A *comparison* runs named candidates on every set.

    python benchmarks/recipe.py screen --rows 1000 --draws 24
    python benchmarks/recipe.py compare --rows 100 --sets trec subj --candidates default frozen
    python benchmarks/recipe.py table             # figures from what is there
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from harness import rst
from ideas import IDEAS
from scipy.stats import qmc
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from skorch.callbacks import Callback

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

RESULTS = Path(__file__).parent / "results" / "recipe.jsonl"
#: Logits and processor seconds of the runs on this machine: for looking closer, and
#: for the ratio to the default's seconds. Nothing here is needed to go on.
SCRATCH = Path(tempfile.gettempdir()) / "sklearn-lntune-recipe"
#: Longest input in tokens, a set.
SETS = {
    "trec": 64,
    "banking77": 64,
    "tweeteval_emotion": 64,
    "cola": 64,
    "sst2_sentences": 64,
    "subj": 64,
    "mrpc": 128,
    "agnews": 64,
    "sms_spam": 64,
    "rte": 128,
    "imdb": 128,
    "20newsgroups": 128,
}
N_HELD = 1000
#: What a candidate changes beside parameters of the classifier.
EXTRAS = ("token_dropout", "choose", "probed", *IDEAS)
SCREENED = ("trec", "banking77", "tweeteval_emotion", "cola")
#: What a screen varies; the first level is the default.
LEVELS: dict[str, tuple[Any, ...]] = {
    "lr": (5e-3, 2e-3, 7e-4),
    "head_lr": (1e-2, 3e-3, 1e-3),
    "label_smoothing": (0.0, 0.1),
    "dropout": (0.1, 0.4),
    "weight_decay": (0.01, 1.0),
    "token_dropout": (0.0, 0.15),
    "tuning": ("layernorm", "layernorm+bias"),
}
#: Batch size and steps go together, by rows: all cost less than the default's 32 and 300.
LENGTHS = {1000: ((16, 300), (32, 150)), 100: ((16, 100), (16, 200), (32, 100))}
FROZEN = "frozen"
#: The defaults that the study began with; candidates say what they change about them.
BEFORE: dict[str, Any] = {
    "batch_size": 32,
    "lr": 5e-3,
    "head_lr": 1e-2,
    "min_steps": 300,
    "pairs": "joined",
}
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    FROZEN: {},
    "bitfit": {"tuning": "bias"},
    "full": {"tuning": "full", "lr": 3e-5},
    "smoothed": {"label_smoothing": 0.1},
    "half": {"batch_size": 16},
    "half, gentle": {"batch_size": 16, "lr": 2e-3, "head_lr": 3e-3},
    "half, smoothed": {"batch_size": 16, "label_smoothing": 0.1},
    "half, gentle, smoothed": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "label_smoothing": 0.1,
    },
    "small batches": {"batch_size": 16, "min_steps": 600},
    "small batches, gentle": {"batch_size": 16, "min_steps": 600, "lr": 2e-3, "head_lr": 3e-3},
    "half, gentle, + bias": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "tuning": "layernorm+bias",
    },
    "half, gentle, bias": {"batch_size": 16, "lr": 2e-3, "head_lr": 3e-3, "tuning": "bias"},
    "half, gentler": {"batch_size": 16, "lr": 1e-3, "head_lr": 1e-3},
    "half, gentle head": {"batch_size": 16, "head_lr": 3e-3},
    "half, gentle, cosine": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "schedule": "cosine",
    },
    "half, gentle, early stopping": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "early_stopping": True,
    },
    "half, gentle, short": {"batch_size": 16, "lr": 2e-3, "head_lr": 3e-3, "min_steps": 150},
    "half, gentle, pairs separate": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "pairs": "separate",
    },
    "quarter batches": {"batch_size": 8, "min_steps": 600, "lr": 1.5e-3, "head_lr": 2e-3},
    "half, gentle, + ffn bias": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "tuning": "layernorm+bias",
        "tuning__bias__sites": "ffn",
        "tuning__bias__norms": False,
    },
    "half, gentle, + scale": {
        "batch_size": 16,
        "lr": 2e-3,
        "head_lr": 3e-3,
        "tuning": "layernorm+scale",
    },
    # The head begins as a logistic regression on the frozen vectors.
    "half, gentle, probed": {"batch_size": 16, "lr": 2e-3, "head_lr": 3e-3, "probed": True},
    "half, gentler, probed": {"batch_size": 16, "lr": 1e-3, "head_lr": 1e-3, "probed": True},
    "half, probed, slow head": {"batch_size": 16, "lr": 3e-3, "head_lr": 1e-3, "probed": True},
    **{
        f"half, gentle, {words}": {"batch_size": 16, "lr": 2e-3, "head_lr": 3e-3, **idea}
        for words, idea in {
            "dropout inside": {"inner_dropout": 0.1},
            "unit vectors": {"unit_vectors": 10.0},
            "rates by depth": {"rates_by_depth": 0.8},
            "R-Drop": {"two_masks": 1.0},
            "contrast": {"contrast": 0.2},
            "attention": {
                "token_attention": True,
                "long_texts": "windows",
                "window_pooling": "attention",
            },
        }.items()
    },
    # The better of two on a held-out tenth, then all rows: as long as the default.
    "half, two rates": {
        "batch_size": 16,
        "min_steps": 200,
        "choose": [{"lr": 2e-3, "head_lr": 3e-3}, {"lr": 1e-3, "head_lr": 1e-3}],
    },
}


class MeanOfLast(Callback):
    """Keep the mean of the learnt values over the last part of the steps."""

    def __init__(self, share: float) -> None:
        self.share = share

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Find out how many steps there will be."""
        self.step, self.taken = 0, 0
        self.total = net.n_epochs * -(-len(X) // net.batch_size)
        self.sums: dict[str, np.ndarray] = {}

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Add the values after a step."""
        if not training:
            return
        self.step += 1
        if self.step > (1 - self.share) * self.total:
            self.taken += 1
            for name, values in net.module_.delta().items():
                self.sums[name] = self.sums.get(name, 0) + values

    @property
    def delta(self) -> dict[str, np.ndarray]:
        """The mean."""
        return {name: (sums / self.taken).astype("float32") for name, sums in self.sums.items()}


class TokenDropout(Callback):
    """Hide some tokens of each row in training, never the first."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self.generator = torch.Generator().manual_seed(seed)

    def on_batch_begin(self, net: Any, batch: Any, training: bool = False, **kwargs: Any) -> None:
        """Take the tokens out of the mask."""
        if training:
            mask = batch[0]["attention_mask"]
            hidden = torch.rand(mask.shape, generator=self.generator) < self.share
            hidden[:, 0] = False
            mask.masked_fill_(hidden.to(mask.device), 0)


def rows_of(name: str, n: int, seed: int) -> tuple[list[Any], list[Any], np.ndarray, np.ndarray]:
    """Training and held-out rows, both from the training set."""
    X, y = fetch_text_dataset(name)
    X, X_held, y, y_held = train_test_split(X, y, test_size=N_HELD, random_state=seed, stratify=y)
    if len(X) > n:
        X, _, y, _ = train_test_split(X, y, train_size=n, random_state=seed, stratify=y)
    known = np.isin(y_held, y)  # few rows may lack a class
    X_held = [x for x, keep in zip(X_held, known, strict=True) if keep]
    return X, X_held, np.asarray(y), np.asarray(y_held)[known]


def frozen(X: list[Any], y: np.ndarray, X_held: list[Any], length: int) -> Any:
    """Log-probabilities by logistic regression on the vectors of the untouched backbone."""
    embedder, clf = probe(X, y, length)
    return clf.predict_log_proba(embedder.embed(X_held))


def probe(X: list[Any], y: np.ndarray, length: int) -> tuple[Any, Any]:
    """What gives the vectors of the untouched backbone, and a logistic regression on them."""
    embedder = LNTunedTransformerClassifier(
        tuning="head", max_epochs=1, min_steps=1, max_length=length, random_state=0
    )
    embedder.fit(X[:2], ["a", "b"])
    folds = KFold(3, shuffle=True, random_state=0) if pd.Series(y).value_counts().min() < 3 else 3
    clf = GridSearchCV(LogisticRegression(max_iter=3000), {"C": [0.1, 1.0, 10.0, 100.0]}, cv=folds)
    return embedder, clf.fit(embedder.embed(X), y)


def tuned(
    changes: dict[str, Any], X: list[Any], y: np.ndarray, X_held: list[Any], length: int, seed: int
) -> tuple[dict[str, Any], float]:
    """Log-probabilities of a fit, and the processor's seconds to fit.

    The default's are also found with the mean of its last values.
    """
    with contextlib.ExitStack() as stack:
        for name in IDEAS.keys() & changes.keys():
            stack.enter_context(IDEAS[name](changes[name]))
        return fitted(changes, X, y, X_held, length, seed)


def fitted(
    changes: dict[str, Any], X: list[Any], y: np.ndarray, X_held: list[Any], length: int, seed: int
) -> tuple[dict[str, Any], float]:
    """The same, with the ideas in force."""
    start = time.process_time()
    params = {key: value for key, value in (BEFORE | changes).items() if key not in EXTRAS}
    if "choose" in changes:
        params |= better_of(changes["choose"], params, X, y, length, seed)
    mean = MeanOfLast(1 / 3)
    callbacks: list[Callback] = [] if changes else [mean]
    if changes.get("token_dropout"):
        callbacks.append(TokenDropout(changes["token_dropout"], seed))
    nested = {key: params.pop(key) for key in list(params) if "__" in key}
    clf = LNTunedTransformerClassifier(
        **params, max_length=length, random_state=seed, callbacks=callbacks
    ).set_params(**nested)
    if "token_attention" in changes:
        clf.max_length = 256  # so that a text is one window
    if changes.get("probed"):
        start_from_probe(clf, X, y, length)
    clf.fit(X, y)
    seconds = time.process_time() - start
    clf.callbacks = None
    if native_bfloat16():
        clf.precision = "bfloat16"  # as it was trained, and twice as fast
    found = {"": clf.predict_log_proba(X_held)}
    if not changes:  # a second prediction would cost the screens too much
        clf.delta_ = mean.delta
        found["mean"] = clf.predict_log_proba(X_held)
    return found, seconds


def start_from_probe(clf: Any, X: list[Any], y: np.ndarray, length: int) -> None:
    """Let the next fit of ``clf`` go on from a head that is a logistic regression."""
    _, found = probe(X, y, length)
    rates = clf.get_params(deep=False)
    still = {"lr": 1e-12, "head_lr": 1e-12, "max_epochs": 1, "min_steps": 1}
    firsts = np.unique(y, return_index=True)[1]  # one row of each class
    clf.set_params(**still).fit([X[i] for i in firsts], y[firsts])
    regression = found.best_estimator_
    coef, intercept = regression.coef_, regression.intercept_
    if len(coef) == 1:  # of two classes, one has the other's with the opposite sign
        coef, intercept = np.vstack([-coef, coef]) / 2, np.append(-intercept, intercept) / 2
    head = {"head/weight": coef.astype("float32"), "head/bias": intercept.astype("float32")}
    clf.delta_ = {**clf.delta_, **head}
    clf.moments_ = {}
    clf.set_params(**{name: rates[name] for name in still}, warm_start=True)


def better_of(
    among: list[dict[str, Any]],
    params: dict[str, Any],
    X: list[Any],
    y: np.ndarray,
    length: int,
    seed: int,
) -> dict[str, Any]:
    """Whichever has the lower log-loss on a tenth of the rows."""
    X, X_out, y, y_out = train_test_split(X, y, test_size=0.1, random_state=seed)
    known = np.isin(y_out, y)
    X_out, y_out = [x for x, keep in zip(X_out, known, strict=True) if keep], y_out[known]
    losses = []
    for each in among:
        clf = LNTunedTransformerClassifier(**params, **each, max_length=length, random_state=seed)
        log_proba = clf.fit(X, y).predict_log_proba(X_out)
        losses.append(
            -log_proba[np.arange(len(y_out)), np.searchsorted(clf.classes_, y_out)].mean()
        )
    return among[int(np.argmin(losses))]


@functools.cache
def native_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 by itself."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def figures(log_proba: np.ndarray, y: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Accuracy, macro F1, log-loss, and calibration error in 15 bins."""
    answers = classes[log_proba.argmax(axis=1)]
    right = answers == y
    sure = np.exp(log_proba.max(axis=1))
    bins = np.minimum((15 * sure).astype(int), 14)
    gaps = [abs((right[bins == b] - sure[bins == b]).sum()) for b in range(15)]
    proba = np.exp(log_proba.astype("float64"))
    proba /= proba.sum(axis=1, keepdims=True)
    return {
        "accuracy": round(float(right.mean()), 4),
        "macro_f1": round(f1_score(y, answers, average="macro"), 4),
        "log_loss": round(log_loss(y, proba, labels=classes), 4),
        "ece": round(float(sum(gaps) / len(y)), 4),
    }


def run(name: str, n: int, seed: int, candidate: str, changes: dict[str, Any]) -> None:
    """One fit, scored."""
    X, X_held, y, y_held = rows_of(name, n, seed)
    SCRATCH.mkdir(exist_ok=True)
    if candidate == FROZEN:
        start = time.process_time()
        found, seconds = {"": frozen(X, y, X_held, SETS[name])}, time.process_time() - start
    else:
        found, seconds = tuned(changes, X, y, X_held, SETS[name], seed)
    clock = SCRATCH / f"{name}-{n}.seconds"
    if candidate == "default":
        clock.write_text(str(seconds), "utf-8")
    ratio = round(seconds / float(clock.read_text("utf-8")), 2) if clock.exists() else None
    for variant, log_proba in found.items():
        line = {
            "set": name,
            "rows": n,
            "seed": seed,
            "candidate": candidate,
            "variant": variant,
            "changes": json.dumps(changes, sort_keys=True),
            **figures(log_proba, y_held, np.unique(y)),
            "seconds_ratio": ratio,
            "native_bfloat16": native_bfloat16(),
        }
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        answers = {**line, "log_proba": log_proba, "y": y_held, "classes": np.unique(y)}
        joblib.dump(answers, SCRATCH / f"{joblib.hash(line)}.logits")


def screen(n: int, draws: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sets and changes, each level of each setting equally often."""
    names = ("set", "length", *LEVELS)
    cube = qmc.LatinHypercube(len(names), rng=np.random.default_rng(n)).random(draws)
    for point in cube:
        at = dict(zip(names, point, strict=True))

        def level(name: str, among: Any, at: dict[str, float] = at) -> Any:
            return among[int(at[name] * len(among))]

        batch, steps = level("length", LENGTHS[n])
        changes = {name: level(name, among) for name, among in LEVELS.items()}
        changes = {key: value for key, value in changes.items() if value != LEVELS[key][0]}
        yield level("set", SCREENED), changes | {"batch_size": batch, "min_steps": steps}


def load() -> pd.DataFrame:
    """Finished runs."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    columns = ["set", "rows", "seed", "candidate", "variant", "changes"]
    return pd.DataFrame([json.loads(line) for line in lines], columns=None if lines else columns)


def effects(results: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What each setting of the screens does on average, sets being equal, and its spread.

    Needs some twenty fits for each number of rows; with fewer the spread is larger than
    anything that it could show.
    """
    results = results[results["candidate"].isin(["screen", "default"]) & (results["variant"] == "")]
    settings = pd.DataFrame([json.loads(each) for each in results["changes"]], index=results.index)
    columns: dict[str, Any] = {f"set={name}": results["set"] == name for name in SCREENED}
    defaults = {name: among[0] for name, among in LEVELS.items()}
    defaults |= {"batch_size": 32, "min_steps": 300}
    for name, default in defaults.items():
        levels = settings[name].fillna(default) if name in settings else pd.Series(dtype=object)
        for level in sorted(set(levels) - {default}, key=str):
            columns[f"{name}={level}"] = levels == level
    design = pd.DataFrame(columns).astype(float)
    design = design[[c for c in design if design[c].any()]]
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ results[measure]
    rest = results[measure] - design @ np.asarray(found)
    spread = np.sqrt(np.diag(inverse) * (rest**2).sum() / max(len(design) - design.shape[1], 1))
    table = pd.DataFrame({measure: np.asarray(found), "+-": spread}, index=list(design))
    return table[~table.index.str.startswith("set=")]


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """Mean difference to the default with the same set, rows and seed."""
    key = ["set", "rows", "seed"]
    measures = ["accuracy", "macro_f1", "log_loss", "ece"]
    plain = results[(results["candidate"] == "default") & (results["variant"] == "")]
    both = results.merge(plain[[*key, *measures]], on=key, suffixes=("", "_default"))
    both = both[both["candidate"] != "screen"]
    for measure in measures:
        both[measure] -= both[f"{measure}_default"]
    both[["accuracy", "macro_f1"]] *= 100
    groups = both.groupby(["rows", "candidate", "variant"])
    table = groups[[*measures, "seconds_ratio"]].mean()
    table["worst"] = groups["accuracy"].min()
    table["error"] = groups["accuracy"].sem()
    table["sets"], table["fits"] = groups["set"].nunique(), groups.size()
    return table.round(3)


def figure() -> str:
    """What each candidate changes about the earlier defaults, by number of rows."""
    table = differences(load())
    table = table[(table.index.get_level_values("candidate") != "default")].reset_index()
    table["rows"] = table["rows"].map("{:,}".format)
    table["candidate"] += table["variant"].map(lambda name: f" ({name})" if name else "")
    table["accuracy"] = table["accuracy"].map("{:+.1f}".format) + table["error"].map(
        " ± {:.1f}".format, na_action="ignore"
    ).fillna("")
    table["worst"] = table["worst"].map("{:+.1f}".format)
    for measure in ("log_loss", "ece"):
        table[measure] = table[measure].map("{:+.3f}".format)
    names = {"log_loss": "log-loss", "ece": "ECE", "seconds_ratio": "time"}
    columns = ["rows", "candidate", "accuracy", "worst", "log_loss", "ece", "seconds_ratio"]
    columns += ["sets", "fits"]
    shown = table[columns].rename(columns=names).astype(object).fillna("")
    return rst(shown, index=False, disable_numparse=True)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["screen", "compare", "table"])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="0 2: every second run")
    parser.add_argument("--first", type=int, help="only so many of the draws")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--candidates", nargs="*", default=["default"], choices=CANDIDATES)
    arguments = parser.parse_args()
    if arguments.what == "table":
        results = load()
        print(differences(results).to_markdown())
        for n, some in results.groupby("rows"):
            for measure in ("accuracy", "log_loss") if "screen" in set(some["candidate"]) else ():
                print(f"\n{n} rows\n{effects(some, measure).round(4).to_markdown()}")
        return
    todo: list[tuple[str, int, str, dict[str, Any]]]
    if arguments.what == "screen":
        draws = list(screen(arguments.rows, arguments.draws))[: arguments.first]
        todo = [(name, 0, "screen", changes) for name, changes in draws]
    else:
        todo = [
            (name, seed, candidate, CANDIDATES[candidate])
            for seed in arguments.seeds
            for name in arguments.sets
            for candidate in arguments.candidates
        ]
    part, parts = arguments.part
    for name, seed, candidate, changes in todo[part::parts]:
        done = load()[["set", "rows", "seed", "candidate", "changes"]]
        key = (name, arguments.rows, seed, candidate, json.dumps(changes, sort_keys=True))
        if key not in set(done.itertuples(index=False, name=None)):
            run(name, arguments.rows, seed, candidate, changes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
