from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import lists, sampled_from
from seqeval.metrics import f1_score

from sklearn_lntune.task.entities import entities, entity_f1, mark_entities

# Also sequences that no scheme allows, such as an I- after an O, and entities without a kind.
TAGS = sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "E-a", "S-b", "B", "I"])


@given(rows=lists(lists(TAGS, max_size=8), max_size=4), other=lists(TAGS, min_size=40, max_size=40))
def test_the_score_is_that_of_seqeval(rows: list[list[str]], other: list[str]) -> None:
    predicted = [[other.pop() for _ in row] for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where there is no entity
        expected = f1_score(rows, predicted) if rows else 0.0
    assert entity_f1(rows, predicted) == pytest.approx(float(expected), abs=1e-15)


@given(
    rows=lists(lists(TAGS, max_size=6), min_size=1, max_size=4),
    counts=lists(sampled_from([0, 1, 3]), min_size=4, max_size=4),
)
def test_a_weight_counts_like_repetitions(rows: list[list[str]], counts: list[int]) -> None:
    predicted = [row[::-1] for row in rows]
    repeated = [i for i in range(len(rows)) for _ in range(counts[i])]
    expected = entity_f1([rows[i] for i in repeated], [predicted[i] for i in repeated])
    weighted = entity_f1(rows, predicted, np.array(counts[: len(rows)], float))
    assert weighted == pytest.approx(expected, abs=1e-12)


def test_bilou_is_read_as_iobes() -> None:
    assert entities(["B-a", "I-a", "L-a", "U-b"]) == {("a", 0, 2), ("b", 3, 3)}
    assert entities(["U-a", "U-a"]) == entities(["S-a", "S-a"]) == {("a", 0, 0), ("a", 1, 1)}


@pytest.mark.parametrize(
    ("tags", "marked"),
    [
        (["O", "B-a", "I-a"], True),
        (["B", "I", "O"], True),
        (["U-a", "L-b\n"], True),
        (["O"], False),
        (["NOUN", "O"], False),
        (["Bad", "O"], False),
        ([0, 1], False),
        ([], False),
    ],
)
def test_which_tags_mark_entities(tags: list[Any], marked: bool) -> None:
    assert mark_entities(tags) is marked


def test_without_seqeval_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"sklearn-lntune\[tags\]"):
        entity_f1([["B-a"]], [["B-a"]])
