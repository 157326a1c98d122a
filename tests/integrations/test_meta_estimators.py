"""Which of scikit-learn's meta-estimators take texts; the guide has the same lists."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import all_estimators

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "integrations.rst"
#: Parameters that hold an estimator, or named ones.
_ONE = ("estimator", "base_estimator", "regressor")
#: Other required parameters, small.
_OPTIONS: dict[str, dict[str, Any]] = {
    "GridSearchCV": {"param_grid": {"lr": [0.01]}},
    "HalvingGridSearchCV": {"param_grid": {"lr": [0.01, 0.02]}},
    "HalvingRandomSearchCV": {"param_distributions": {"lr": [0.01, 0.02]}, "n_candidates": 2},
    "RandomizedSearchCV": {"param_distributions": {"lr": [0.01]}, "n_iter": 1},
    "ClassifierChain": {"cv": 2},
}
#: Common parameters that keep the fits few.
_FEW = {"cv": 2, "n_estimators": 2, "max_iter": 1, "n_jobs": 1, "random_state": 0}
_SEVERAL_TARGETS = ("MultiOutputClassifier", "ClassifierChain")
_TWO_CLASSES = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
#: They are for estimators of numbers, or for what has no classes.
_OF_OTHERS = (
    *("MultiOutputRegressor", "RegressorChain", "TransformedTargetRegressor", "VotingRegressor"),
    *("StackingRegressor", "BaggingRegressor", "AdaBoostRegressor", "RANSACRegressor"),
)


def _meta_estimators() -> dict[str, type]:
    found = {}
    for name, kind in all_estimators():
        parameters = inspect.signature(kind.__init__).parameters
        if name not in _OF_OTHERS and {*_ONE, "estimators"} & set(parameters):
            found[name] = kind
    return found


META = _meta_estimators()


def _made(name: str, clf: Any) -> Any:
    parameters = inspect.signature(META[name].__init__).parameters
    options = {key: value for key, value in _FEW.items() if key in parameters}
    if "estimators" in parameters:
        options["estimators"] = [("a", clf), ("b", clf)]
    else:
        options[next(key for key in _ONE if key in parameters)] = clf
    return META[name](**options | _OPTIONS.get(name, {}))


def targets_for(name: str, labels: list[str]) -> Any:
    """Targets of the kind that the meta-estimator is for."""
    if name in _SEVERAL_TARGETS:
        return np.array([[label == "red", label == "blue"] for label in labels]).astype(int)
    if name in _TWO_CLASSES:
        return [label == "red" for label in labels]
    if name == "SelfTrainingClassifier":  # -1 is a row without a label
        return [int(label == "red") if i % 3 else -1 for i, label in enumerate(labels)]
    return labels


def _takes(name: str, clf: Any, X: Any, y: Any) -> bool:
    from sklearn.base import clone

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inner = clf.fit(X, y) if name == "FrozenEstimator" else clone(clf)
            fitted = _made(name, inner).fit(X, y)
            ask = getattr(fitted, "predict", None) or fitted.transform
            ask(X)
    except Exception:  # whichever way it fails
        return False
    return True


@pytest.fixture
def listed() -> dict[str, set[str]]:
    """The names in the lists of the guide."""
    section = GUIDE.read_text("utf-8").split("Meta-estimators\n")[1].split("\n.. end")[0]
    lists = {}
    for title in ("as they are", "one column", "Not at all"):
        line = next(part for part in re.split(r"\n\* ", section) if title in part.split(":")[0])
        lists[title] = set(re.findall(r"``(\w+)``", line.split(":", 1)[1]))
    return lists


@pytest.mark.slow
@pytest.mark.parametrize("name", META)
def test_the_guide_says_who_takes_texts(
    name: str,
    listed: dict[str, set[str]],
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
) -> None:
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401

    clf = tiny_clf(max_epochs=1, batch_size=40)
    y = targets_for(name, labels)
    if _takes(name, clf, texts, y):
        found = "as they are"
    elif _takes(name, clf, pd.DataFrame({"text": texts}), y):
        found = "one column"
    else:
        found = "Not at all"
    assert [title for title, names in listed.items() if name in names] == [found]


def test_the_guide_lists_no_others(listed: dict[str, set[str]]) -> None:
    if "HalvingGridSearchCV" in META:
        assert set().union(*listed.values()) == set(META)
