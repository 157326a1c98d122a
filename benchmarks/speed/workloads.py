"""What is fitted: data sets, the longest text in tokens, and how many rows."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import shuffle

from sklearn_lntune import clear_backbones
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.classifier import DEFAULT_BACKBONE
from sklearn_lntune.datasets import fetch_text_dataset

BATCH_SIZE, LR, FULL_LR, SEED = 32, 1e-2, 1e-4, 0
N_TEST = 100


@dataclass(frozen=True)
class Workload:
    """A data set as it is fitted.

    Attributes
    ----------
    name, source : str
        Of the workload, and of its data set.
    max_length : int
        Longest text in tokens, for every contestant that has such a limit.
    pairs : bool
    """

    name: str
    source: str
    max_length: int = 256
    pairs: bool = False

    def task(self, n_rows: int | None, n_test: int = N_TEST) -> Task:
        """The first epoch's work: ``n_rows`` training rows, stratified, or all (None)."""
        X, y = _rows(self.source, "train", n_rows)
        X_test, y_test = _rows(self.source, "test", n_test)
        return Task(self, X, y, X_test, y_test)


@dataclass(frozen=True)
class Task:
    """Rows to fit for one epoch, and rows to score, the same for all contestants."""

    workload: Workload
    X: list[Any]
    y: list[str]
    X_test: list[Any]
    y_test: list[str]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens a row. Ask for it before any contestant's time begins."""
        tokens = get_backbone(DEFAULT_BACKBONE).tokens
        return tokens.table(self.X, self.workload.max_length).lengths

    def first(self, n_rows: int) -> Task:
        """Only the first rows, a random choice since rows are shuffled."""
        return replace(self, X=self.X[:n_rows], y=self.y[:n_rows])


WORKLOADS = {
    each.name: each
    for each in (
        Workload("trec", "trec"),
        Workload("banking77", "banking77"),
        Workload("mrpc", "mrpc", pairs=True),
        Workload("imdb, 256 tokens", "imdb"),
        Workload("imdb, 512 tokens", "imdb", 512),
        Workload("20newsgroups", "20newsgroups"),
    )
}


def folder() -> str:
    """Where the files of the backbone are, for peers."""
    return str(resolve(DEFAULT_BACKBONE).folder)


def forget() -> None:
    """Let nothing that an earlier contestant loaded help the next."""
    clear_backbones()
    gc.collect()


def wait() -> None:
    """Until the GPU has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@cache
def _rows(source: str, split: str, n_rows: int | None) -> tuple[list[Any], Sequence[str]]:
    X, y = fetch_text_dataset(source, split)
    n_classes = len(set(y))
    n_rows = len(X) if n_rows is None else min(n_rows, len(X))
    # Shuffled in any case, so that the first rows are a sample.
    if n_classes <= n_rows <= len(X) - n_classes:
        X, _, y, _ = train_test_split(X, y, train_size=n_rows, random_state=SEED, stratify=y)
    else:
        X, y = shuffle(X, y, random_state=SEED, n_samples=n_rows)
    return X, y
