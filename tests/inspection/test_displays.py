"""Displays: what is drawn, and where."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import moved
from safetensors.numpy import load_file
from sklearn.exceptions import NotFittedError

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.inspection import (
    AttributionDisplay,
    DeltaDisplay,
    HistoryDisplay,
    ParameterDisplay,
    explain,
    parameter_report,
)

Clf = Callable[..., LNTunedTransformerClassifier]

plt.switch_backend("agg")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def clf(
    lively_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> LNTunedTransformerClassifier:
    clf = LNTunedTransformerClassifier(
        lively_backbone(),
        max_epochs=3,
        min_steps=0,
        random_state=0,
        precision="float64",
        device="cpu",
    )
    return clf.fit(texts, labels, X_val=texts[:9], y_val=labels[:9])


#: Each display with the further arguments of `from_estimator`.
DISPLAYS: dict[Any, tuple[Any, ...]] = {
    HistoryDisplay: (),
    DeltaDisplay: (),
    ParameterDisplay: (),
    AttributionDisplay: (["good bad sun"],),
}


@pytest.mark.parametrize("kind", DISPLAYS)
def test_displays_draw_on_new_axes_or_on_those_given(kind: Any, clf: Any) -> None:
    display = kind.from_estimator(clf, *DISPLAYS[kind])
    assert display.figure_ is display.ax_.figure
    figure, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=right) is display
    assert display.figure_ is figure
    assert not left.has_data()
    if kind is not HistoryDisplay:
        assert display.ax_ is right
    other = kind.from_estimator(clf, *DISPLAYS[kind], ax=left)
    assert other.figure_ is figure
    figure.canvas.draw()


@pytest.mark.parametrize("kind", DISPLAYS)
def test_without_matplotlib_the_extra_is_named(
    kind: Any, tiny_clf: Clf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"from_estimator needs .*'sklearn-lntune\[plots\]'"):
        kind.from_estimator(tiny_clf(), *DISPLAYS[kind])  # before all else, so not fitted
    with pytest.raises(ImportError, match=r"plot needs .*'sklearn-lntune\[plots\]'"):
        kind(None).plot() if kind is not HistoryDisplay else kind({"lr": 1}).plot()


@pytest.mark.parametrize("kind", [HistoryDisplay, DeltaDisplay, AttributionDisplay])
def test_a_fit_is_needed(kind: Any, tiny_clf: Clf) -> None:
    with pytest.raises(NotFittedError):
        kind.from_estimator(tiny_clf(), *DISPLAYS[kind])


# -- history ----------------------------------------------------------------------------


def test_history_shows_what_was_recorded(clf: Any, tiny_clf: Clf, texts: Any, labels: Any) -> None:
    display = HistoryDisplay.from_estimator(clf)
    assert [ax.get_ylabel() for ax in display.axes_] == [
        "loss",
        "validation score",
        "learning rate",
    ]
    drawn = [line.get_ydata() for ax in display.axes_ for line in ax.get_lines()]
    columns = ["train_loss", "valid_loss", "valid_score", "lr"]
    for line, column in zip(drawn, columns, strict=True):
        assert (np.asarray(line) == clf.history_[column]).all()
    plain = HistoryDisplay.from_estimator(tiny_clf().fit(texts, labels))
    assert [ax.get_ylabel() for ax in plain.axes_] == ["loss", "learning rate"]


def test_history_on_axes_of_your_own(clf: Any) -> None:
    _, axes = plt.subplots(3)
    display = HistoryDisplay.from_estimator(clf, ax=axes)
    assert display.axes_ == list(axes)
    with pytest.raises(ValueError, match="ax must hold 3 axes, one per panel; got 2"):
        display.plot(axes[:2])
    with pytest.raises(ValueError, match="its space cannot be divided"):
        display.plot(plt.figure().add_axes((0, 0, 1, 1)))


def test_an_empty_history_is_an_error(clf: Any) -> None:
    with pytest.raises(ValueError, match="the history holds no epoch"):
        HistoryDisplay(clf.history_[[]]).plot()


# -- delta ------------------------------------------------------------------------------


def test_distances_are_from_the_values_of_the_backbone(clf: Any) -> None:
    stored = load_file(Path(clf.backbone, "model.safetensors"))
    display = DeltaDisplay.from_estimator(clf)
    assert len(display.moves) == sum(not name.startswith("head/") for name in clf.delta_)
    for move in display.moves.itertuples():
        weight = {"gain": "weight", "bias": "bias"}[move.term]
        change = clf.delta_[f"layernorm/{move.path}/{move.term}"] - stored[f"{move.path}.{weight}"]
        assert move.distance == pytest.approx(np.sqrt(np.mean(change**2)))
        assert move.distance > 0
    labels = {line.get_label(): line for line in display.ax_.get_lines()}
    assert labels["ffn, gain"].get_xdata().tolist() == [0, 1]
    assert labels["embedding, bias"].get_xdata().tolist() == [-1]
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["below", "0", "1"]


@pytest.mark.parametrize("tuning", ["bias", "scale", "layernorm+lora", "full", "adapter+prefix"])
def test_every_tuning_with_vectors(
    tuning: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=tuning, max_epochs=1).fit(texts, labels)
    before = DeltaDisplay.from_estimator(clf).moves
    after = DeltaDisplay.from_estimator(moved(clf)).moves
    # `moved` adds values with a deviation of 0.2; a fit of a few steps moves far less.
    assert before["distance"].max() < 0.1 < after["distance"].min()


@pytest.mark.parametrize("tuning", ["lora", "head"])
def test_a_tuning_without_vectors_is_an_error(
    tuning: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=tuning, max_epochs=1).fit(texts, labels)
    with pytest.raises(ValueError, match="learns no gains, biases or other vectors"):
        DeltaDisplay.from_estimator(clf)


@pytest.mark.parametrize("family", ["albert", "llama", "gpt2"])
def test_other_families(family: str, tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(family, max_epochs=1).fit(texts, labels)
    assert DeltaDisplay.from_estimator(clf).moves["distance"].between(1e-9, 0.1).all()


# -- parameters -------------------------------------------------------------------------


def test_bars_are_as_long_as_the_report_says(tiny_clf: Clf) -> None:
    clf = tiny_clf(tuning="layernorm+prefix")
    display = ParameterDisplay.from_estimator(clf)
    report = parameter_report(clf)
    widths = [bar.get_width() for bars in display.ax_.containers for bar in bars]
    assert sum(widths) == report["parameters"].iloc[-1]
    assert {text.get_text() for text in display.ax_.get_legend().get_texts()} == {
        "layernorm",
        "prefix",
    }
    assert f"{report['parameters'].iloc[-1]:,} in all" in display.ax_.get_xlabel()


def test_a_fitted_head_has_a_bar(clf: Any) -> None:
    display = ParameterDisplay.from_estimator(clf)
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()][-1] == "head"


# -- attributions -----------------------------------------------------------------------


def test_words_are_averaged_over_the_rows(clf: Any, texts: list[str]) -> None:
    X = [*texts[3:8], "good good bad"]
    display = AttributionDisplay.from_estimator(clf, X, "red", n_words=4)
    totals: dict[str, float] = {}
    for each in explain(clf, X, "red"):
        for word, value in zip(each.words, each.attributions, strict=True):
            totals[word] = totals.get(word, 0) + value / len(X)
    expected = sorted(totals.values(), key=abs, reverse=True)[:4]
    assert [bar.get_width() for bar in display.ax_.patches] == pytest.approx(expected)
    assert display.ax_.get_xlabel() == "how much the word spoke for red, mean of 6 texts"
    with pytest.raises(ValueError, match="n_words must be an int"):
        display.plot(n_words=0)


def test_words_that_matplotlib_would_read_as_formulas(clf: Any) -> None:
    display = AttributionDisplay.from_estimator(clf, ["$a_b$ 10 1_0 \\frac"])
    display.figure_.canvas.draw()
    ticks = {tick.get_text() for tick in display.ax_.get_yticklabels()}
    assert {"10", "1_0"} <= ticks
