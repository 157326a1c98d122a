"""What every kind of target can do: several labels per row, one number and several numbers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import moved
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from skorch.callbacks import Callback

from sklearn_lntune import (
    DeltaBank,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    fused_fits,
    load,
)

N = 40


@dataclass(frozen=True)
class Target:
    """A kind of target, its estimator, and an answer for each text."""

    made: Any
    y: np.ndarray
    params: dict[str, Any] = field(default_factory=dict)
    scoring: str = "r2"
    #: Arguments of the first call of `partial_fit` besides X and y.
    first: dict[str, Any] = field(default_factory=dict)


def _marks(n_labels: int) -> np.ndarray:
    """An indicator: the third column has no positive row, and some rows have no label."""
    rows = np.arange(N)[:, None]
    marks = (rows * (2 + np.arange(n_labels)) // 3 % 3 == 0).astype(int)
    marks[:, 2:3] = 0
    marks[::5] = 0
    return marks


_LENGTHS = 1.0 + np.arange(N) % 7
KINDS = {
    "one label": Target(
        LNTunedTransformerClassifier,
        np.array(["blue", "green", "red"])[np.arange(N) % 3],
        scoring="f1_macro",
        first={"classes": ["blue", "green", "red"]},
    ),
    "labels": Target(
        LNTunedTransformerClassifier,
        _marks(4),
        {"label_smoothing": 0.1, "class_weight": "balanced"},
        scoring="f1_micro",
    ),
    "two labels": Target(LNTunedTransformerClassifier, _marks(2), scoring="f1_micro"),
    "number": Target(LNTunedTransformerRegressor, 100 + 10 * _LENGTHS),
    "numbers": Target(
        LNTunedTransformerRegressor,
        np.stack([_LENGTHS, -1e6 * _LENGTHS**2, np.full(N, 0.1)], axis=1),
        {"loss": "absolute_error"},
        scoring="neg_mean_absolute_error",
    ),
}
NEW = [name for name in KINDS if name != "one label"]
quick = pytest.mark.parametrize("kind", NEW)


@pytest.fixture
def make(lively_backbone: Callable[..., Path]) -> Callable[..., Any]:
    """``make(kind, **params)``: an unfitted estimator for this kind of target."""

    def made(kind: str, **params: Any) -> Any:
        fast = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
        exact = {"precision": "float64", "device": "cpu"}
        own = KINDS[kind]
        return own.made(lively_backbone(), **{**fast, **exact, **own.params, **params})

    return made


def y_of(kind: str) -> np.ndarray:
    return KINDS[kind].y


def same_delta(one: Any, two: Any, atol: float = 0.0) -> None:
    assert one.delta_.keys() == two.delta_.keys()
    for name, value in one.delta_.items():
        np.testing.assert_allclose(two.delta_[name], value, rtol=0, atol=atol, err_msg=name)


# -- what they predict -----------------------------------------------------------------


@quick
def test_shapes_types_and_scores(kind: str, make: Any, texts: list[str]) -> None:
    y = y_of(kind)
    fitted = make(kind).fit(texts, y)
    predicted = fitted.predict(texts)
    assert predicted.shape == y.shape
    assert predicted.dtype == y.dtype
    assert fitted.embed(texts).shape == fitted.transform(texts).shape == (N, 16)
    weights = np.linspace(0, 1, N)
    if is_regressor(fitted):
        assert not hasattr(fitted, "predict_proba")
        assert fitted.score(texts, y, weights) == r2_score(y, predicted, sample_weight=weights)
        return
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == list(range(y.shape[1]))
    logits, odds = fitted.decision_function(texts), fitted.predict_proba(texts)
    np.testing.assert_allclose(odds, expit(logits))
    np.testing.assert_allclose(fitted.predict_log_proba(texts), np.log(odds))
    assert (predicted == (odds > 0.5)).all()
    expected = accuracy_score(y, predicted, sample_weight=weights)
    assert fitted.score(texts, y, weights) == expected
    assert fitted.score(texts, sparse.csr_array(y), weights) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_they_learn(kind: str, make: Any, texts: list[str]) -> None:
    few, y = texts[:8], y_of(kind)[:8]
    params: dict[str, Any] = {"max_epochs": 40, "lr": 3e-2, "head_lr": 3e-2, "dropout": 0.0}
    if kind == "labels":
        params["label_smoothing"] = 0.0
    fitted = make(kind, **params).fit(few, y)
    assert fitted.log_[-1]["train_loss"] < 0.4 * fitted.log_[0]["train_loss"]
    if kind != "numbers":  # one of whose columns is constant
        assert fitted.score(few, y) > 0.8


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.tolist(),
        lambda y: y.astype(bool),
        lambda y: y.astype(float),
        lambda y: y.astype(object),
        lambda y: pd.DataFrame(y, columns=list("abcd"), index=range(50, 90)),
        sparse.csr_matrix,
        sparse.coo_array,
        lambda y: pd.DataFrame(y).astype("Int64"),
    ],
    ids=["list", "bool", "float", "object", "frame", "csr", "coo", "Int64"],
)
def test_indicators_of_every_form(form: Any, make: Any, texts: list[str]) -> None:
    y = y_of("labels")
    expected = make("labels", max_epochs=1).fit(texts, y)
    same_delta(make("labels", max_epochs=1).fit(texts, form(y)), expected)


@pytest.mark.parametrize(
    "form",
    [list, lambda y: y.astype(np.float32), pd.Series, lambda y: y.astype(int).astype(object)],
    ids=["list", "float32", "Series", "object"],
)
def test_numbers_of_every_form(form: Any, make: Any, texts: list[str]) -> None:
    expected = make("number", max_epochs=1).fit(texts, y_of("number"))
    same_delta(make("number", max_epochs=1).fit(texts, form(y_of("number"))), expected)


def test_a_column_of_numbers_is_one_number_per_row(make: Any, texts: list[str]) -> None:
    expected = make("number", max_epochs=1).fit(texts, y_of("number"))
    with pytest.warns(DataConversionWarning, match="column-vector"):
        found = make("number", max_epochs=1).fit(texts, y_of("number")[:, None])
    assert (found.predict(texts) == expected.predict(texts)).all()
    assert found.score(texts, y_of("number")[:, None]) == expected.score(texts, y_of("number"))


@pytest.mark.parametrize("kind", ["number", "numbers"])
def test_units_make_no_difference(kind: str, make: Any, texts: list[str]) -> None:
    y = y_of(kind)
    one, two = make(kind).fit(texts, y), make(kind).fit(texts, 1e-9 * y - 5)
    same_delta(one, two, atol=1e-6)
    found, expected = two.predict(texts), 1e-9 * one.predict(texts) - 5
    if kind == "numbers":  # the last column is constant, so has no scale
        assert one.target_scale_[2] == two.target_scale_[2] == 1
        found, expected = found[:, :2], expected[:, :2]
    np.testing.assert_allclose(found, expected, atol=1e-6)


# -- training ---------------------------------------------------------------------------


@quick
def test_weights_count_as_repetitions(kind: str, make: Any, texts: list[str]) -> None:
    y, weights = y_of(kind), np.arange(N) % 3
    params = {"batch_size": 1000, "dropout": 0.0}
    weighted = make(kind, **params).fit(texts, y, sample_weight=weights)
    rows = np.repeat(np.arange(N), weights)
    repeated = make(kind, **params).fit([texts[row] for row in rows], y[rows])
    same_delta(weighted, repeated, atol=1e-9)


@quick
@pytest.mark.parametrize("own_rows", [False, True])
def test_early_stopping(kind: str, own_rows: bool, make: Any, texts: list[str]) -> None:
    y, scoring = y_of(kind), KINDS[kind].scoring
    fitted = make(kind, early_stopping=True, scoring=scoring, max_epochs=3)
    val = {"X_val": texts[30:], "y_val": y[30:]} if own_rows else {}
    fitted.fit(texts, y, **val)
    assert len(fitted.history_["valid_score"]) <= 3
    if own_rows:
        found = fitted.history_["valid_score"].max()
        from sklearn.metrics import get_scorer

        best = get_scorer(scoring)(fitted, texts[30:], y[30:])
        np.testing.assert_allclose(found, best, atol=1e-9)
    # The loss that early stopping watches by default is that of the log.
    fitted = make(kind, early_stopping=True, max_epochs=2).fit(texts, y)
    np.testing.assert_allclose(-fitted.history_["valid_score"], fitted.history_["valid_loss"])


@quick
def test_partial_fit_goes_on(kind: str, make: Any, texts: list[str]) -> None:
    y = y_of(kind)
    one = make(kind, schedule="constant", warmup=0.0, max_epochs=1).fit(texts, y)
    parts = make(kind).partial_fit(texts, y, **KINDS[kind].first)
    same_delta(parts, one)
    # Another part of the rows, with other means: what the outputs mean stays.
    again = parts.partial_fit(texts[:9], y[:9])
    assert again.n_epochs_ == 2
    assert all((again.delta_[name] != one.delta_[name]).any() for name in one.delta_)


@quick
def test_a_warm_start_goes_on(kind: str, make: Any, texts: list[str]) -> None:
    fitted = make(kind, warm_start=True, lr=1e-9, head_lr=1e-9).fit(texts, y_of(kind))
    before = fitted.predict(texts)
    fitted.fit(texts[:20], y_of(kind)[:20])
    np.testing.assert_allclose(fitted.predict(texts), before, rtol=1e-5, atol=1e-5)


class _PowerCutError(Exception):
    pass


class _Cut(Callback):
    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        if net.progress_.step == 7:
            raise _PowerCutError


@quick
def test_an_interrupted_fit_goes_on(kind: str, make: Any, texts: list[str], tmp_path: Path) -> None:
    y, params = y_of(kind), {"checkpoint": tmp_path, "checkpoint_every": 3}
    with pytest.raises(_PowerCutError):
        make(kind, callbacks=[_Cut()], **params).fit(texts, y)
    same_delta(make(kind, **params).fit(texts, y), make(kind).fit(texts, y))
    with pytest.raises(ValueError, match="checkpoint"):
        make(kind, **params).fit(texts, 1 - y if is_classifier(make(kind)) else -y)


@quick
def test_fused_fits_equal_separate_ones(kind: str, make: Any, texts: list[str]) -> None:
    grid = {"lr": [1e-3, 1e-2]}
    search = GridSearchCV(make(kind), grid, cv=2, scoring=KINDS[kind].scoring, error_score="raise")
    expected = clone(search).fit(texts, y_of(kind))
    with fused_fits():
        found = search.fit(texts, y_of(kind))
    for key in ("mean_test_score", "split0_test_score"):
        np.testing.assert_allclose(found.cv_results_[key], expected.cv_results_[key], rtol=1e-7)
    np.testing.assert_allclose(found.predict(texts), expected.predict(texts), rtol=1e-7)


def test_kinds_of_one_size_train_in_one_context(make: Any, texts: list[str]) -> None:
    """Fits with as many outputs whose targets and losses differ."""
    kinds = ["one label", "numbers", "number", "two labels", "labels"]
    losses = ["squared_error", "huber"]
    wanted = [(kind, make(kind)) for kind in kinds]
    wanted += [("numbers", make("numbers", loss=loss)) for loss in losses]
    wanted += [("labels", make("labels", class_weight=None))]
    expected = [clone(made).fit(texts, y_of(kind)) for kind, made in wanted]
    from joblib import Parallel, delayed

    with fused_fits():
        found = Parallel(n_jobs=-1)(delayed(made.fit)(texts, y_of(kind)) for kind, made in wanted)
    for one, two in zip(found, expected, strict=True):
        same_delta(one, two, atol=1e-9)


# -- scikit-learn ------------------------------------------------------------------------


@quick
def test_in_a_pipeline_and_a_search(kind: str, make: Any, texts: list[str]) -> None:
    pipe = Pipeline([("clean", FunctionTransformer(_lower)), ("last", make(kind, max_epochs=1))])
    grid = {"last__tuning__layernorm__terms": ["both", "bias"]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(texts, y_of(kind))
    assert search.predict(texts).shape == y_of(kind).shape
    found = cross_val_predict(make(kind, max_epochs=1), texts, y_of(kind), cv=2)
    assert found.shape == y_of(kind).shape


def _lower(X: list[str]) -> list[str]:
    return [text.lower() for text in X]


def test_scorers_of_one_label_or_several(make: Any, texts: list[str]) -> None:
    """Those that read scores work with two labels, whose classes look like those of one."""
    from sklearn.metrics import get_scorer, roc_auc_score

    y = y_of("two labels")
    fitted = make("two labels").fit(texts, y)
    expected = roc_auc_score(y, fitted.decision_function(texts))
    assert get_scorer("roc_auc")(fitted, texts, y) == expected
    stopped = make("two labels", early_stopping=True, scoring="roc_auc", validation_fraction=0.5)
    assert 0 <= stopped.fit(texts, y).history_["valid_score"].max() <= 1


def test_transformed_targets(make: Any, texts: list[str]) -> None:
    y = y_of("numbers")[:, :2]
    outer = TransformedTargetRegressor(make("numbers"), transformer=StandardScaler())
    found = outer.fit(texts, y).predict(texts)
    np.testing.assert_allclose(found, make("numbers").fit(texts, y).predict(texts), rtol=1e-6)


def test_tags() -> None:
    assert get_tags(LNTunedTransformerClassifier()).classifier_tags.multi_label
    tags = get_tags(LNTunedTransformerRegressor())
    assert tags.target_tags.multi_output
    assert tags.classifier_tags is None


@quick
def test_pandas_out_and_the_net(kind: str, make: Any, texts: list[str]) -> None:
    fitted = make(kind, max_epochs=1).fit(texts, y_of(kind))
    assert fitted.set_output(transform="pandas").transform(texts).shape == (N, 16)
    net = fitted.net()
    assert (net.predict(texts) == fitted.predict(texts)).all()
    np.testing.assert_allclose(net.score(texts, y_of(kind)), fitted.score(texts, y_of(kind)))
    odds = net.predict_proba(texts)
    answers = fitted.predict(texts) if is_regressor(fitted) else fitted.predict_proba(texts)
    assert (odds == answers).all()


# -- files -------------------------------------------------------------------------------


@quick
def test_pickles_are_small_and_exact(kind: str, make: Any, texts: list[str]) -> None:
    fitted = make(kind, max_epochs=1).fit(texts, y_of(kind))
    pickled = pickle.dumps(fitted)
    assert len(pickled) < 50_000
    assert (pickle.loads(pickled).predict(texts) == fitted.predict(texts)).all()


@quick
@pytest.mark.parametrize("name", ["saved", "saved.zip"])
def test_saved_and_loaded(
    kind: str, name: str, make: Any, texts: list[str], tmp_path: Path
) -> None:
    fitted = make(kind, max_epochs=1).fit(texts, y_of(kind))
    fitted.save(tmp_path / name)
    back = load(tmp_path / name)
    assert type(back) is type(fitted)
    assert back.get_params() == fitted.get_params()
    assert (back.predict(texts) == fitted.predict(texts)).all()
    for attribute in ("classes_", "target_mean_", "target_scale_"):
        assert hasattr(back, attribute) == hasattr(fitted, attribute)
        if hasattr(back, attribute):
            assert (getattr(back, attribute) == getattr(fitted, attribute)).all()
    back.partial_fit(texts, y_of(kind))
    if name == "saved":
        card = (tmp_path / name / "README.md").read_text("utf-8")
        what = {"number": "regressor that predicts a number per", "numbers": "predicts 3 numbers"}
        assert what.get(kind, f"any of {y_of(kind).shape[-1]} labels") in card


def test_a_new_kind_of_target_is_a_new_format(make: Any, texts: list[str], tmp_path: Path) -> None:
    """Older versions say that they do not read it; they read what they knew as before."""
    import json

    for kind, version in (("one label", 1), ("labels", 2), ("number", 2)):
        make(kind, max_epochs=1).fit(texts, y_of(kind)).save(tmp_path / kind)
        config = json.loads((tmp_path / kind / "config.json").read_text("utf-8"))
        assert config["format_version"] == version
        assert ("task" in config) == (version == 2)


def test_a_bank_of_every_kind(make: Any, texts: list[str], tmp_path: Path) -> None:
    members = {}
    for kind in KINDS:
        members[kind] = moved(make(kind, max_epochs=1).fit(texts, y_of(kind)))
        members[kind].save(tmp_path / f"{kind}.zip")
    for bank in (DeltaBank(members), DeltaBank.from_folder(tmp_path)):
        frame = bank.predict(texts)
        odds = bank.predict_proba(texts)
        assert set(odds) == {kind for kind in KINDS if is_classifier(members[kind])}
        names = [[*KINDS][row % len(KINDS)] for row in range(N)]
        mixed = bank.predict(texts, tasks=names)
        for kind, member in members.items():
            expected = member.predict(texts)
            rows = [row for row in range(N) if names[row] == kind]
            found = _stacked([mixed[row] for row in rows])
            if expected.dtype.kind != "f":
                assert (_stacked(frame[kind]) == expected).all()
                assert (found == expected[rows]).all()
                continue
            np.testing.assert_allclose(_stacked(frame[kind]), expected, rtol=1e-9)
            np.testing.assert_allclose(found, expected[rows], rtol=1e-9)
        np.testing.assert_allclose(
            bank.predict_proba(texts, tasks=["labels"] * N), members["labels"].predict_proba(texts)
        )
        assert bank.classes("labels").tolist() == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="'number' has no classes"):
            bank.classes("number")
        with pytest.raises(ValueError, match="no probabilities"):
            bank.predict_proba(texts[:2], tasks=["labels", "number"])


def _stacked(cells: Any) -> np.ndarray:
    return np.stack([np.asarray(cell) for cell in cells])


# -- tables ------------------------------------------------------------------------------


@quick
@pytest.mark.parametrize("form", ["dataset", "streaming", "parquet"])
def test_label_columns_of_tables(
    kind: str, form: str, make: Any, texts: list[str], tmp_path: Path
) -> None:
    y = y_of(kind)
    names = "label" if y.ndim == 1 else [f"y{i}" for i in range(y.shape[1])]
    columns = {"label": y} if y.ndim == 1 else dict(zip(names, y.T, strict=True))
    dataset = datasets.Dataset.from_dict({"text": texts, **columns})
    table: Any = dataset
    if form == "streaming":
        table = dataset.to_iterable_dataset()
    elif form == "parquet":
        table = tmp_path / "rows.parquet"
        dataset.to_parquet(table)
    expected = make(kind, max_epochs=1).fit(texts, y)
    found = make(kind, max_epochs=1, label_column=names).fit(table)
    same_delta(found, expected, atol=1e-12)
    assert found.predict(table).shape == y.shape


# -- errors ------------------------------------------------------------------------------

HOLED = y_of("numbers").copy()
HOLED[3, 1] = np.nan
MARKS = y_of("labels")


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("number", ["good", "bad"] * 20, "row 0 is 'good'. Labels are for LNTunedTransformerClass"),
        ("number", np.array(["1.5"] * N), "for LNTunedTransformerClassifier"),
        ("number", [None] + [1.0] * 39, "another missing number: row 0 is None"),
        ("number", [1.0] * 39 + [np.nan], "missing number: row 39 is nan"),
        ("number", [1.0] * 39 + [np.inf], "contains infinity: row 39"),
        ("number", pd.Series([1.0] * 39 + [None], dtype="Float64"), "missing number: row 39"),
        ("numbers", HOLED, "row 3, column 1 is nan"),
        ("number", [["a"], ["b", "c"]] * 20, "LNTunedTransformerTagger"),
        ("number", pd.Series([["a"], ["b", "c"]] * 20), "LNTunedTransformerTagger"),
        ("number", [1.5e308] * N, "so large that their sum overflows"),
        ("number", np.ones((N, 2, 2)), "3 dimensions"),
        ("number", np.ones((N, 0)), "no column"),
        ("number", np.ones(N - 1), "inconsistent numbers of samples"),
        ("number", [1j] * N, "row 0 is 1j"),
        ("number", [10**400] * N, "a cell is not"),
        ("number", None, "requires y to be passed"),
        ("one label", 0.5 + np.arange(N), "Unknown label type: continuous.*TransformerRegressor"),
        ("one label", np.full((N, 2), 0.5), "LNTunedTransformerRegressor"),
        ("one label", [["a"], ["b", "c"]] * 20, "MultiLabelBinarizer.*LNTunedTransformerTagger"),
        ("one label", pd.Series([["a"], ["b", "c"]] * 20), "MultiLabelBinarizer"),
        ("one label", np.arange(2 * N).reshape(N, 2), "MultiOutputClassifier"),
        ("labels", np.where(MARKS, np.nan, 0.0), "missing value: row .*column"),
        ("labels", MARKS[:-1], "inconsistent numbers of samples"),
        ("labels", sparse.csr_array(MARKS * 2), "with 1 for each label"),
    ],
)
def test_targets_that_do_not_fit(
    kind: str, y: Any, message: str, make: Any, texts: list[str]
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(kind).fit(texts, y)


@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_other_columns_than_those_of_the_fit(kind: str, make: Any, texts: list[str]) -> None:
    y = y_of(kind)
    fitted = make(kind, max_epochs=1).fit(texts, y)
    with pytest.raises(ValueError, match="2 columns"):
        fitted.fit(texts, y, X_val=texts, y_val=y[:, :2])
    with pytest.raises(ValueError, match="columns|classes"):
        fitted.partial_fit(texts, y[:, :2])
    with pytest.raises(ValueError, match="2 columns|different number of output"):
        fitted.score(texts, y[:, :2])
    with pytest.raises(ValueError, match="columns|classes"):
        fitted.set_params(warm_start=True).fit(texts, y[:, :2])


def test_one_label_and_several_do_not_mix(make: Any, texts: list[str]) -> None:
    one, several = (make(kind, max_epochs=1, warm_start=True) for kind in ("one label", "labels"))
    one.fit(texts, y_of("one label"))
    several.fit(texts, y_of("labels"))
    with pytest.raises(ValueError, match="one label per row, and y has several"):
        one.fit(texts, y_of("labels"))
    with pytest.raises(ValueError, match="several labels per row, and y has one"):
        several.fit(texts, y_of("one label"))
    with pytest.raises(ValueError, match="indicator of labels"):
        several.partial_fit(texts, y_of("one label"))
    assert one.set_params(warm_start=False).fit(texts, y_of("labels")).classes_.tolist() == [
        *range(4)
    ]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("other", "class_weight must be None, 'balanced'"),
        ({7: 1.0}, "not among the classes"),
        ([{0: 1.0}] * 3, "3 entries, and y has 4 labels"),
        ([{2: 1.0}] * 4, "not among the classes"),
        ({0: -1.0}, "finite numbers of 0 or more"),
    ],
)
def test_weights_of_labels_that_cannot_be(
    weight: Any, message: str, make: Any, texts: list[str]
) -> None:
    with pytest.raises(ValueError, match=message):
        make("labels", class_weight=weight).fit(texts, y_of("labels"))


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [("labels", "roc_auc"), ("number", "accuracy"), ("number", "f1")],
)
def test_scorers_that_cannot_score(kind: str, scoring: str, make: Any, texts: list[str]) -> None:
    with pytest.raises(ValueError, match=f"scoring='{scoring}' cannot score"):
        make(kind, early_stopping=True, scoring=scoring).fit(texts, y_of(kind))


def test_not_fitted(make: Any, texts: list[str]) -> None:
    for method in ("predict", "embed", "transform", "net"):
        with pytest.raises(NotFittedError):
            getattr(make("number"), method)(*([texts] if method != "net" else []))
    with pytest.raises(NotFittedError):
        make("number").score(texts, y_of("number"))
    with pytest.raises(ValueError, match="loss must be one of"):
        make("number", loss="other").fit(texts, y_of("number"))


def test_names_of_labels_stay(make: Any, texts: list[str], tmp_path: Path) -> None:
    names = ["anger", "fear", "joy", "shame"]
    named = pd.DataFrame(_marks(4), columns=names)
    clf = make("labels", max_epochs=1).fit(texts, named)
    assert clf.label_names_.tolist() == names
    clf.save(tmp_path / "a.zip")
    for other in (load(tmp_path / "a.zip"), pickle.loads(pickle.dumps(clf))):
        assert other.label_names_.tolist() == names
    assert clf.classes_.tolist() == [0, 1, 2, 3]
    clf.partial_fit(texts, named.to_numpy())
    assert clf.label_names_.tolist() == names
    with pytest.raises(ValueError, match=r"columns of y are \['shame', .* so far are \['anger'"):
        clf.partial_fit(texts, named[names[::-1]])
    # Those of the previous fit are not those of this one.
    assert not hasattr(clf.fit(texts, named.to_numpy()), "label_names_")
    clf.fit(texts, named)
    assert not hasattr(clf.fit(texts, ["a", "b"] * (N // 2)), "label_names_")
