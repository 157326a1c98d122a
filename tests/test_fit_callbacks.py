"""scikit-learn's callbacks see the epochs of a fit: alone, in a search, and in fused fits."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from sklearn_lntune import fused_fits
from sklearn_lntune.estimators import fit_callbacks

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")


class Recorder:
    """Notes the names of tasks that end; handed on by a search to its fits."""

    max_propagation_depth = None

    def __init__(self, stop_after: str | None = None) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.torn_down = 0
        self.stop_after = stop_after

    def setup(self, estimator: Any, context: Any) -> None:
        pass

    def teardown(self, estimator: Any, context: Any) -> None:
        self.torn_down += 1

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        self.ended.append(context.task_name)
        return context.task_name == self.stop_after


def test_epochs_of_one_fit(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    recorder = Recorder()
    clf = tiny_clf(max_epochs=3).set_callbacks(recorder).fit(texts, labels)
    assert recorder.begun == ["fit", "epoch", "epoch", "epoch"]
    assert recorder.ended == ["epoch", "epoch", "epoch", "fit"]
    assert recorder.torn_down == 1
    plain = tiny_clf(max_epochs=3).fit(texts, labels)
    assert (plain.predict_proba(texts) == clf.predict_proba(texts)).all()


@pytest.mark.parametrize("fused", [False, True])
def test_epochs_within_a_search(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    fused: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sklearn_lntune.fusion")
    recorder = Recorder()
    search = GridSearchCV(tiny_clf(max_epochs=2), {"lr": [1e-3, 1e-2]}, cv=2)
    search.set_callbacks(recorder)
    if fused:
        with fused_fits():
            search.fit(texts, labels)
    else:
        search.fit(texts, labels)
    assert recorder.ended.count("epoch") == (2 * 2 + 1) * 2
    assert recorder.begun.count("epoch") == (2 * 2 + 1) * 2
    assert "alone" not in caplog.text
    plain = GridSearchCV(tiny_clf(max_epochs=2), {"lr": [1e-3, 1e-2]}, cv=2).fit(texts, labels)
    assert search.cv_results_["mean_test_score"] == pytest.approx(
        plain.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("fused", [False, True])
def test_a_callback_ends_a_fit(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str], fused: bool
) -> None:
    search = GridSearchCV(tiny_clf(max_epochs=4), {"lr": [1e-3]}, cv=2)
    search.set_callbacks(Recorder(stop_after="epoch"))
    if fused:
        with fused_fits():
            search.fit(texts, labels)
    else:
        search.fit(texts, labels)
    assert search.best_estimator_.n_epochs_ == 1


def test_scores_of_each_epoch(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    def scores(n_epochs: int) -> tuple[list[float], Any]:
        monitor = callback.ScoringMonitor(scoring="neg_log_loss")
        clf = tiny_clf(max_epochs=n_epochs, schedule="constant", warmup=0.0)
        clf.set_callbacks(monitor).fit(texts, labels)
        log = monitor.get_logs().data_as_pandas
        return log[log["task_name"] == "epoch"]["neg_log_loss"].tolist(), clf

    # At a constant rate, the first epochs do not depend on how many follow.
    for n_epochs in (1, 3):
        found, clf = scores(n_epochs)
        assert len(found) == n_epochs
        assert found[-1] == pytest.approx(-log_loss(labels, clf.predict_proba(texts)))
        assert found == pytest.approx(scores(3)[0][:n_epochs])


def test_what_looks_at_the_estimator_trains_alone(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sklearn_lntune.fusion")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = tiny_clf(max_epochs=1).set_callbacks(monitor)
    with fused_fits():
        GridSearchCV(clf, {"lr": [1e-3]}, cv=2, refit=False).fit(texts, labels)
    assert "looks at the estimator after each epoch" in caplog.text


def test_the_progress_bar_of_a_search_reaches_into_the_fits(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("rich")
    search = GridSearchCV(tiny_clf(max_epochs=1), {"lr": [1e-3]}, cv=2, refit=False)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(texts, labels)
    assert "LNTunedTransformer" in capsys.readouterr().out


def test_an_older_scikit_learn_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sklearn, "callback")
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    older = runpy.run_path(fit_callbacks.__file__)
    made = type("Made", (older["CallbackSupportMixin"], TransformerMixin, BaseEstimator), {})()
    assert not older["FitCallbacks"](made, [], [], None)
    assert older["with_callbacks"](repr) is repr
