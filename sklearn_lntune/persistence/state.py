"""The fitted state: plain values only, so that any format can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np

from sklearn_lntune.task import OneLabel, Task

#: Rises when fitted attributes change their meaning; older ones keep loading.
FORMAT = 2
#: That of fits with one label per row and without windows, which older versions read as well.
FORMAT_OF_ONE_LABEL = 1
_KEY = "_sklearn_lntune_format"


@dataclass(frozen=True)
class FittedState:
    """What `predict` needs and what a fit reports, without the backbone.

    Each field, but ``target_state``, stands on the estimator under its name with ``_`` appended;
    so does each entry of ``target_state``.

    Attributes
    ----------
    backbone : dict
        ``name`` and ``revision``; ``folder``, where a relative path led (not in files);
        ``fingerprint``, ``tokenizer`` (its fingerprint) and ``parts``, what the two are
        digests of (not in files from before there were parts); ``parameters`` (their number;
        not in the oldest files).
    tuning : list of dict
        Name and parameters of each tuning method.
    pooling : str
    max_length : int
    delta : dict of str to ndarray
        The learnt arrays, named ``<method>/<module path>/<array>``.
    embedding_size : int
    log : list of dict
        A record an epoch.
    n_steps, n_epochs : int
    stride : int or None
        Tokens that neighbouring windows of a longer text share; None if it is truncated, as
        in all files from before there were windows.
    window_pooling : str or None
        How the vectors of windows become one.
    target_kind : str
        The kind of task.
    target_state : dict of str to ndarray
        What the task has learnt of the targets, such as the classes.
    """

    backbone: dict[str, Any]
    tuning: list[dict[str, Any]]
    pooling: str
    max_length: int
    delta: dict[str, np.ndarray]
    embedding_size: int
    log: list[dict[str, Any]]
    n_steps: int
    n_epochs: int
    stride: int | None = None
    window_pooling: str | None = None
    target_kind: str = OneLabel.kind
    target_state: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What the outputs mean."""
        return Task.from_state(self.target_kind, self.target_state)

    def attributes(self) -> dict[str, Any]:
        """Names and values of the fitted attributes."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        targets = own.pop("target_state")
        return {f"{name}_": value for name, value in (own | targets).items()}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> FittedState:
        """The state among an estimator's ``attributes``."""
        # Pickles from before there were other kinds of target do not tell theirs, and those from
        # before there were windows say nothing of them.
        kind = attributes.get("target_kind_", OneLabel.kind)
        task = Task.of_kind(kind)
        optional = [name for name in task.optional_state_names if f"{name}_" in attributes]
        targets = {name: attributes[f"{name}_"] for name in (*task.state_names, *optional)}
        own = {
            each.name: attributes[f"{each.name}_"]
            for each in fields(cls)
            if each.name != "target_state"
            and (each.default is MISSING or f"{each.name}_" in attributes)
        }
        return cls(**own, target_state=targets)


def portable(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The field ``backbone`` of a state without what is true on one machine only."""
    return {key: value for key, value in backbone.items() if key != "folder"}


def with_format(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` of a pickle, with the number of its format."""
    one_label = state.get("target_kind_", OneLabel.kind) == OneLabel.kind
    first = one_label and state.get("stride_") is None
    return {**state, _KEY: FORMAT_OF_ONE_LABEL if first else FORMAT}


def check_format(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` of a pickle without the number; a ValueError if it is from the future."""
    state = dict(state)
    if (found := state.pop(_KEY, FORMAT)) > FORMAT:
        raise ValueError(
            f"this classifier was saved in format {found}, and this version of sklearn_lntune "
            f"reads up to {FORMAT}; upgrade sklearn_lntune."
        )
    return state
