"""Which words spoke for a prediction, as values for JSON."""

from __future__ import annotations

import logging
from typing import Any

from sklearn_lntune.bank import DeltaBank
from sklearn_lntune.inputs.text.opening import TextInput
from sklearn_lntune.inspection.explaining import explain_state
from sklearn_lntune.serving.answers import OtherKind, plain, task_of
from sklearn_lntune.serving.batching import Row
from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.task import Classifying

log = logging.getLogger("sklearn_lntune.serving")

#: A picture needs no more than this; see `inspection.explain`.
_TOLERANCE = 0.05


def explain(bank: DeltaBank, row: Row, label: str | bool | int | float | None) -> dict[str, Any]:
    """How much each word of a row spoke for ``label``, or for what is predicted.

    Raises
    ------
    RequestError
        If there is no such label, or the classifier cannot be explained.
    """
    text, task = row
    is_pair = not isinstance(text, str)
    if task_of(bank, task).per_token:
        raise RequestError(422, f"The task {task!r} tags words; that cannot be explained here.")
    if bank.takes_pairs(task) != is_pair:
        raise OtherKind(task, not is_pair).error()
    state, backbone, placement = bank._located(task)  # noqa: SLF001 - of this package
    try:
        (found,) = explain_state(
            state,
            backbone,
            placement,
            TextInput().rows([text]),
            target=None if label is None else _known(state.task, task, label),
            tolerance=_TOLERANCE,
        )
    except ValueError as error:
        log.warning("%r could not be explained", task, exc_info=error)
        raise RequestError(422, f"Answers of the task {task!r} cannot be explained.") from error
    return {
        "task": task,
        "label": None if found.target is None else plain(found.target),
        "output": round(found.output, 6),
        "output_without_words": round(found.at_baseline, 6),
        "words": [
            {"text": number, "start": start, "end": end, "word": word, "attribution": value}
            for (number, start, end), word, value in zip(
                found.spans, found.words, found.attributions.round(6).tolist(), strict=True
            )
        ],
    }


def _known(task: Any, name: str, label: Any) -> Any:
    """The label of ``task`` that JSON has as ``label``, or the number of an output."""
    known = task.labels if isinstance(task, Classifying) else range(task.n_outputs)
    for each in known:
        if plain(each) == label and isinstance(label, bool) == isinstance(plain(each), bool):
            return each
    raise RequestError(404, f"The task {name!r} has no label {label!r:.100}.")
