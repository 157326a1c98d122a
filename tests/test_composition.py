"""The classifier inside everything of scikit-learn that takes a classifier, with text in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.tuning import LayerNormTuning

Clf = Callable[..., LNTunedTransformerClassifier]


@pytest.fixture
def clf(tiny_clf: Clf) -> LNTunedTransformerClassifier:
    return tiny_clf()


@pytest.fixture
def yes_no(texts: list[str]) -> list[str]:
    return [["no", "yes"][len(text) % 2] for text in texts]


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


def check_answers(fitted: Any, texts: list[str], labels: list[str]) -> None:
    predicted = fitted.predict(texts)
    assert len(predicted) == len(texts)
    assert set(predicted) <= set(labels)


def test_pipeline(clf: Any, texts: list[str], labels: list[str]) -> None:
    pipe = Pipeline([("clean", FunctionTransformer(lower)), ("clf", clf)]).fit(texts, labels)
    check_answers(pipe, texts, labels)
    assert (pipe.predict_proba(texts) == clf.predict_proba(lower(texts))).all()


@pytest.mark.parametrize("start", ["layernorm", LayerNormTuning(terms="gain")])
def test_grid_search_over_nested_keys(
    start: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    pipe = Pipeline([("clean", FunctionTransformer(lower)), ("clf", tiny_clf(tuning=start))])
    grid = [
        {"clf__lr": [3e-3, 1e-2], "clf__tuning": ["layernorm", "head"]},
        {"clf__tuning__layernorm__terms": ["both", "bias"]},
    ]
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(texts, labels)
    assert len(search.cv_results_["params"]) == 6
    check_answers(search, texts, labels)
    if start != "layernorm":
        assert start.terms == "gain"  # an object that the user passed is never altered


def test_randomized_and_halving_search(clf: Any, texts: list[str], labels: list[str]) -> None:
    space = {"lr": [1e-3, 3e-3, 1e-2], "batch_size": [8, 16]}
    random = RandomizedSearchCV(clf, space, n_iter=2, cv=2, random_state=0, error_score="raise")
    check_answers(random.fit(texts, labels), texts, labels)
    halving = HalvingGridSearchCV(
        clf, {"lr": [1e-3, 1e-2]}, cv=2, min_resources=20, error_score="raise"
    )
    check_answers(halving.fit(texts, labels), texts, labels)


def test_cross_val_predict_and_learning_curve(
    clf: Any, texts: list[str], labels: list[str]
) -> None:
    assert cross_val_predict(clf, texts, labels, cv=2, method="predict_proba").shape == (40, 3)
    sizes, train, test = learning_curve(
        clf, texts, labels, cv=2, train_sizes=[0.6, 1.0], error_score="raise"
    )
    assert sizes.tolist() == [12, 20]
    assert np.isfinite(train).all()
    assert np.isfinite(test).all()


def test_calibration(clf: Any, texts: list[str], labels: list[str]) -> None:
    check_answers(CalibratedClassifierCV(clf, cv=2).fit(texts, labels), texts, labels)
    frozen = CalibratedClassifierCV(FrozenEstimator(clf.fit(texts, labels)))
    check_answers(frozen.fit(texts, labels), texts, labels)


def test_tuned_threshold(clf: Any, texts: list[str], yes_no: list[str]) -> None:
    tuned = TunedThresholdClassifierCV(clf, cv=2, scoring="balanced_accuracy")
    check_answers(tuned.fit(texts, yes_no), texts, yes_no)
    assert clf.fit(texts, yes_no).decision_function(texts).shape == (40,)


def test_voting_and_stacking(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    members = [
        ("ln", tiny_clf()),
        ("head", tiny_clf(tuning="head")),
        ("tfidf", make_pipeline(TfidfVectorizer(), LogisticRegression())),
    ]
    check_answers(VotingClassifier(members, voting="soft").fit(texts, labels), texts, labels)
    check_answers(StackingClassifier(members, cv=2).fit(texts, labels), texts, labels)


def test_one_vs_rest(clf: Any, texts: list[str], labels: list[str]) -> None:
    check_answers(OneVsRestClassifier(clf).fit(texts, labels), texts, labels)


def test_bagging_and_boosting_with_a_one_column_frame(
    clf: Any, texts: list[str], labels: list[str]
) -> None:
    frame = pd.DataFrame({"text": texts})
    bagging = BaggingClassifier(clf, n_estimators=2, random_state=0).fit(frame, labels)
    check_answers(bagging, frame, labels)
    boosting = AdaBoostClassifier(clf, n_estimators=2, random_state=0).fit(frame, labels)
    check_answers(boosting, frame, labels)


def test_behind_a_column_transformer(clf: Any, texts: list[str], labels: list[str]) -> None:
    frame = pd.DataFrame({"number": range(40), "text": texts})
    choose = ColumnTransformer([("t", "passthrough", ["text"])])
    check_answers(make_pipeline(choose, clf).fit(frame, labels), frame, labels)


def test_as_a_transformer(clf: Any, texts: list[str], labels: list[str]) -> None:
    frame = pd.DataFrame({"number": range(40), "text": texts})
    features = ColumnTransformer([("n", "passthrough", ["number"]), ("t", clf, "text")])
    matrix = features.fit_transform(frame, labels)
    assert matrix.shape == (40, 17)
    assert len(features.get_feature_names_out()) == 17
    pipe = make_pipeline(features, LogisticRegression(max_iter=2000)).fit(frame, labels)
    check_answers(pipe, frame, labels)


def test_two_processes_give_the_same_as_one(clf: Any, texts: list[str], labels: list[str]) -> None:
    grid = {"lr": [1e-3, 1e-2]}
    one = GridSearchCV(clf, grid, cv=2, n_jobs=1).fit(texts, labels)
    two = GridSearchCV(clf, grid, cv=2, n_jobs=2, error_score="raise").fit(texts, labels)
    assert (one.cv_results_["mean_test_score"] == two.cv_results_["mean_test_score"]).all()
    np.testing.assert_allclose(
        one.predict_proba(texts), two.predict_proba(texts), rtol=0, atol=1e-12
    )


def test_sample_weight_is_routed(clf: Any, texts: list[str], labels: list[str]) -> None:
    weights = np.linspace(0.1, 1, 40)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = clf.set_fit_request(sample_weight=True)
        pipe = make_pipeline(FunctionTransformer(lower), asked)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        pipe.fit(texts, labels, sample_weight=weights)
        result = cross_validate(
            pipe,
            texts,
            labels,
            cv=2,
            scoring=scorer,
            params={"sample_weight": weights},
            error_score="raise",
        )
    assert np.isfinite(result["test_score"]).all()
    plain = sklearn.clone(clf).fit(texts, labels)
    assert (plain.predict_proba(texts) != pipe.predict_proba(texts)).any()


def test_diagram(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(tuning=LayerNormTuning(terms="bias"))
    with sklearn.config_context(display="diagram"):
        assert "LNTunedTransformerClassifier" in clf._repr_html_()
        assert "Fitted" in make_pipeline(clf).fit(texts, labels)._repr_html_()
    assert "terms='bias'" in repr(clf)
