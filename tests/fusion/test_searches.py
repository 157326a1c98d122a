"""What scikit-learn fits inside `fused_fits` is what it fits without, and arrives together."""

from __future__ import annotations

import itertools
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EpochScoring

from sklearn_lntune import TrainingDivergedError, fused_fits
from sklearn_lntune.fusion import lockstep
from sklearn_lntune.fusion.memory import room_for
from sklearn_lntune.fusion.serving import Server
from sklearn_lntune.tuning import FullTuning

pytestmark = pytest.mark.usefixtures("no_fused_thread_left")


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


def both(run: Callable[[], Any]) -> tuple[Any, Any]:
    """What ``run()`` gives inside the context, and outside."""
    with fused_fits():
        fused = run()
    return fused, run()


def check_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def check_same_search(found: Any, expected: Any) -> None:
    assert found.best_params_ == expected.best_params_
    scored = [key for key in expected.cv_results_ if "test_" in key or "train_" in key]
    assert len(scored) >= 4
    for key in scored:
        check_same(found.cv_results_[key], expected.cv_results_[key])


def sizes(servers: list[Server]) -> list[int]:
    return [size for server in servers for size in server.sizes]


@pytest.fixture
def quick(tiny_clf: Any) -> Callable[..., Any]:
    return lambda **params: tiny_clf(**{"max_epochs": 1, **params})


