"""What a bank says about rows, as values for JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_lntune.bank import DeltaBank
from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.serving.batching import Row
from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.task import Classifying, Task

log = logging.getLogger("sklearn_lntune.serving")

KINDS = {False: "single texts", True: "pairs of texts"}


@dataclass(frozen=True)
class OtherKind:
    """In place of an answer: the classifier takes pairs and the row is a text, or vice versa."""

    task: str
    takes_pairs: bool

    def error(self) -> RequestError:
        """The answer to a request that asks this classifier by name."""
        given, wanted = KINDS[not self.takes_pairs], KINDS[self.takes_pairs]
        return RequestError(422, f"The task {self.task!r} takes {wanted}, and got {given}.")


def answer(bank: DeltaBank, rows: Sequence[Row]) -> list[dict[str, Any] | OtherKind]:
    """One answer per row: its task and what that predicts.

    Raises
    ------
    RequestError
        If a classifier is not in the bank any more, or its file cannot be read.
    """
    answers: list[Any] = [None] * len(rows)
    # Texts, pairs and sentences of words cannot be in one table.
    alike: dict[tuple[bool, bool], list[int]] = {}
    for number, (text, name) in enumerate(rows):
        task, is_pair = task_of(bank, name), not isinstance(text, str)
        if bank.takes_pairs(name) != is_pair:
            answers[number] = OtherKind(name, not is_pair)
        elif task.per_token and not str(text).split():
            answers[number] = {"task": name, "words": [], "tags": []}
        else:
            alike.setdefault((is_pair, task.per_token), []).append(number)
    for (_, per_word), numbers in alike.items():
        texts = [rows[number][0] for number in numbers]
        tasks = [rows[number][1] for number in numbers]
        read: list[Any] = [str(text).split() for text in texts] if per_word else texts
        for number, found in zip(numbers, _answer(bank, read, tasks), strict=True):
            answers[number] = found
    return answers


def task_of(bank: DeltaBank, name: str) -> Task:
    """What the outputs of a classifier mean, with errors for clients."""
    try:
        return bank._member(name).task  # noqa: SLF001 - of this package
    except DamagedFileError as error:
        log.exception("the file of %r cannot be read", name)
        raise RequestError(503, f"The file of the task {name!r} cannot be read.") from error
    except ValueError as error:
        if name not in bank:
            raise unknown(name) from error
        raise


def unknown(task: str) -> RequestError:
    """The answer to a request for a task that does not exist."""
    return RequestError(404, f"There is no task {task!r:.100}; GET /tasks lists them.")


def _answer(bank: DeltaBank, texts: Sequence[Any], tasks: Sequence[str]) -> list[dict[str, Any]]:
    answers: list[Any] = [None] * len(texts)
    # Predictions and probabilities are of one computation.
    for numbers, task, outputs in bank._mixed(texts, tasks):  # noqa: SLF001 - of this package
        for number, each in zip(numbers.tolist(), _described(task, outputs), strict=True):
            words = {"words": texts[number]} if task.per_token else {}
            answers[number] = {"task": tasks[number], **words, **each}
    return answers


def _described(task: Task, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
    """What ``outputs`` mean, row by row."""
    predictions = task.predict(outputs)
    if task.per_token:
        yield from ({"tags": [plain(tag) for tag in tags]} for tags in predictions)
    elif isinstance(task, Classifying):
        yield from _labelled(task, np.asarray(predictions), outputs)
    else:
        name = "value" if predictions.ndim == 1 else "values"
        yield from ({name: row} for row in predictions.tolist())


def _labelled(
    task: Classifying, predictions: np.ndarray, outputs: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Labels and probabilities, row by row."""
    classes = [plain(label) for label in task.labels]
    probabilities = np.round(task.probabilities(outputs).astype(float), 6).tolist()
    for row, shares in zip(predictions, probabilities, strict=True):
        if predictions.ndim == 2:  # an indicator of any number of labels
            found = {"labels": [classes[i] for i in np.flatnonzero(row)]}
        else:
            found = {"label": plain(row)}
        yield found | {"probabilities": dict(zip(map(str, classes), shares, strict=True))}


def plain(label: Any) -> Any:
    """``label`` as JSON has it; as a string if JSON has no such value."""
    value = label.item() if isinstance(label, np.generic) else label
    return value if isinstance(value, str | int | float | bool) else str(value)
