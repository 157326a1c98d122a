"""Numbers, indicators and tags of every form, good and bad."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from conftest import WORDS
from fuzz.harness import Example, check, describe
from fuzz.inputs import COLUMNS, Form, Odd, check_learnt, kept_whole, made
from fuzz.subject import TEXTS, Subject
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from sklearn_lntune import (
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
)

_FORMS = [form for form in COLUMNS if form.name not in ("set", "generator", "iterator")]
_NUMBER = st.one_of(
    st.floats(-100, 100),
    st.integers(-9, 9),
    st.sampled_from([0.0, 1e30, -1e-30, 5e-324, True, np.float32(1.5), np.int8(3)]),
)
_NO_NUMBER = st.sampled_from(
    [None, math.nan, math.inf, -math.inf, pd.NA, "3", "high", "", 1j, [1.0], 10**400, Odd(), b"1"]
)
#: Containers of rows of cells.
_GRIDS = [
    Form("lists", list),
    Form("array", np.array),
    Form("object array", lambda rows: np.array(rows, object)),
    Form("frame", pd.DataFrame),
    Form("sparse", lambda rows: scipy.sparse.csr_matrix(np.array(rows, float))),
    Form("sparse array", lambda rows: scipy.sparse.coo_array(np.array(rows, float))),
    Form("booleans", lambda rows: np.array(rows, bool)),
    Form("3-D array", lambda rows: np.array(rows)[:, :, None]),
    Form("transposed", lambda rows: np.array(rows).T),
    Form("ragged", lambda rows: [row[: 1 + i % 2] for i, row in enumerate(rows)]),
    Form("named tuples", lambda rows: list(pd.DataFrame(rows).itertuples(index=False))),
]
_QUICK = {"max_epochs": 1, "min_steps": 0, "batch_size": 8, "random_state": 0}
_QUICK |= {"device": "cpu", "precision": "float32", "max_length": 16}


def _estimator(made_by: type[Any], subject: Subject, **params: Any) -> Any:
    return made_by(**{"backbone": subject.backbone, **_QUICK, **params})


@st.composite
def numbers(draw: st.DrawFn) -> Example:
    """Forms of ``y`` of a regressor, judged by linear regression."""
    n = draw(st.sampled_from([8, 8, 8, 8, 2, 1, 0]))
    width = draw(st.sampled_from([0, 0, 1, 2, 3]))
    cell = draw(st.sampled_from([_NUMBER, _NUMBER, st.floats(allow_nan=False), st.just(4.0)]))
    cells: list[Any] = draw(st.lists(cell, min_size=n * max(width, 1), max_size=n * max(width, 1)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        if cells:
            cells[draw(st.integers(0, len(cells) - 1))] = draw(_NO_NUMBER)
    form = draw(st.sampled_from(_GRIDS if width else _FORMS))
    rows = [cells[width * i : width * (i + 1)] for i in range(n)] if width else cells
    missing = draw(st.sampled_from([0] * 8 + [1]))
    loss = draw(st.sampled_from(["squared_error", "absolute_error", "huber", "hubert", None]))
    method = draw(st.sampled_from(["fit", "fit", "partial_fit"]))
    label = f"numbers: {method}({form.name} of {describe(rows)}), loss={loss!r}, {missing} missing"
    return Example(label, lambda subject: _of_numbers(subject, method, form, rows, loss, missing))


def _of_numbers(
    subject: Subject, method: str, form: Form, rows: list[Any], loss: Any, missing: int
) -> None:
    X, y = TEXTS[: len(rows) - missing if rows else 0], made(form, rows)
    model = _estimator(LNTunedTransformerRegressor, subject, loss=loss)
    with kept_whole(model):
        getattr(model, method)(X, y)
    check_learnt(model)
    found = model.predict(X)
    check(bool(np.isfinite(found).all()), "predictions are not finite")
    try:
        shape = LinearRegression().fit(np.ones((len(X), 1)), y).predict(np.ones((len(X), 1))).shape
    except Exception:  # it does not read this form
        return
    shape = shape[:1] if shape[1:] == (1,) else shape  # one number is one number, as for forests
    check(found.shape == shape, f"predictions have the shape {found.shape}, not {shape}")


@st.composite
def indicators(draw: st.DrawFn) -> Example:
    """Forms of an indicator of several labels."""
    n, width = draw(st.sampled_from([8, 8, 8, 2, 0])), draw(st.sampled_from([2, 2, 3, 1]))
    cell = draw(st.sampled_from([st.integers(0, 1), st.integers(0, 1), st.just(0), st.booleans()]))
    rows = [draw(st.lists(cell, min_size=width, max_size=width)) for _ in range(n)]
    if rows and draw(st.sampled_from([False, False, False, True])):
        rows[0][0] = draw(st.sampled_from([2, -1, 0.5, math.nan, None, "1", Odd()]))
    form = draw(st.sampled_from(_GRIDS))
    weight = draw(
        st.sampled_from(
            [None, None, "balanced", {0: 2.0}, {7: 1.0}, [{0: 1, 1: 2}] * width, [{}], "other", 1]
        )
    )
    label = f"indicator: {form.name} of {describe(rows)}, class_weight={describe(weight)}"

    def act(subject: Subject) -> None:
        X, y = TEXTS[:n], made(form, rows)
        clf = _estimator(LNTunedTransformerClassifier, subject, class_weight=weight)
        with kept_whole(clf):
            clf.fit(X, y)
        check_learnt(clf)
        found = clf.predict_proba(X)
        check(bool(((found >= 0) & (found <= 1)).all()), "probabilities are outside of [0, 1]")
        if clf.target_kind_ == "many_labels":
            predicted = clf.predict(X)
            check(found.shape == predicted.shape, "predict and predict_proba differ in shape")
            check(set(np.unique(predicted)) <= {0, 1}, "predict gives something but 0 and 1")

    return Example(label, act)


_WORD = st.one_of(st.sampled_from(WORDS), st.sampled_from(["", " ", "a b", "\ud800", "x" * 99]))
_SENTENCE = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5)
_TAG = st.sampled_from(["O", "O", "B-PER", "I-PER", "B-LOC"])
_NO_WORDS = st.sampled_from(
    [None, [], [None], [3], "good bad", "", 3, [["good"]], ("good", "bad"), Odd(), math.nan]
)
_NO_TAGS = st.sampled_from(
    [None, [], ["O"], "O", [None], [1], [math.nan], ["B-"], ["-PER"], ["O"] * 9, 3, Odd()]
)
_LISTS: list[Callable[[list[Any]], Any]] = [
    list,
    tuple,
    pd.Series,
    lambda rows: [tuple(row) for row in rows],
    lambda rows: [np.array(row) for row in rows],
    lambda rows: np.array(rows, object),
    lambda rows: dict(enumerate(rows)),
    iter,
]


@st.composite
def tags(draw: st.DrawFn) -> Example:
    """Forms of sentences and their tags."""
    X: list[Any] = draw(st.lists(_SENTENCE, max_size=6))
    y: list[Any] = [draw(st.lists(_TAG, min_size=len(row), max_size=len(row))) for row in X]
    for rows, odd in ((X, _NO_WORDS), (y, _NO_TAGS)):
        if rows and draw(st.sampled_from([False, False, False, True])):
            rows[draw(st.integers(0, len(rows) - 1))] = draw(odd)
    if X and isinstance(X[0], list) and X[0] and draw(st.booleans()):
        X[0][0] = draw(_WORD)
    one, other = draw(st.sampled_from(_LISTS)), draw(st.sampled_from(_LISTS))
    if draw(st.sampled_from([True, True, False])):
        one = other = list
    method = draw(st.sampled_from(["fit", "fit", "predict", "predict_proba", "partial_fit"]))
    label = f"tags: {method}({describe(X)}, {describe(y)}) in {one} and {other}"
    return Example(label, lambda subject: _of_tags(subject, method, X, y, one, other))


def _of_tags(
    subject: Subject, method: str, X: list[Any], y: list[Any], one: Any, other: Any
) -> None:
    try:
        given, tagged = one(X), other(y)
    except Exception:  # the container refuses them
        return
    model = _estimator(LNTunedTransformerTagger, subject)
    if method in ("fit", "partial_fit"):
        extra = {"classes": ["O", "B-PER", "I-PER", "B-LOC"]} if method == "partial_fit" else {}
        with kept_whole(model):
            getattr(model, method)(given, tagged, **extra)
        check_learnt(model)
        given = one(X)
    else:
        model = subject.tagger
    found = model.predict_proba(given) if method == "predict_proba" else model.predict(given)
    check(len(found) == len(X), f"{len(found)} sentences for {len(X)}")
    lengths = [len(row.split() if isinstance(row, str) else row) for row in X]
    check([len(row) for row in found] == lengths, "answers are not as long as the sentences")
