"""What is fitted in `speed`, and by whom: this package and its peers.

Each contestant takes a `Task`, trains one epoch from texts, and returns what predicts.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from harness import Logits, backbone_folder, device, plain_classifier, plain_tokenizer, some_rows
from peft import LNTuningConfig, TaskType, get_peft_model
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.hf import HuggingfacePretrainedTokenizer
from speed_tables import BEST, ENCODE, FULL, OURS, PEFT

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

BATCH_SIZE, LR, FULL_LR, SEED, N_TEST = 32, 1e-2, 1e-4, 0, 200
#: What peft's best is chosen from; the first of each is the default.
TYPES = ("float32", "bfloat16 autocast", "bfloat16 weights")
ATTENTIONS = ("sdpa", "eager")
QUIET = {"seed": SEED, "save_strategy": "no", "report_to": "none", "logging_strategy": "no"}
Predict = Callable[[list[Any]], np.ndarray]

disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
logging.getLogger("setfit").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Task:
    """Rows to fit for one epoch, and rows to score, the same for all contestants."""

    workload: str
    max_length: int
    X: list[Any]
    y: list[str]
    X_test: list[Any]
    y_test: list[str]

    @property
    def pairs(self) -> bool:
        """Whether a row is a pair of texts."""
        return not isinstance(self.X[0], str)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens a row. Ask for it before any contestant's time begins."""
        return np.array([len(ids) for ids in self.encoded(self.X)["input_ids"]])

    def encoded(self, X: list[Any]) -> Any:
        """Rows as the tokenizer of the backbone gives them."""
        texts = zip(*X, strict=True) if self.pairs else [X]
        lists = [list(each) for each in texts]
        return plain_tokenizer()(*lists, truncation=True, max_length=self.max_length)


@cache
def task(workload: str, n_rows: int | None, n_test: int = N_TEST) -> Task:
    """``n_rows`` training rows, stratified, or all; of at most 256 tokens unless it names more."""
    source, _, tokens = workload.partition(", ")
    rows = some_rows(*fetch_text_dataset(source), n_rows)
    tested = some_rows(*fetch_text_dataset(source, "test"), n_test)
    return Task(workload, 512 if "512" in tokens else 256, *rows, *tested)


def classifier(task: Task, **changes: Any) -> LNTunedTransformerClassifier:
    """Our estimator with the settings that all contestants share."""
    shared = {"lr": LR, "batch_size": BATCH_SIZE, "max_epochs": 1, "min_steps": 0}
    shared |= {"max_length": task.max_length, "random_state": SEED}
    return LNTunedTransformerClassifier(**(shared | changes))


def norm_tuned(task: Task, **options: Any) -> torch.nn.Module:
    """The classifier as a user of peft makes it."""
    config = LNTuningConfig(task_type=TaskType.SEQ_CLS, target_modules=["LayerNorm"])
    return get_peft_model(plain_classifier(len(set(task.y)), **options), config)


def fit_trainer(
    task: Task,
    full: bool = False,
    number_type: str = TYPES[0],
    attention: str = ATTENTIONS[0],
    grouped: bool = False,
) -> Predict:
    """Tune the norms with peft, or all weights, with the Hugging Face Trainer."""
    classes, codes = np.unique(task.y, return_inverse=True)
    transformers.set_seed(SEED)
    dtype = torch.bfloat16 if number_type == "bfloat16 weights" else torch.float32
    how = {"dtype": dtype, "attn_implementation": attention}
    model = plain_classifier(len(classes), **how) if full else norm_tuned(task, **how)
    with tempfile.TemporaryDirectory() as output:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=output,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=FULL_LR if full else LR,
                warmup_steps=0.1,
                bf16=number_type == "bfloat16 autocast",
                use_cpu=device().type == "cpu",
                train_sampling_strategy="group_by_length" if grouped else "random",
                disable_tqdm=True,
                **QUIET,
                dataloader_pin_memory=device().type != "cpu",
            ),
            train_dataset=Dataset.from_dict({**task.encoded(task.X), "labels": codes}),
            data_collator=transformers.DataCollatorWithPadding(plain_tokenizer()),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()

    def predict(X: list[Any]) -> np.ndarray:
        rows = Dataset.from_dict(dict(task.encoded(X)))
        return classes[trainer.predict(rows).predictions.argmax(axis=1)]

    return predict


