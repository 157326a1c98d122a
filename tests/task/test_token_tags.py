from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.metrics import make_scorer

from sklearn_lntune.task import Task, TokenTags
from sklearn_lntune.task.tags import check_tags
from sklearn_lntune.task.token_tags import NO_TARGET

TAGS = [["O", "B-a", "I-a"], ["O"], [], ["B-b", "O"]]


@pytest.mark.parametrize(
    "y",
    [
        [["O", "B-a"], ["O"]],
        (("O", "B-a"), ("O",)),
        [np.array(["O", "B-a"]), pd.Series(["O"])],
        pd.Series([["O", "B-a"], ["O"]]),
    ],
    ids=["lists", "tuples", "arrays", "series"],
)
def test_every_form_gives_lists_of_tags(y: Any) -> None:
    assert check_tags(y) == [["O", "B-a"], ["O"]]


def test_tags_may_be_numbers() -> None:
    task = TokenTags.from_targets(np.array([[0, 1], [2, 0]]))
    assert task.classes.tolist() == [0, 1, 2]
    assert [row.tolist() for row in task.encode([[2, 0], [1]])] == [[2, 0], [1]]
    assert task.predict(np.array([np.eye(3)[[2, 0]]])) == [[2, 0]]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "requires y to be passed"),
        ("O B-a", TypeError, "got str"),
        ({"a": ["O"]}, TypeError, "got dict"),
        (pd.DataFrame({"tags": [["O"]]}), TypeError, "got DataFrame"),
        (["O", "B-a"], ValueError, "one label for each sentence .*LNTunedTransformerClassifier"),
        (np.array([0, 1]), ValueError, "LNTunedTransformerClassifier"),
        (np.array([0.5, 1.2]), ValueError, "LNTunedTransformerRegressor"),
        (csr_matrix(np.eye(2)), ValueError, "LNTunedTransformerClassifier"),
        ([["O"], None], ValueError, "row 1 of y is missing"),
        ([["O"], ["O", None]], ValueError, "tag 1 of row 1 of y is missing"),
        ([["O"], [["O"]]], ValueError, "tag 0 of row 1 of y is a sequence"),
    ],
)
def test_what_are_no_tags_is_named(y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_tags(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([["O"], ["O"]], "1 class only"),
        ([[], []], "contains no labels"),
        ([["O"], ["O", 1]], "the first is 'O', and row 1 has 1"),
        ([[0.5, 1.5]], "continuous"),
    ],
)
def test_tags_that_cannot_be_learnt_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenTags.from_targets(y)


def test_an_unknown_tag_is_named() -> None:
    with pytest.raises(ValueError, match=r"not among the classes: \['B-c'\]"):
        TokenTags.from_targets(TAGS).encode([["B-c"]])


def windows(task: TokenTags, rows: list[list[str]]) -> np.ndarray:
    """Targets of sentences of one window each."""
    codes = [row.tolist() for row in task.encode(rows)]
    width = max(map(len, codes))
    return np.array([[1, *row, *[NO_TARGET] * (width - len(row))] for row in codes])


def test_the_loss_of_a_row_is_the_mean_over_its_words() -> None:
    task = TokenTags.from_targets(TAGS)
    rows = [row for row in TAGS if row]
    targets, random = windows(task, rows), np.random.default_rng(0)
    flat = random.normal(size=(6, 4))
    logits = -log_softmax(flat, axis=1)
    codes = np.concatenate(list(task.encode(rows)))
    each = logits[np.arange(6), codes]
    expected = [each[:3].mean(), each[3], each[4:].mean()]
    padded = random.normal(size=(3, 3, 4))
    padded[targets[:, 1:] != NO_TARGET] = flat
    for outputs in (flat, padded):
        losses = task.loss(torch.from_numpy(outputs), torch.from_numpy(targets))
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
    # A batch may be narrower than all targets.
    narrow = task.loss(torch.from_numpy(padded[1:2, :1]), torch.from_numpy(targets[1:2]))
    np.testing.assert_allclose(narrow, expected[1:2], rtol=1e-12)
    score = task.score(flat, targets, np.array([3.0, 1.0, 2.0]), "loss")
    assert score == pytest.approx(-each.mean())


