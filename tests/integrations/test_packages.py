"""Other packages around a classifier, offline, each as the guide shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_predict

from sklearn_lntune import LNTunedTransformerClassifier

pytestmark = [
    pytest.mark.slow,
    # The packages warn of the deprecations of others.
    pytest.mark.filterwarnings("default"),
]
_WORDS = {"bad": "bad sad closed last".split(), "good": "good happy open first".split()}
_FILLERS = "sun rain fast slow new old red blue cat dog tree house water fire north south".split()


def made(n_rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of four words, the first of which tells the class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.array(list(_WORDS))[np.arange(n_rows) % 2]).tolist()
    texts = [
        " ".join([str(random.choice(_WORDS[label])), *random.choice(_FILLERS, 3).tolist()])
        for label in labels
    ]
    return texts, labels


@pytest.fixture(scope="module")
def unfitted(lively_backbone: Callable[..., Path]) -> LNTunedTransformerClassifier:
    clf = LNTunedTransformerClassifier(str(lively_backbone()), batch_size=8, device="cpu")
    return clf.set_params(lr=0.02, head_lr=0.02, max_epochs=6, min_steps=0, random_state=0)


@pytest.fixture(scope="module")
def clf(unfitted: LNTunedTransformerClassifier) -> LNTunedTransformerClassifier:
    fitted = LNTunedTransformerClassifier(**unfitted.get_params(deep=False)).fit(*made(120, 0))
    assert fitted.score(*made(60, 1)) > 0.7
    return fitted


def test_mlflow(clf: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    import mlflow.pyfunc
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        clf,
        tmp_path / "model",
        serialization_format="cloudpickle",
        pip_requirements=["sklearn-lntune[demo]"],
    )
    sizes = [file.stat().st_size for file in (tmp_path / "model").rglob("*") if file.is_file()]
    assert sum(sizes) < 100_000  # without the backbone
    texts, _ = made(20, 2)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict(texts).tolist() == clf.predict(texts).tolist()


def test_mlflow_logs_and_serves(
    clf: LNTunedTransformerClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    testclient = pytest.importorskip("fastapi.testclient")
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.pyfunc import scoring_server

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no other
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            clf,
            name="model",
            serialization_format="cloudpickle",
            pip_requirements=["sklearn-lntune[demo]"],
        )
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    texts, _ = made(20, 2)
    expected = clf.predict(texts).tolist()
    with testclient.TestClient(scoring_server.init(loaded)) as client:
        for body in (
            {"inputs": texts},
            {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}},
        ):
            response = client.post("/invocations", json=body)
            assert response.json()["predictions"] == expected


def test_optuna_prunes_by_our_validation_score(unfitted: LNTunedTransformerClassifier) -> None:
    optuna = pytest.importorskip("optuna")
    from skorch.callbacks import Callback

    class Pruning(Callback):
        def __init__(self, trial: Any) -> None:
            self.trial = trial

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.trial.report(net.history[-1, "valid_score"], step=len(net.history))
            if self.trial.should_prune():
                raise optuna.TrialPruned

    X, y = made(60, 0)

    def objective(trial: Any) -> float:
        fit = LNTunedTransformerClassifier(**unfitted.get_params(deep=False))
        fit.set_params(
            lr=trial.suggest_float("lr", 1e-6, 1e-1, log=True), callbacks=[Pruning(trial)]
        )
        fit.set_params(early_stopping=True, patience=9, max_epochs=3).fit(X, y)
        return float(fit.history_["valid_score"].max())

    pruner = optuna.pruners.PercentilePruner(25, n_startup_trials=1, n_warmup_steps=1)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=sampler)
    study.optimize(objective, n_trials=5)
    states = [trial.state.name for trial in study.trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    pruned = study.trials[states.index("PRUNED")]
    assert len(pruned.intermediate_values) < 3


def test_cleanlab_finds_labels_that_were_swapped(unfitted: LNTunedTransformerClassifier) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    X, y = made(120, 0)
    codes = np.array([label == "good" for label in y]).astype(int)
    swapped = np.arange(0, 120, 15)
    codes[swapped] = 1 - codes[swapped]
    probabilities = cross_val_predict(unfitted, X, codes, cv=3, method="predict_proba")
    found = filters.find_label_issues(
        codes, probabilities, return_indices_ranked_by="self_confidence"
    )
    assert 0 < len(found) < 60
    assert len(set(found) & set(swapped)) >= 6


def test_imbalanced_learn(unfitted: LNTunedTransformerClassifier) -> None:
    pytest.importorskip("imblearn")
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline

    X, y = made(120, 0)
    rows = [row for row, label in enumerate(y) if label == "good" or row < 24]
    frame = pd.DataFrame({"text": [X[row] for row in rows]})
    sampler = RandomOverSampler(random_state=0)
    pipeline = make_pipeline(sampler, unfitted).fit(frame, [y[row] for row in rows])
    more, labels = sampler.fit_resample(frame, [y[row] for row in rows])
    assert labels.count("good") == labels.count("bad")
    assert len(more) > len(frame)
    X_test, y_test = made(60, 1)
    assert pipeline.score(pd.DataFrame({"text": X_test}), y_test) > 0.6


def test_mapie_covers_what_it_states(clf: LNTunedTransformerClassifier) -> None:
    pytest.importorskip("mapie")
    from mapie.classification import SplitConformalClassifier

    X, y = np.array(made(400, 3), dtype=object)
    covered = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(X))
        calibration, test = order[:200], order[200:]
        mapie = SplitConformalClassifier(clf, confidence_level=0.9, prefit=True)
        mapie.conformalize(X[calibration], y[calibration])
        _, sets = mapie.predict_set(X[test])
        codes = np.searchsorted(clf.classes_, y[test].astype(str))
        covered.append(sets[np.arange(len(test)), codes, 0].mean())
    assert np.mean(covered) > 0.88


def test_lime(clf: LNTunedTransformerClassifier) -> None:
    pytest.importorskip("lime")
    from lime.lime_text import LimeTextExplainer

    explainer = LimeTextExplainer(class_names=clf.classes_.tolist(), random_state=0)
    text = made(1, 4)[0][0]
    found = explainer.explain_instance(text, clf.predict_proba, num_samples=100).as_list()
    assert {word for word, _ in found} == set(text.split())


def test_shap_adds_up_to_the_probability(clf: LNTunedTransformerClassifier) -> None:
    shap = pytest.importorskip("shap")
    texts, _ = made(1, 4)
    masker = shap.maskers.Text(r"\W")  # words, not tokens
    explainer = shap.Explainer(clf.predict_proba, masker, output_names=clf.classes_.tolist())
    [found] = explainer(texts, max_evals=20)
    total = found.values.sum(axis=0) + found.base_values  # noqa: PD011
    np.testing.assert_allclose(total, clf.predict_proba(texts)[0], atol=1e-6)


def test_skore(clf: LNTunedTransformerClassifier, unfitted: LNTunedTransformerClassifier) -> None:
    skore = pytest.importorskip("skore")
    X, y = made(60, 1)
    report = skore.EstimatorReport(clf, X_test=X, y_test=y, pos_label="good")
    assert report.metrics.accuracy() == clf.score(X, y)
    folds = skore.CrossValidationReport(unfitted, X, y, splitter=2, pos_label="good")
    assert len(folds.reports_) == 2


def test_dask_ml(clf: LNTunedTransformerClassifier, unfitted: LNTunedTransformerClassifier) -> None:
    pytest.importorskip("dask_ml")
    import dask.array as da
    from dask_ml.model_selection import GridSearchCV
    from dask_ml.wrappers import ParallelPostFit

    X, y = made(60, 1)
    column = da.from_array(np.array(X, dtype=object).reshape(-1, 1), chunks=(20, 1))
    wrapped = ParallelPostFit(clf, predict_meta=np.array(["a class"]))
    assert wrapped.predict(column).compute().tolist() == clf.predict(X).tolist()
    search = GridSearchCV(unfitted, {"max_epochs": [1, 2]}, cv=2, scheduler="sync")
    assert search.fit(np.array(X, dtype=object), y).best_params_["max_epochs"] in (1, 2)
