"""Time a fit beside peft's LN tuning with the Hugging Face Trainer, on the same data.

Same backbone, rows, epochs and batch size; each fit starts from texts and ends with a
trained model, tokenising and loading included. The two take turns, and the ratio is that
of the medians. Accuracy on the test set is printed so that speed is not bought with it.

    python benchmarks/peft_trainer.py [--set trec] [--epochs 1] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from datasets import Dataset
from peft import LNTuningConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from sklearn_lntune import LNTunedTransformerClassifier, clear_backbones
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.classifier import DEFAULT_BACKBONE
from sklearn_lntune.datasets import fetch_text_dataset
from sklearn_lntune.text.tokens import clear_tokens

RESULTS = Path(__file__).parent / "results"
LR, BATCH_SIZE = 1e-2, 32


def fit_ours(X: Any, y: Any, X_test: Any, epochs: int) -> tuple[float, np.ndarray]:
    """Seconds of our fit, and predicted labels."""
    clear_backbones()
    clear_tokens()
    start = time.perf_counter()
    clf = LNTunedTransformerClassifier(
        lr=LR, batch_size=BATCH_SIZE, max_epochs=epochs, min_steps=0, random_state=0
    ).fit(X, y)
    seconds = time.perf_counter() - start
    return seconds, clf.predict(X_test)


def fit_peft(X: Any, y: Any, X_test: Any, epochs: int) -> tuple[float, np.ndarray]:
    """Seconds of peft's LN tuning with the Trainer at its defaults, and predicted labels."""
    classes, codes = np.unique(y, return_inverse=True)
    folder = resolve(DEFAULT_BACKBONE).folder
    transformers.set_seed(0)
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def tokenised(texts: Any, **columns: Any) -> Dataset:
            rows = Dataset.from_dict({"text": list(texts), **columns})
            return rows.map(
                lambda batch: tokenizer(batch["text"], truncation=True, max_length=256),
                batched=True,
                remove_columns=["text"],
            )

        model = get_peft_model(
            AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes)),
            LNTuningConfig(task_type=TaskType.SEQ_CLS, target_modules=["LayerNorm"]),
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=output,
                num_train_epochs=epochs,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=LR,
                warmup_steps=0.1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
            ),
            train_dataset=tokenised(X, labels=codes),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        seconds = time.perf_counter() - start
        logits = trainer.predict(tokenised(X_test)).predictions
    return seconds, classes[logits.argmax(axis=1)]


def main() -> None:
    """Run both in turns, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="trec")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    X, y = fetch_text_dataset(arguments.set)
    X_test, y_test = fetch_text_dataset(arguments.set, "test")
    contestants = {"sklearn-lntune": fit_ours, "peft + Trainer": fit_peft}
    runs = []
    for repeat in range(arguments.repeats):
        for name, fit in contestants.items():
            seconds, predicted = fit(X, y, X_test, arguments.epochs)
            accuracy = float(np.mean(predicted == np.asarray(y_test)))
            runs.append({"who": name, "repeat": repeat, "seconds": seconds, "accuracy": accuracy})
            print(f"{name:<16} run {repeat + 1}: {seconds:6.1f} s, test {accuracy:.3f}", flush=True)
    frame = pd.DataFrame(runs)
    table = frame.groupby("who", sort=False).agg(
        median_seconds=("seconds", "median"),
        fastest=("seconds", "min"),
        slowest=("seconds", "max"),
        accuracy=("accuracy", "mean"),
    )
    print(table.round(3).to_markdown())
    medians = [statistics.median(frame.seconds[frame.who == name]) for name in contestants]
    ratio = medians[1] / medians[0]
    print(f"\n{ratio:.2f} times as fast as peft + Trainer at its defaults")
    RESULTS.mkdir(exist_ok=True)
    report = {
        "set": arguments.set,
        "epochs": arguments.epochs,
        "batch_size": BATCH_SIZE,
        "ratio": ratio,
        "runs": runs,
        "date": time.strftime("%Y-%m-%d"),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "skorch")},
    }
    file = RESULTS / f"peft_trainer_{arguments.set}.json"
    file.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