def fit_skorch(task: Task, max_length: int | None = None) -> Predict:
    """Tune norms with peft in skorch, with its tokenizer; ``None`` is the longest training text."""
    torch.manual_seed(SEED)
    classes, codes = np.unique(task.y, return_inverse=True)
    how = {"lr": LR, "batch_size": BATCH_SIZE, "max_epochs": 1, "iterator_train__shuffle": True}
    how |= {"criterion": torch.nn.CrossEntropyLoss, "optimizer": torch.optim.AdamW}
    how |= {"train_split": None, "verbose": 0, "device": str(device())}
    net = NeuralNetClassifier(Logits, module__model=norm_tuned(task), **how)
    length = max_length or int(task.lengths.max())
    tokenizer = HuggingfacePretrainedTokenizer(backbone_folder(), max_length=length)
    pipeline = make_pipeline(tokenizer, net).fit(task.X, codes)
    return lambda X: classes[pipeline.predict(X)]


def fit_setfit(task: Task) -> Predict:
    """Train setfit with one like and one unlike pair a row: its default makes far more."""
    from setfit import SetFitModel, Trainer, TrainingArguments

    classes, codes = np.unique(task.y, return_inverse=True)
    model = SetFitModel.from_pretrained(backbone_folder())
    how = {"num_epochs": 1, "num_iterations": 1, "show_progress_bar": False} | QUIET
    arguments = TrainingArguments(batch_size=BATCH_SIZE, **how)
    rows = Dataset.from_dict({"text": task.X, "label": codes})
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(model=model, args=arguments, train_dataset=rows).train()
    return lambda X: classes[np.asarray(model.predict(X, show_progress_bar=False))]


def fit_encode(task: Task) -> Predict:
    """Frozen embeddings and logistic regression: nothing of the backbone is trained."""
    encoder = SentenceTransformer(backbone_folder())
    encoder.max_seq_length = task.max_length
    encode = partial(encoder.encode, batch_size=BATCH_SIZE, show_progress_bar=False)
    regression = LogisticRegression(C=10.0, max_iter=1000).fit(encode(task.X), task.y)
    return lambda X: regression.predict(encode(X))


def predictors(task: Task) -> dict[str, Callable[[list[Any]], Any]]:
    """What answers, loaded and trained (or untrained: the work is the same)."""
    clf = classifier(task).fit(task.X[:64], task.y[:64])
    encoder = SentenceTransformer(backbone_folder())
    encoder.max_seq_length = task.max_length
    model = plain_classifier(len(set(task.y)))
    classify = transformers.pipeline(
        "text-classification", model=model, tokenizer=plain_tokenizer()
    )
    piped = partial(classify, truncation=True, max_length=task.max_length)
    return {
        "ours, float32": lambda X: clf.set_params(precision="float32").predict(X),
        ENCODE: lambda X: encoder.encode(list(dict.fromkeys(X)), show_progress_bar=False),
        "ours, bfloat16": lambda X: clf.set_params(precision="bfloat16").predict(X),
        "pipeline": piped,
        "pipeline, batch_size=32": partial(piped, batch_size=32),
    }


CONTESTANTS: dict[str, Callable[..., Predict]] = {
    OURS: lambda task: classifier(task).fit(task.X, task.y).predict,
    PEFT: fit_trainer,
    BEST: fit_trainer,
    FULL: partial(fit_trainer, full=True),
    "skorch, max_length=256": partial(fit_skorch, max_length=256),
    "skorch, longest text": fit_skorch,
    "setfit": fit_setfit,
    "encode + logistic regression": fit_encode,
}
TRAINERS = (PEFT, BEST, FULL)
#: They take one text a row.
OTHERS = tuple(list(CONTESTANTS)[4:])
