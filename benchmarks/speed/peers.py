"""The other peers: skorch, setfit, sentence-transformers with logistic regression."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.hf import HuggingfacePretrainedTokenizer

from . import trainer
from .ours import Predict
from .workloads import BATCH_SIZE, LR, SEED, Task, folder


class Logits(torch.nn.Module):
    """A transformers classifier as skorch wants it; trained are peft's norms and the head."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = trainer.model(task, "layernorm", "float32", "sdpa")

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.model(**inputs).logits


def fit_skorch(task: Task, max_length: int | None = None) -> Predict:
    """Tune norms with peft in skorch, with its tokenizer; ``None`` is the longest training text."""
    torch.manual_seed(SEED)
    classes, codes = np.unique(task.y, return_inverse=True)
    length = int(task.lengths.max()) if max_length is None else max_length
    net = NeuralNetClassifier(
        Logits,
        module__task=task,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=LR,
        batch_size=BATCH_SIZE,
        max_epochs=1,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    pipeline = make_pipeline(HuggingfacePretrainedTokenizer(folder(), max_length=length), net)
    pipeline.fit(task.X, codes)
    return lambda X: classes[pipeline.predict(X)]


def fit_setfit(task: Task) -> Predict:
    """Train setfit with one like and one unlike pair a row: its default makes far more."""
    from setfit import SetFitModel, Trainer, TrainingArguments

    classes, codes = np.unique(task.y, return_inverse=True)
    logging.getLogger("setfit").setLevel(logging.ERROR)
    model = SetFitModel.from_pretrained(folder())
    rows = Dataset.from_dict({"text": task.X, "label": codes})
    arguments = TrainingArguments(
        batch_size=BATCH_SIZE,
        num_epochs=1,
        num_iterations=1,
        seed=SEED,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        show_progress_bar=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(model=model, args=arguments, train_dataset=rows).train()
    return lambda X: classes[np.asarray(model.predict(X, show_progress_bar=False))]


def fit_encode(task: Task) -> Predict:
    """Frozen embeddings and logistic regression: nothing of the backbone is trained."""
    encoder = SentenceTransformer(folder())
    encoder.max_seq_length = task.workload.max_length

    def encode(X: list[Any]) -> np.ndarray:
        return encoder.encode(X, batch_size=BATCH_SIZE, show_progress_bar=False)

    regression = LogisticRegression(C=10.0, max_iter=1000).fit(encode(task.X), task.y)
    return lambda X: regression.predict(encode(X))
