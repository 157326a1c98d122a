"""Entity F1 on WNUT-17: a CRF on hand features, LayerNorm tuning, full tuning.

    SKLEARN_LNTUNE_DATA=folder python benchmarks/tags.py

The folder has ``wnut17/train.jsonl.gz``, ``validation.jsonl`` and ``test.jsonl``, with the keys
``tokens`` and ``tags``. The first ``--rows`` training sentences are used (0: all), and the first
``--validation`` of the validation set, by whose F1 the epoch is chosen, and for the CRF its two
regularisers; nothing else is chosen. The whole test set is scored once, by seqeval.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
from harness import Records, open_run, options, rst, surroundings
from seqeval.metrics import f1_score

from sklearn_lntune import LNTunedTransformerTagger
from sklearn_lntune.datasets.real import FOLDER_VARIABLE

METHODS = {
    "CRF on hand features": "crf",
    "LayerNorm tuning": "layernorm",
    "full tuning": "full",
}


def read(split: str, n: int | None) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences and tags of a split, the first ``n``."""
    folder = Path(os.environ[FOLDER_VARIABLE], "wnut17")
    file = next(folder.glob(f"{split}.jsonl*"))
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][:n]
    return [row["tokens"] for row in rows], [row["tags"] for row in rows]


def features(words: list[str]) -> list[dict[str, Any]]:
    """The features that sklearn-crfsuite's tutorial uses, without parts of speech."""
    return [
        {
            "bias": 1.0,
            "lower": word.lower(),
            "suffix 3": word[-3:],
            "suffix 2": word[-2:],
            "prefix 3": word[:3],
            "shape": "".join(
                "X" if c.isupper() else "x" if c.islower() else "0" if c.isdigit() else c
                for c in word
            )[:10],
            "upper": word.isupper(),
            "title": word.istitle(),
            "digit": word.isdigit(),
            **{
                f"{offset:+d} {name}": value
                for offset in (-1, 1)
                if 0 <= at + offset < len(words)
                for name, value in (
                    ("lower", words[at + offset].lower()),
                    ("title", words[at + offset].istitle()),
                    ("upper", words[at + offset].isupper()),
                )
            },
            "first": at == 0,
            "last": at == len(words) - 1,
        }
        for at, word in enumerate(words)
    ]


def crf(data: dict[str, Any]) -> dict[str, Any]:
    """The better of two pairs of regularisers on the validation set."""
    from sklearn_crfsuite import CRF

    inputs = {split: [features(words) for words in data[split][0]] for split in data}
    best: tuple[float, Any] = (-1.0, None)
    for c1, c2 in ((0.1, 0.1), (0.2, 0.02)):
        model = CRF(algorithm="lbfgs", c1=c1, c2=c2, max_iterations=100)
        model.fit(inputs["train"], data["train"][1])
        valid = f1(data["validation"][1], model.predict(inputs["validation"]))
        best = max(best, (valid, model), key=lambda pair: pair[0])
    valid, model = best
    return {
        "validation": valid,
        "f1": f1(data["test"][1], model.predict(inputs["test"])),
        "learnt": len(model.state_features_) + len(model.transition_features_),
    }


def f1(truth: Any, predicted: Any) -> float:
    """Seqeval's F1 of entities."""
    return float(f1_score(truth, [list(tags) for tags in predicted], zero_division=0))


def tagger(tuning: str, seed: int, data: dict[str, Any], epochs: int) -> dict[str, Any]:
    """A fit of ours; the epoch with the best F1 on the validation set."""
    model = LNTunedTransformerTagger(
        harness.backbone_folder(),
        tuning=tuning,
        max_epochs=epochs,
        min_steps=0,
        max_length=128,
        early_stopping=True,
        patience=epochs,
        random_state=seed,
    )
    X_val, y_val = data["validation"]
    model.fit(*data["train"], X_val=X_val, y_val=y_val)
    return {
        "validation": float(model.history_["valid_score"].max()),
        "f1": f1(data["test"][1], model.predict(data["test"][0])),
        "learnt": sum(values.size for values in model.delta_.values()),
    }


def main() -> None:
    """Run what is not recorded yet."""
    given = options(__doc__, rows=(1000, 60), validation=(300, 60), epochs=(5, 1), seeds=(1, 1))
    limits = {"train": given.rows, "validation": given.validation, "test": 60 if given.tiny else 0}
    data = {split: read(split, limit or None) for split, limit in limits.items()}
    # A few rows do not have every tag.
    known = {tag for tags in data["train"][1] for tag in tags}
    rows = [row for row in zip(*data["validation"], strict=True) if known.issuperset(row[1])]
    data["validation"] = tuple(map(list, zip(*rows, strict=True)))
    about = {"rows": given.rows, "validation_rows": len(rows), "epochs": given.epochs}
    records = open_run(given.out / "tags.jsonl", about, surroundings("seqeval"))
    for name, tuning in METHODS.items():
        for seed in range(1 if tuning == "crf" else given.seeds):

            def run(tuning: str = tuning, seed: int = seed) -> dict[str, Any]:
                started, busy = time.perf_counter(), time.process_time()
                found = crf(data) if tuning == "crf" else tagger(tuning, seed, data, given.epochs)
                return {
                    **found,
                    "cpu_seconds": time.process_time() - busy,
                    "seconds": time.perf_counter() - started,
                }

            records.once({"part": "fit", "method": name, "seed": seed}, run)
    records.once({"part": "finished"}, dict)


def figure() -> str:
    """The table of the guide page."""
    frame = pd.DataFrame(
        [each for each in Records(harness.RESULTS / "tags.jsonl") if each["part"] == "fit"]
    )
    rows = []
    for name, group in frame.groupby("method", sort=False):
        spread = f" ± {100 * group['f1'].std():.1f}" if len(group) > 1 else ""
        rows.append(
            {
                "": name,
                "entity F1, test": f"{100 * group['f1'].mean():.1f}{spread}",
                "validation": f"{100 * group['validation'].mean():.1f}",
                "fits": len(group),
                "learnt numbers": f"{int(np.mean(group['learnt'])):,}",
                "CPU seconds": f"{group['cpu_seconds'].mean():.0f}",
            }
        )
    return rst(pd.DataFrame(rows), index=False, disable_numparse=True) + "\n"


if __name__ == "__main__":
    main()
