"""The F1 score of entities, as seqeval and the CoNLL evaluation define them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_TAG = re.compile(r"O|[BIESLU](-.*)?", re.DOTALL)
#: The names that BILOU has for the ends of an entity, and those that seqeval knows.
_SEQEVAL = {"L": "E", "U": "S"}


def mark_entities(tags: Iterable[Any]) -> bool:
    """Whether ``tags`` mark entities, as in IOB2 or BILOU: each is ``"O"`` or like ``"B-person"``.

    Examples
    --------
    >>> mark_entities(["O", "B-person", "I-person"]), mark_entities(["NOUN", "VERB"])
    (True, False)
    """
    tags = list(tags)
    marked = all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags)
    return marked and any(tag != "O" for tag in tags)


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Kind, first and last word of each entity in a sentence.

    Raises
    ------
    ImportError
        If seqeval is not installed.

    Examples
    --------
    >>> sorted(entities(["B-person", "I-person", "O", "B-place"]))
    [('person', 0, 1), ('place', 3, 3)]
    """
    check_seqeval()
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities([_SEQEVAL.get(tag[:1], tag[:1]) + tag[1:] for tag in tags]))


def check_seqeval() -> None:
    """Raise an ImportError that says how to install seqeval, if it is missing."""
    if importlib.util.find_spec("seqeval") is None:
        raise ImportError(
            "the F1 score of entities needs seqeval: pip install 'sklearn-lntune[tags]'. "
            "scoring='loss' and 'accuracy' do not."
        )


def entity_f1(
    y_true: Sequence[Sequence[str]],
    y_pred: Sequence[Sequence[str]],
    sample_weight: np.ndarray | None = None,
) -> float:
    """Micro-averaged F1 of entities: an entity counts if its kind and both of its ends are right.

    Without weights, this is ``seqeval.metrics.f1_score``.

    Parameters
    ----------
    y_true, y_pred : sequence of sequences of str
        Tags of the words of each sentence.
    sample_weight : ndarray of shape (n_sentences,), optional

    Returns
    -------
    float
        0 if there is no entity in either.
    """
    weights = np.ones(len(y_true)) if sample_weight is None else sample_weight
    right = found = there = 0.0
    for truth, prediction, weight in zip(y_true, y_pred, weights, strict=True):
        true, predicted = entities(truth), entities(prediction)
        right += weight * len(true & predicted)
        found += weight * len(predicted)
        there += weight * len(true)
    return float(2 * right / (found + there)) if found + there else 0.0
