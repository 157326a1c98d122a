"""Predict the same texts: this package, sentence-transformers, transformers' pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from . import ours
from .workloads import Task, folder, wait


def contestants(task: Task) -> dict[str, Callable[[list[str]], Any]]:
    """What answers, loaded and trained (or untrained: the work is the same)."""
    clf = ours.classifier(task, precision="float32").fit(task.X[:64], task.y[:64])
    limit = task.workload.max_length

    def predict(precision: str) -> Callable[[list[str]], Any]:
        def run(X: list[str]) -> Any:
            return clf.set_params(precision=precision).predict(X)

        return run

    encoder = SentenceTransformer(folder())
    encoder.max_seq_length = limit
    model = AutoModelForSequenceClassification.from_pretrained(
        folder(), num_labels=len(set(task.y)), dtype=torch.float32
    )
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder())
    )

    def encode(X: list[str]) -> Any:
        return encoder.encode(list(dict.fromkeys(X)), show_progress_bar=False)

    def piped(**options: Any) -> Callable[[list[str]], Any]:
        return lambda X: classify(X, truncation=True, max_length=limit, **options)

    return {
        "ours, float32": predict("float32"),
        "sentence-transformers encode": encode,
        "ours, bfloat16": predict("bfloat16"),
        "pipeline": piped(),
        "pipeline, batch_size=32": piped(batch_size=32),
    }


def seconds(run: Callable[[list[str]], Any], X: list[str]) -> dict[str, float]:
    """Of one call, after a small one."""
    run(X[:8])
    wait()
    start = time.perf_counter()
    run(X)
    wait()
    return {"seconds": time.perf_counter() - start}
