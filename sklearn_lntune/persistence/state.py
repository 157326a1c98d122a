"""The fitted state: plain values only, so that any format can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np

from sklearn_lntune.task import OneLabel

#: Rises when fitted attributes change their meaning; older ones keep loading.
FORMAT = 1
_KEY = "_sklearn_lntune_format"


@dataclass(frozen=True)
class FittedState:
    """What `predict` needs and what a fit reports, without the backbone.

    Each field stands on the estimator under its name with ``_`` appended.

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
    classes : ndarray of shape (n_classes,)
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
    """

    backbone: dict[str, Any]
    tuning: list[dict[str, Any]]
    pooling: str
    max_length: int
    classes: np.ndarray
    delta: dict[str, np.ndarray]
    embedding_size: int
    log: list[dict[str, Any]]
    n_steps: int
    n_epochs: int
    stride: int | None = None
    window_pooling: str | None = None

    @property
    def task(self) -> OneLabel:
        """What the outputs mean."""
        return OneLabel(self.classes)

    def attributes(self) -> dict[str, Any]:
        """Names and values of the fitted attributes."""
        return {f"{field.name}_": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> FittedState:
        """The state among an estimator's ``attributes``."""
        found = {field.name: f"{field.name}_" for field in fields(cls)}
        # Those of an older pickle lack the later ones, which have a default.
        later = {field.name for field in fields(cls) if field.default is not MISSING}
        return cls(
            **{
                name: attributes[attribute]
                for name, attribute in found.items()
                if attribute in attributes or name not in later
            }
        )


def portable(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The field ``backbone`` of a state without what is true on one machine only."""
    return {key: value for key, value in backbone.items() if key != "folder"}


def with_format(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` of a pickle, with the number of its format."""
    return {**state, _KEY: FORMAT}


def check_format(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` of a pickle without the number; a ValueError if it is from the future."""
    state = dict(state)
    if (found := state.pop(_KEY, FORMAT)) > FORMAT:
        raise ValueError(
            f"this classifier was saved in format {found}, and this version of sklearn_lntune "
            f"reads up to {FORMAT}; upgrade sklearn_lntune."
        )
    return state
