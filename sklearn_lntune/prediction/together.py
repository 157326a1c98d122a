"""Predictions of several fitted states over one backbone, in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.inputs.base import Rows, joined
from sklearn_lntune.inputs.per_word import first_windows, for_examples, total_outputs
from sklearn_lntune.network import compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction.predictor import checked_finite, ready_network
from sklearn_lntune.tuning.layers.grouped import NotStackableError
from sklearn_lntune.tuning.registry import from_plain


@dataclass(frozen=True)
class PredictRequest:
    """Rows for a fitted state, and what is wanted of them: logits or pooled vectors."""

    state: FittedState
    backbone: Backbone
    placement: Placement
    rows: Rows
    output: str

    @property
    def kind(self) -> Hashable:
        """A key that requests share if one network can answer them."""
        return (*kind_of(self.state), id(self.backbone), self.placement, self.output)


def kind_of(state: FittedState) -> tuple[Hashable, ...]:
    """A key that states share if one network can hold their deltas."""
    alone = None if may_stack(state) else id(state.delta)
    pooling = state.pooling, state.window_pooling
    return repr(state.tuning), pooling, state.task.per_token, alone


def may_stack(state: FittedState) -> bool:
    """Whether deltas like that of ``state`` can be stacked, if its model allows it."""
    private = any(method.private for method in from_plain(state.tuning))
    return not private and state.pooling != "native"


def answer(requests: Sequence[PredictRequest]) -> list[np.ndarray]:
    """The outputs for each of ``requests``, which are all of one kind.

    Rows that a request repeats are computed once.
    """
    first = requests[0]
    backbone = first.backbone
    indexes, tables = [], []
    for request in requests:
        unique, numbers = request.rows.distinct()
        indexes.append(numbers)
        own = request.state
        table = backbone.tokens.table(unique, own.max_length, own.stride)
        tables.append(first_windows(table) if request.output == "pooled" else table)
    states = [request.state for request in requests]
    network = ready_network(states, backbone, first.placement)
    table = joined(tables)
    sizes = [len(each) for each in tables]
    fits = np.repeat(np.arange(len(requests)), sizes)
    try:
        if len(requests) > 1:
            network.try_stacked(table)
    except NotStackableError:
        return [answer([request])[0] for request in requests]
    outputs = compute(network, table, first.output, fits)
    if first.output == "pooled":
        found = np.split(outputs, np.cumsum(sizes)[:-1])
        return [checked_finite(rows)[index] for rows, index in zip(found, indexes, strict=True)]
    found = np.split(outputs, np.cumsum([total_outputs(each) for each in tables])[:-1])
    return [
        for_examples(checked_finite(logits[:, : state.task.n_outputs]), own)[index]
        for logits, state, own, index in zip(found, states, tables, indexes, strict=True)
    ]
