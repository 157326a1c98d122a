"""The score of validation rows: found impossible before training, or said to be no number after."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import get_scorer, get_scorer_names, log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import cross_val_score

from sklearn_lntune import fused_fits
from sklearn_lntune.task import OneLabel
from sklearn_lntune.task.scoring import check_scores

ABC = OneLabel(np.array(["a", "b", "c"]))
PAIR = OneLabel(np.array(["ham", "spam"]))
CODES = np.array([0, 1, 2, 0, 1, 2, 0, 0])


def checked(scoring: Any, codes: np.ndarray = CODES, task: OneLabel = ABC) -> None:
    check_scores(task, codes, np.ones(len(codes)), scoring)


def test_the_scorer_of_any_metric_is_tried_out_with_every_class_there() -> None:
    for name in get_scorer_names():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The same made-up answers, right everywhere, as the check begins with.
            try:
                logits = np.eye(3)[CODES]
                possible = math.isfinite(ABC.score(logits, CODES, np.ones(len(CODES)), name))
            except Exception:
                possible = False
        if possible:
            checked(name)
    for name in ("accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr", "matthews_corrcoef"):
        checked(name)


@pytest.mark.parametrize(
    ("scoring", "task", "codes", "message"),
    [
        ("roc_auc_ovr", ABC, [0, 1, 0, 1], r"They lack the classes \['c'\]: pass X_val"),
        ("roc_auc", PAIR, [1, 1, 1], r"They lack the classes \['ham'\]"),
        ("average_precision", ABC, [0, 0], r"They lack the classes \['b', 'c'\]"),
        ("f1", ABC, CODES, "(multiclass|pos_label=1).*Choose another scoring"),
        ("f1", PAIR, [0, 1, 1], "pos_label=1.*Choose another scoring"),
        ("r2", PAIR, [0, 1, 1], "could not convert string.*Choose another"),
        (make_scorer(lambda y, predicted: math.nan), ABC, CODES, "the score is nan"),
        (make_scorer(lambda y, predicted: {"a": 1}), ABC, CODES, "TypeError"),
        (make_scorer(lambda y, predicted: 1 / 0), ABC, CODES, "ZeroDivisionError"),
    ],
)
def test_a_scorer_that_cannot_score_is_found_out(
    scoring: Any, task: OneLabel, codes: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s)^scoring=.* cannot score .*{message}"):
        checked(scoring, np.array(codes), task)


def test_a_callable_of_the_users_is_not_called_before_its_time() -> None:
    checked(lambda estimator, X, y: 1 / 0)
    checked("loss")


PROBABILITIES = ("neg_log_loss", "d2_log_loss_score", "neg_brier_score", "top_k_accuracy")


@pytest.mark.parametrize("scoring", sorted({*PROBABILITIES} & {*get_scorer_names()}))
def test_scorers_of_probabilities_know_classes_without_a_row(scoring: str) -> None:
    scorer: Any = get_scorer(scoring)
    if "labels" not in scorer._score_func.__wrapped__.__code__.co_varnames:
        pytest.skip("before scikit-learn 1.7 it scores two classes only")
    codes = CODES[CODES < 2]
    logits = np.random.default_rng(0).normal(size=(len(codes), 3))
    for weights in (np.ones(len(codes)), np.arange(1.0, len(codes) + 1)):
        found = ABC.score(logits, codes, weights, scoring)
        options = scorer._kwargs | {"labels": ABC.classes, "sample_weight": weights}
        expected = scorer._score_func(ABC.classes[codes], ABC.probabilities(logits), **options)
        assert found == pytest.approx(scorer._sign * expected)


def test_labels_of_the_users_stay() -> None:
    codes, logits = np.array([0, 1]), np.log([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    mine = make_scorer(
        log_loss, response_method="predict_proba", greater_is_better=False, labels=["a", "b", "c"]
    )
    found = ABC.score(logits, codes, np.ones(2), mine)
    assert found == pytest.approx((math.log(0.7) + math.log(0.6)) / 2)
    by_columns = make_scorer(roc_auc_score, response_method="predict_proba", multi_class="ovo")
    assert ABC.score(np.eye(3)[CODES], CODES, np.ones(len(CODES)), by_columns) == 1.0


# -- in a fit --------------------------------------------------------------------------


def test_held_out_rows_without_a_class(tiny_clf: Any, texts: list[str]) -> None:
    y = ["a"] * 20 + ["b"] * 19 + ["c"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that are not stratified
        clf = tiny_clf(early_stopping=True, scoring="neg_log_loss").fit(texts, y)
        assert np.isfinite(clf.history_["valid_score"]).all()
        broken = tiny_clf(early_stopping=True, scoring="roc_auc_ovr")
        with pytest.raises(ValueError, match=r"scoring='roc_auc_ovr' .* lack the classes \['c'\]"):
            broken.fit(texts, y)
    assert not [name for name in vars(broken) if name.endswith("_")]
    with pytest.raises(ValueError, match=r"scoring='roc_auc_ovr' .* lack the classes \['b', 'c'\]"):
        tiny_clf(scoring="roc_auc_ovr").fit(texts, y, X_val=texts[:3], y_val=y[:3])


def scores(*values: float) -> Any:
    """A scorer that gives ``values``, one an epoch."""
    left: Iterator[float] = iter(values)
    return lambda estimator, X, y: next(left)


NAN, INF = math.nan, math.inf
SAYS = "the validation score of epoch {} is {}, so scoring=.* says nothing of it"


@pytest.mark.parametrize(
    ("values", "best", "first"),
    [
        ([0.5, NAN, NAN, NAN, 0.4, 0.3], 1, (2, "nan")),  # patience counts the last two only
        ([NAN, 0.1, 0.2, INF, 0.1, 0.1], 3, (1, "nan")),
        ([-INF, -INF, -INF, -INF, -INF, -3.0], 6, (1, "-inf")),
    ],
)
def test_a_score_that_is_no_number_is_told_and_passed_over(
    values: list[float],
    best: int,
    first: tuple[int, str],
    tiny_clf: Any,
    texts: list[str],
    labels: list[str],
) -> None:
    clf = tiny_clf(early_stopping=True, patience=2, max_epochs=6, scoring=scores(*values))
    with pytest.warns(UserWarning, match=SAYS.format(*first)) as caught:
        clf.fit(texts, labels)
    assert len(caught) == 1
    np.testing.assert_array_equal(clf.history_["valid_score"], values)
    plain = scores(*(float(epoch == best) for epoch in range(1, 7)))
    expected = clone(clf).set_params(patience=6, scoring=plain).fit(texts, labels)
    for name, value in expected.delta_.items():
        np.testing.assert_array_equal(clf.delta_[name], value)


def test_no_score_at_all_leaves_the_last_epoch(
    tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(early_stopping=True, patience=1, max_epochs=4, scoring=lambda *_: NAN)
    with pytest.warns(UserWarning, match=SAYS.format(1, "nan")):
        clf.fit(texts, labels)
    assert clf.n_epochs_ == 4
    with pytest.warns(UserWarning, match=SAYS.format(1, "nan")):
        tiny_clf(max_epochs=1, scoring=lambda *_: NAN).fit(texts, labels, X_val=texts, y_val=labels)


@pytest.mark.parametrize("answer", [None, "high", [0.1, 0.2], {"accuracy": 0.5}])
def test_a_callable_that_returns_no_number(
    answer: Any, tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(early_stopping=True, validation_fraction=0.3, scoring=lambda *_: answer)
    with pytest.raises(ValueError, match="scoring=.* must return one number; it returned"):
        clf.fit(texts, labels)
    with fused_fits(), pytest.raises(ValueError, match="must return one number"):
        cross_val_score(clf, texts, labels, cv=2, error_score="raise")
