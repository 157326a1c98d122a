"""Answer questions to several fitted states over one backbone in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.network import compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction import ready_network
from sklearn_lntune.text.check import Text, distinct
from sklearn_lntune.text.table import joined
from sklearn_lntune.tuning.layers.grouped import NotStackableError
from sklearn_lntune.tuning.registry import from_plain


@dataclass(frozen=True)
class Question:
    """Texts for a fitted state, and what is wanted of them: logits or pooled vectors."""

    state: FittedState
    backbone: Backbone
    placement: Placement
    texts: Sequence[Text]
    output: str

    @property
    def kind(self) -> Hashable:
        """Equal for questions that one network can answer."""
        return (*kind_of(self.state), id(self.backbone), self.placement, self.output)


def kind_of(state: FittedState) -> tuple[Hashable, ...]:
    """Equal for states whose deltas can stand side by side."""
    alone = None if may_stack(state) else id(state.delta)
    return repr(state.tuning), state.pooling, alone


def may_stack(state: FittedState) -> bool:
    """Whether deltas like that of ``state`` may stand side by side, if its model allows it."""
    private = any(method.private for method in from_plain(state.tuning))
    return not private and state.pooling != "native"


def answer(questions: Sequence[Question]) -> list[np.ndarray]:
    """What each of ``questions``, all of one kind, asks for; a row a text.

    Repeated texts of a question are computed once.
    """
    first = questions[0]
    backbone = first.backbone
    indexes, tables = [], []
    for question in questions:
        unique, numbers = distinct(question.texts)
        indexes.append(numbers)
        tables.append(backbone.tokens.table(unique, question.state.max_length))
    states = [question.state for question in questions]
    network = ready_network(states, backbone, first.placement)
    table, pad_id = joined(tables), backbone.pad_id
    sizes = [len(each) for each in tables]
    fits = np.repeat(np.arange(len(questions)), sizes)
    try:
        if len(questions) > 1:
            network.try_stacked(table, pad_id)
    except NotStackableError:
        return [answer([question])[0] for question in questions]
    found = np.split(compute(network, table, pad_id, first.output, fits), np.cumsum(sizes)[:-1])
    answers = [rows[index] for rows, index in zip(found, indexes, strict=True)]
    if first.output == "pooled":
        return answers
    return [logits[:, : len(state.classes)] for logits, state in zip(answers, states, strict=True)]
