"""scikit-learn's own checks, and text versions beside those that never send text."""

from __future__ import annotations

import atexit
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import save_backbone
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor

Clf = Callable[..., LNTunedTransformerClassifier]


def _exact(precision: str, made: Any = LNTunedTransformerClassifier) -> Any:
    # Full batches, so that integer weights equal repetitions.
    return made(
        _FOLDER,
        precision=precision,
        batch_size=1000,
        dropout=0.0,
        max_epochs=3,
        min_steps=0,
        random_state=0,
        device="cpu",
    )


def _expected_failures(estimator: Any) -> dict[str, str]:
    if estimator.precision == "float64":
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": "compares to 1e-9, tighter than float32"
    }


class _Folder(type(Path())):  # type: ignore[misc]
    """A path whose repr, and so the names of the tests, is the same in every process."""

    def __repr__(self) -> str:
        return "tiny-bert"


# The checks are collected before any fixture runs.
_FOLDER = _Folder(save_backbone(Path(tempfile.mkdtemp(prefix="tiny-bert-"))))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


@pytest.mark.filterwarnings("ignore:X holds numbers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")
@parametrize_with_checks(
    [
        _exact("float64"),
        _exact("float64", LNTunedTransformerRegressor),
        _exact("float32"),
    ],
    expected_failed_checks=_expected_failures,
)
def test_sklearn(estimator: Any, check: Any) -> None:
    check(estimator)


# -- the same with text --------------------------------------------------------------


def test_clone_of_a_fitted_one_is_unfitted_and_equal(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(lr=3e-3).fit(texts, labels)
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(texts)


def test_two_fits_of_one_seed_are_bit_identical(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    one, two = (tiny_clf(precision="auto").fit(texts, labels) for _ in range(2))
    assert all((one.delta_[name] == two.delta_[name]).all() for name in one.delta_)
    again = one.fit(texts, labels)
    assert all((again.delta_[name] == two.delta_[name]).all() for name in two.delta_)


def test_predictions_of_a_subset_and_of_another_order(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    whole = clf.predict_proba(texts)
    rows = np.random.default_rng(0).permutation(len(texts))[:17]
    part = clf.predict_proba([texts[i] for i in rows])
    np.testing.assert_allclose(part, whole[rows], rtol=0, atol=1e-12)


def test_fitted_attributes_survive_a_pickle(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    back = pickle.loads(pickle.dumps(clf))
    assert back.__dict__.keys() == clf.__dict__.keys()
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert back.history_.equals(clf.history_)


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "predict_log_proba", "decision_function", "embed", "transform"],
)
def test_not_fitted(method: str, tiny_clf: Clf, texts: list[str]) -> None:
    with pytest.raises(NotFittedError):
        getattr(tiny_clf(), method)(texts)


def test_one_class_is_an_error(tiny_clf: Clf, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="1 class only"):
        tiny_clf().fit(texts, ["same"] * len(texts))


@pytest.mark.parametrize(
    "y",
    [
        np.array([["a", "b", "c"][i % 3] for i in range(40)]),
        np.array([["a", "b", "c"][i % 3] for i in range(40)], dtype=object),
        [[-3, 7, 100][i % 3] for i in range(40)],
        np.array([bool(i % 2) for i in range(40)]),
        pd.Series([["x", "y"][i % 2] for i in range(40)], dtype="category"),
        pd.Series([["x", "y"][i % 2] for i in range(40)]),
    ],
    ids=["str", "object", "non-contiguous", "bool", "category", "pandas"],
)
def test_labels_of_every_kind(y: Any, tiny_clf: Clf, texts: list[str]) -> None:
    clf = tiny_clf().fit(texts, y)
    assert clf.classes_.tolist() == sorted(set(y))
    predicted = clf.predict(texts)
    assert predicted.dtype == clf.classes_.dtype
    assert set(predicted) <= set(y)
    assert 0 <= clf.score(texts, y) <= 1


def test_inputs_are_left_unchanged(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    frame = pd.DataFrame({"text": texts}, index=range(100, 140))
    before, y = frame.copy(), list(labels)
    weights = np.linspace(0, 1, 40)
    kept = weights.copy()
    tiny_clf(class_weight="balanced").fit(frame, y, sample_weight=weights).predict(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert y == labels
    assert (weights == kept).all()


def test_pandas_in_and_out(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    frame = pd.DataFrame({"text": texts}, index=range(100, 140))
    clf = tiny_clf().fit(frame, pd.Series(labels, index=frame.index))
    assert clf.feature_names_in_.tolist() == ["text"]
    assert clf.n_features_in_ == 1
    out = clf.set_output(transform="pandas").transform(frame)
    assert out.shape == (40, 16)
    assert out.index.equals(frame.index)
    assert out.columns.tolist() == clf.get_feature_names_out().tolist()
    assert out.columns[0] == "lntunedtransformerclassifier0"
    # the same rows in other forms give the same answers
    assert (clf.predict(frame["text"]) == clf.predict(frame)).all()
    assert (clf.predict(texts) == clf.predict(frame)).all()
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"text": "other"}))


def test_pairs_stay_pairs(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    pairs = list(zip(texts, texts[::-1], strict=True))
    clf = tiny_clf().fit(pairs, labels)
    assert clf.n_features_in_ == 2
    frame = pd.DataFrame(pairs, columns=["a", "b"])
    assert (clf.predict_proba(frame.to_numpy()) == clf.predict_proba(pairs)).all()
    swapped = clf.predict_proba([(b, a) for a, b in pairs])
    assert (swapped != clf.predict_proba(pairs)).any()
    with pytest.raises(ValueError, match="1 features, but .* is expecting 2 features"):
        clf.predict(texts)
    with pytest.raises(ValueError, match="2 features, but .* is expecting 1 features"):
        tiny_clf().fit(texts, labels).predict(pairs)


def test_polars_and_datasets_in(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    import datasets
    import polars as pl

    expected = tiny_clf().fit(texts, labels).predict_proba(texts)
    column = datasets.Dataset.from_dict({"text": texts})["text"]
    for X in (pl.Series(texts), pl.DataFrame({"text": texts}), column):
        clf = tiny_clf().fit(X, pl.Series(labels))
        assert clf.n_features_in_ == 1
        assert (clf.predict_proba(X) == expected).all()
    frame = pl.DataFrame({"text": texts})
    out = tiny_clf().fit(frame, labels).set_output(transform="polars").transform(frame)
    assert isinstance(out, pl.DataFrame)
    assert out.shape == (40, 16)
    pairs = pl.DataFrame({"a": texts, "b": texts[::-1]})
    clf = tiny_clf().fit(pairs, labels)
    assert clf.feature_names_in_.tolist() == ["a", "b"]
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        unnamed = clf.predict(list(zip(texts, texts[::-1], strict=True)))
    assert (clf.predict(pairs) == unnamed).all()
