"""peft's LN tuning, and full fine-tuning, with the Hugging Face Trainer."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LNTuningConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from .ours import Predict
from .workloads import BATCH_SIZE, FULL_LR, LR, SEED, Task, folder

#: What "at its best" chooses from; the first of each is the default.
TYPES = ("float32", "bfloat16 autocast", "bfloat16 weights")
ATTENTIONS = ("sdpa", "eager")

disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def model(task: Task, method: str, number_type: str, attention: str) -> torch.nn.Module:
    """The classifier as a user of peft makes it, or plain for ``method="full"``."""
    plain = AutoModelForSequenceClassification.from_pretrained(
        folder(),
        num_labels=len(set(task.y)),
        attn_implementation=attention,
        dtype=torch.bfloat16 if number_type == "bfloat16 weights" else torch.float32,
    )
    if method == "full":
        return plain
    config = LNTuningConfig(task_type=TaskType.SEQ_CLS, target_modules=["LayerNorm"])
    return get_peft_model(plain, config)


def fit(
    task: Task,
    method: str = "layernorm",
    number_type: str = "float32",
    attention: str = "sdpa",
    grouped: bool = False,
) -> Predict:
    """Train an epoch from texts, and return what predicts.

    Parameters
    ----------
    method : {"layernorm", "full"}
    number_type : one of `TYPES`
    attention : one of `ATTENTIONS`
    grouped : bool
        Whether batches hold texts of like length.
    """
    classes, codes = np.unique(task.y, return_inverse=True)
    transformers.set_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(folder())

    def tokenised(X: list[Any], **columns: Any) -> Dataset:
        first, second = zip(*X, strict=True) if task.workload.pairs else (X, None)
        texts = {"first": list(first)} | ({"second": list(second)} if second else {})

        def encode(batch: Any) -> Any:
            pair = batch["second"] if second else None
            limit = task.workload.max_length
            return tokenizer(batch["first"], pair, truncation=True, max_length=limit)

        return Dataset.from_dict(texts | columns).map(
            encode, batched=True, remove_columns=list(texts)
        )

    with tempfile.TemporaryDirectory() as output:
        trainer = Trainer(
            model=model(task, method, number_type, attention),
            args=TrainingArguments(
                output_dir=output,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=FULL_LR if method == "full" else LR,
                warmup_steps=0.1,
                seed=SEED,
                bf16=number_type == "bfloat16 autocast",
                use_cpu=not torch.cuda.is_available(),
                train_sampling_strategy="group_by_length" if grouped else "random",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=tokenised(task.X, labels=codes),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    def predict(X: list[Any]) -> np.ndarray:
        logits = trainer.predict(tokenised(X)).predictions
        return classes[logits.argmax(axis=1)]

    return predict