def test_a_sentence_of_several_windows_is_scored_as_one() -> None:
    task = TokenTags(np.array(["B-a", "I-a", "O"]))
    # B-a I-a | I-a O: one entity, which crosses the end of the window.
    targets = np.array([[1, 0, 1], [0, 1, 2]])
    right = np.eye(3)[[0, 1, 1, 2]]
    assert task.score(right, targets, np.full(2, 2.0), "entity_f1") == 1.0
    shortened = np.eye(3)[[0, 1, 2, 2]]
    assert task.score(shortened, targets, np.full(2, 2.0), "auto") == 0.0
    assert task.score(shortened, targets, np.full(2, 2.0), "accuracy") == 0.75


def test_a_callable_gets_lists_of_tags() -> None:
    task = TokenTags.from_targets(TAGS)
    rows = [row for row in TAGS if row]
    seen = []

    def metric(y_true: Any, y_pred: Any) -> float:
        seen.append((y_true, y_pred))
        return 0.25

    outputs = np.eye(4)[np.concatenate(list(task.encode(rows)))]
    weights = np.array([3.0, 1.0, 2.0])
    scorer = make_scorer(metric)
    assert task.score(outputs, windows(task, rows), weights, scorer) == 0.25
    assert seen == [(rows, rows)]


def test_weights_of_sentences_reach_every_score() -> None:
    task = TokenTags.from_targets(TAGS)
    rows = [["O", "O"], ["B-a"]]
    targets = windows(task, rows)
    outputs = np.eye(4)[[3, 3, 3]]  # all O: the first sentence is right, the second is not
    assert task.score(outputs, targets, np.array([2.0, 3.0]), "accuracy") == pytest.approx(2 / 5)
    outputs = np.eye(4)[[0, 3, 0]]  # an entity too many, and one that is there
    f1 = task.score(outputs, targets, np.array([2.0, 3.0]), "entity_f1")
    assert f1 == pytest.approx(2 * 3 / (1 + 3 + 3))


@pytest.mark.parametrize("scoring", ["f1", None, 3, "entity-f1"])
def test_a_score_that_does_not_exist_is_refused(scoring: Any) -> None:
    with pytest.raises(ValueError, match="scoring must be one of"):
        TokenTags.from_targets(TAGS).check_scoring(scoring)


def test_parts_of_speech_have_no_entities() -> None:
    task = TokenTags.from_targets([["NOUN", "VERB"]])
    assert task.resolve_scoring("auto") == "accuracy"
    with pytest.raises(ValueError, match="needs tags that mark entities"):
        task.check_scoring("entity_f1")
    assert task.score_tags([["NOUN", "VERB"]], [["NOUN", "NOUN"]], None) == 0.5


def test_validation_sentences_without_entities_are_refused() -> None:
    task = TokenTags.from_targets(TAGS)
    targets = task.encode([["O"], ["O", "O"]])
    with pytest.raises(ValueError, match="cannot score the 2 validation sentences"):
        task.check_scores(targets, np.ones(2), "auto")
    task.check_scores(targets, np.ones(2), "loss")
    task.check_scores(task.encode(TAGS), np.ones(4), "auto")


def test_tags_that_cannot_be_scored_are_named() -> None:
    task = TokenTags.from_targets(TAGS)
    task.check_scorable([["O", "B-new"]])
    with pytest.raises(ValueError, match="'NOUN', which marks no entity"):
        task.check_scorable([["O", "NOUN"]])
    with pytest.raises(ValueError, match="the other a number"):
        task.check_scorable([[1]])
    with pytest.raises(ValueError, match="no words"):
        task.check_scorable([[]])


def test_its_state_makes_it_again() -> None:
    task = TokenTags.from_targets(TAGS, label_smoothing=0.1)
    again = Task.from_state(task.kind, task.state())
    assert isinstance(again, TokenTags)
    assert again.predict(np.array([np.eye(4)])) == [["B-a", "B-b", "I-a", "O"]]
    with pytest.raises(ValueError, match="sorted"):
        TokenTags.check_state({"classes": np.array(["O", "B-a"])})