def test_grid_search_over_a_pipeline_arrives_as_one_group(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    pipe = Pipeline([("clean", FunctionTransformer(lower)), ("clf", quick())])
    grid = {"clf__lr": [1e-3, 3e-3, 1e-2, 3e-2], "clf__batch_size": [4, 8, 16]}

    search = GridSearchCV(pipe, grid, cv=3, error_score="raise")
    with fused_fits():
        found = clone(search).set_params(n_jobs=-1).fit(texts, labels)
    expected = search.fit(texts, labels)
    assert sizes(servers) == [36]  # and the final fit, alone
    check_same_search(found, expected)
    check_same(found.predict_proba(texts), expected.predict_proba(texts))


@pytest.mark.parametrize("n_jobs", [None, 2, 1])
def test_n_jobs(
    n_jobs: int | None, quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    with fused_fits():
        cross_val_score(quick(), texts, labels, cv=2, n_jobs=n_jobs, error_score="raise")
    assert sizes(servers) == ([] if n_jobs == 1 else [2])


def test_several_metrics_and_no_final_fit(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    search = GridSearchCV(
        quick(),
        {"lr": [1e-3, 1e-2]},
        cv=2,
        scoring=["accuracy", "neg_log_loss"],
        refit="accuracy",
        return_train_score=True,
    )
    found, expected = both(lambda: clone(search).fit(texts, labels))
    assert sizes(servers) == [4]
    check_same_search(found, expected)
    check_same(
        found.best_estimator_.delta_["head/weight"], expected.best_estimator_.delta_["head/weight"]
    )


def test_random_and_halving_searches(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    space = {"lr": [1e-3, 3e-3, 1e-2, 3e-2]}
    random = RandomizedSearchCV(quick(), space, n_iter=3, cv=2, random_state=0)
    check_same_search(*both(lambda: clone(random).fit(texts, labels)))
    assert sizes(servers) == [6]
    halving = HalvingGridSearchCV(quick(), space, cv=2, factor=2, min_resources=20, random_state=0)
    check_same_search(*both(lambda: clone(halving).fit(texts, labels)))
    assert sizes(servers) == [6, 8, 4]


def test_cross_validation(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    clf = quick()
    check_same(*both(lambda: cross_val_score(clf, texts, labels, cv=4)))
    check_same(*both(lambda: cross_val_predict(clf, texts, labels, cv=3, method="predict_proba")))
    found, expected = both(
        lambda: cross_validate(clf, texts, labels, cv=2, return_estimator=True)["estimator"]
    )
    for ours, theirs in zip(found, expected, strict=True):
        check_same(ours.embed(texts), theirs.embed(texts))
        columns = ["epoch", "n_steps", "lr", "train_loss"]
        check_same(ours.history_[columns], theirs.history_[columns])
    assert sizes(servers) == [4, 3, 2]


def test_learning_curve(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    found, expected = both(
        lambda: learning_curve(quick(), texts, labels, cv=2, train_sizes=[0.6, 1.0])
    )
    for ours, theirs in zip(found, expected, strict=True):
        check_same(ours, theirs)
    assert sizes(servers) == [4]


def test_ensembles(quick: Any, texts: list[str], labels: list[str], servers: list[Server]) -> None:
    frame = pd.DataFrame({"text": texts})
    bagging = BaggingClassifier(quick(), n_estimators=3, random_state=0)
    check_same(*both(lambda: clone(bagging).fit(frame, labels).predict_proba(frame)))
    assert sizes(servers) == [3]
    one_vs_rest = OneVsRestClassifier(quick())
    check_same(*both(lambda: clone(one_vs_rest).fit(texts, labels).predict_proba(texts)))
    assert sizes(servers) == [3, 3]


def members(quick: Any) -> list[tuple[str, Any]]:
    return [(str(lr), quick(lr=lr)) for lr in (1e-3, 3e-3, 1e-2)]


def test_a_vote_arrives_together_and_in_folds_too(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    vote = VotingClassifier(members(quick), voting="soft")
    check_same(*both(lambda: clone(vote).fit(texts, labels).predict_proba(texts)))
    assert sizes(servers) == [3]
    check_same(*both(lambda: cross_val_score(vote, texts, labels, cv=5, error_score="raise")))
    assert sizes(servers) == [3, 15]


def test_stacking(quick: Any, texts: list[str], labels: list[str], servers: list[Server]) -> None:
    stack = StackingClassifier(members(quick)[:2], LogisticRegression(), cv=2)
    check_same(*both(lambda: clone(stack).fit(texts, labels).predict_proba(texts)))
    assert sizes(servers) == [2, 4]


def test_a_search_in_each_fold(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    search = GridSearchCV(quick(), {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    check_same(*both(lambda: cross_val_score(search, texts, labels, cv=3, error_score="raise")))
    assert sizes(servers) == [12, 3]  # all folds' candidates, and all final fits


def test_beside_other_estimators(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    vote = VotingClassifier(
        [
            *members(quick)[:2],
            ("linear", make_pipeline(TfidfVectorizer(), LogisticRegression())),
            ("forest", make_pipeline(TfidfVectorizer(), RandomForestClassifier(5, random_state=0))),
            ("tuned", make_pipeline(quick(), LogisticRegression())),
        ],
        voting="soft",
    )
    check_same(*both(lambda: cross_val_score(vote, texts, labels, cv=2, error_score="raise")))
    assert sizes(servers) == [6]


def test_a_list_of_clones(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    clfs = [quick(random_state=seed) for seed in range(4)]
    with fused_fits():
        fitted = Parallel()(delayed(clone(clf).fit)(texts, labels) for clf in clfs)
    assert sizes(servers) == [4]
    for found, clf in zip(fitted, clfs, strict=True):
        check_same(found.decision_function(texts), clf.fit(texts, labels).decision_function(texts))


def test_shapes_that_differ_make_groups(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    grid = {"tuning": ["layernorm", "head", "adapter"], "lr": [1e-3, 1e-2]}
    search = GridSearchCV(quick(), grid, cv=2, refit=False, error_score="raise")
    check = both(lambda: clone(search).fit(texts, labels).cv_results_["mean_test_score"])
    check_same(*check)
    assert sizes(servers) == [4, 4, 4]


def test_mean_scores_in_float32(quick: Any, texts: list[str], labels: list[str]) -> None:
    clf = quick(precision="float32", max_epochs=4, lr=1e-2)
    found, expected = both(lambda: cross_val_score(clf, texts, labels, cv=4))
    assert abs(found.mean() - expected.mean()) <= 0.002


def test_predictions_of_the_folds_run_together(
    quick: Any, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.fusion import serving

    asked: list[int] = []
    real = serving.answer
    monkeypatch.setattr(serving, "answer", lambda qs: asked.append(len(qs)) or real(qs))
    with fused_fits():
        cross_val_score(quick(), texts, labels, cv=5)
    assert asked == [5]


# -- what does not fuse, and what fails ------------------------------------------------


def test_fits_that_train_alone_say_so(
    quick: Any, texts: list[str], labels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    alone = [
        quick(callbacks=[EpochScoring("accuracy", name="acc", on_train=True)]),
        quick(pooling="native"),
        quick(tuning=FullTuning()),
    ]
    clfs = [*alone, quick(), quick(lr=1e-2)]
    with caplog.at_level(logging.INFO, "sklearn_lntune.fusion"), fused_fits():
        fitted = Parallel()(delayed(clone(clf).fit)(texts, labels) for clf in clfs)
    said = " ".join(record.getMessage() for record in caplog.records)
    for why in ("callbacks", "native", "'full' shares no weights"):
        assert why in said
    for found, clf in zip(fitted, clfs, strict=True):
        check_same(found.decision_function(texts), clf.fit(texts, labels).decision_function(texts))


def test_layers_that_do_not_stack_train_one_by_one(
    tiny_clf: Any,
    texts: list[str],
    labels: list[str],
    servers: list[Server],
    caplog: pytest.LogCaptureFixture,
) -> None:
    clf = tiny_clf("deberta-v2", max_epochs=1)
    with caplog.at_level(logging.INFO, "sklearn_lntune.fusion"):
        check_same(*both(lambda: cross_val_score(clf, texts, labels, cv=2)))
    assert sizes(servers) == [1, 1]
    assert "one by one" in caplog.text


def test_a_bank_that_breaks_trains_one_by_one(
    quick: Any,
    texts: list[str],
    labels: list[str],
    servers: list[Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(bank: Any) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(lockstep.StackedTrainer, "step", broken)
    check_same(*both(lambda: cross_val_score(quick(), texts, labels, cv=3, error_score="raise")))
    assert sizes(servers) == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_one_failing_candidate_fails_alone(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    good = {"lr": [1e-3, 1e-2]}
    bad = {"lr": [-1.0]}  # a ValueError before training
    with fused_fits():
        expected = GridSearchCV(quick(), good, cv=2, refit=False).fit(texts, labels)
        with pytest.warns(FitFailedWarning, match="2 fits failed"):
            found = GridSearchCV(quick(), [good, bad], cv=2, refit=False, error_score=np.nan).fit(
                texts, labels
            )
        with pytest.raises(ValueError, match="lr"):
            GridSearchCV(quick(), [good, bad], cv=2, error_score="raise").fit(texts, labels)
    scores = found.cv_results_["mean_test_score"]
    assert (scores[:2] == expected.cv_results_["mean_test_score"]).all()  # bit for bit
    assert np.isnan(scores[2])
    assert sizes(servers)[:2] == [4, 4]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_one_diverging_candidate_fails_alone(
    quick: Any, texts: list[str], labels: list[str]
) -> None:
    clf = quick(max_grad_norm=None, warmup=0.0)
    grid = [{"lr": [1e-3, 1e-2]}, {"lr": [1e200], "head_lr": [1e200]}]
    search = GridSearchCV(clf, grid, cv=2, refit=False)
    found, expected = both(lambda: clone(search).fit(texts, labels).cv_results_["mean_test_score"])
    check_same(found, expected)
    assert np.isnan(found).tolist() == [False, False, True]
    with pytest.raises(TrainingDivergedError), fused_fits():
        clone(search).set_params(error_score="raise").fit(texts, labels)


def test_a_task_that_raises_between_fits(quick: Any, texts: list[str], labels: list[str]) -> None:
    def work(i: int) -> Any:
        clf = quick().fit(texts, labels)
        if i == 1:
            raise LookupError(i)
        return clf.predict(texts)

    with fused_fits():
        with pytest.raises(LookupError):
            Parallel()(delayed(work)(i) for i in range(4))
        assert len(Parallel()(delayed(work)(i) for i in (2, 3))) == 2


def test_a_scorer_that_uses_a_classifier(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    judge = quick().fit(texts, labels)

    def agreement(estimator: Any, X: Any, y: Any) -> float:
        inner = cross_val_score(quick(), texts[:12], labels[:12], cv=2)
        return float((judge.predict(texts[:5]) == judge.predict(texts[:5])).mean() + inner.mean())

    clf = quick(early_stopping=True, validation_fraction=0.3, scoring=agreement)
    check_same(*both(lambda: cross_val_score(clf, texts, labels, cv=2, error_score="raise")))
    assert sizes(servers) == [2]


def test_threads_of_the_users_own(
    quick: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    found: list[Any] = []
    with fused_fits():
        thread = threading.Thread(target=lambda: found.append(quick().fit(texts, labels)))
        thread.start()
        cross_val_score(quick(), texts, labels, cv=2)
        thread.join()
    check_same(found[0].embed(texts), quick().fit(texts, labels).embed(texts))
    assert sizes(servers) == [2]


@pytest.mark.parametrize("action", ["always", "default"])
def test_warnings_are_those_of_the_plain_search(action: Any, quick: Any, texts: list[str]) -> None:
    y = ["rare"] + ["no", "yes"] * 19 + ["no"]
    search = GridSearchCV(
        quick(early_stopping=True), {"lr": [1e-3, 1e-2]}, cv=[(range(40), range(40))]
    )

    def raised() -> list[str]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(action)
            clone(search).fit(texts, y)
        return sorted(str(each.message) for each in seen)

    found, expected = both(raised)
    assert any("not stratified" in message for message in expected)
    if action == "default":
        # Python shows equal warnings of a place again only once the filters have changed, which
        # each task does: how often depends on the order of the threads.
        found, expected = sorted(set(found)), sorted(set(expected))
    assert found == expected


# -- memory and progress -----------------------------------------------------------------


def test_banks_grow_and_shrink_with_the_memory(
    quick: Any, job_of: Any, texts: list[str], labels: list[str], servers: list[Server]
) -> None:
    job = job_of(quick().fit, texts, labels)
    budgets = [1, 10**6, 10**7, 10**9]
    rooms = [room_for(job, budget) for budget in budgets]
    assert (rooms[0].n_fits, rooms[0].n_tokens) == (1, 1)
    assert rooms[-1].n_tokens == lockstep.STEP_TOKENS["cpu"]
    for one, larger in itertools.pairwise(rooms):
        assert one.n_fits <= larger.n_fits
        assert one.n_tokens <= larger.n_tokens
    clf, expected = quick(), cross_val_score(quick(), texts, labels, cv=4)
    for budget in (1, 10**9):
        with fused_fits(max_memory=budget):
            check_same(cross_val_score(clf, texts, labels, cv=4, error_score="raise"), expected)
    assert sizes(servers) == [1, 1, 1, 1, 4]


def test_larger_deltas_take_more_memory(
    quick: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    small = room_for(job_of(quick().fit, texts, labels), 10**8)
    large = room_for(job_of(quick(tuning="layernorm+lora+adapter").fit, texts, labels), 10**8)
    assert large.n_fits < small.n_fits


def test_the_bar_tells_of_the_whole_search(
    quick: Any, texts: list[str], labels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with fused_fits(verbose=1):
        cross_val_score(quick(), texts, labels, cv=3)
    shown = capsys.readouterr().err
    assert "running=3" in shown
    assert "done=3/3" in shown
    assert "12/12" in shown.split("\r")[-1]  # steps
    assert "<" in shown  # the time left
    with fused_fits():
        cross_val_score(quick(), texts, labels, cv=2)
    assert not capsys.readouterr().err
