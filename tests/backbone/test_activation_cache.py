"""Activations below the lowest trained block are kept, and change no number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import known_families
from sklearn.model_selection import GridSearchCV

from sklearn_lntune import clear_backbones
from sklearn_lntune.backbone import activation_cache
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.network import Network
from sklearn_lntune.tuning import AdapterTuning, LayerNormTuning, PrefixTuning

TOP = LayerNormTuning(layers=1, sites=("attention", "ffn")) + AdapterTuning(2, layers=1)
#: T5's first block makes the position bias of the others; ALBERT has one block for all.
LEFT_OUT = {"t5", "albert"}
#: Its softmax is float32 whatever the weights are, and rounds by what a batch is padded to.
FLOAT32_INSIDE = {"gemma2"}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each fit that could use a trunk did."""
    answers: list[bool] = []
    enter_at = Network.enter_at

    def noted(self: Any, *args: Any) -> bool:
        answers.append(enter_at(self, *args))
        return answers[-1]

    monkeypatch.setattr(Network, "enter_at", noted)
    return answers


def without(fit: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The result of ``fit`` when nothing may be kept."""
    with monkeypatch.context() as patch:
        patch.setattr(activation_cache, "MAX_BYTES", 0)
        clear_backbones()  # and with them what earlier fits kept
        return fit()


@pytest.mark.parametrize(
    ("family", "precision", "tolerance"),
    [
        *((family, "float64", 1e-12) for family in known_families()),
        *((family, "float32", 1e-5) for family in ("bert", "gpt2", "llama")),
    ],
)
def test_a_fit_with_a_trunk_equals_one_without(
    family: str,
    precision: str,
    tolerance: float,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    used: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuning: Any = "head" if family == "albert" else TOP

    def fit() -> Any:
        clf = tiny_clf(family, tuning=tuning, precision=precision, early_stopping=True)
        return clf.fit(texts, labels)

    if family in FLOAT32_INSIDE:
        tolerance = max(tolerance, 1e-7)
    plain, kept = without(fit, monkeypatch), fit()
    assert used == ([] if family == "albert" else [family not in LEFT_OUT])
    for name, values in plain.delta_.items():
        np.testing.assert_allclose(kept.delta_[name], values, rtol=0, atol=tolerance, err_msg=name)
    # Seconds apart, the log is the same too.
    for one, other in zip(plain.log_, kept.log_, strict=True):
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], abs=tolerance)


@pytest.mark.parametrize("pooling", ["mean", "native"])
@pytest.mark.parametrize("tuning", ["head", PrefixTuning(3, layers=1)], ids=["head", "prefix"])
def test_other_methods_and_heads(
    tuning: Any,
    pooling: str,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    used: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit() -> Any:
        return tiny_clf(tuning=tuning, pooling=pooling).fit(texts, labels)

    plain, kept = without(fit, monkeypatch), fit()
    assert used == [True]
    for name, values in plain.delta_.items():
        np.testing.assert_allclose(kept.delta_[name], values, rtol=0, atol=1e-12)


def test_no_trunk_where_the_lowest_block_learns(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str], used: list[bool]
) -> None:
    for tuning in ("layernorm", LayerNormTuning(sites=("embedding", "ffn"), layers=1), "full"):
        tiny_clf(tuning=tuning).fit(texts, labels)
    assert used == []


def test_a_grid_search_computes_each_text_once(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[int] = []
    compute = activation_cache.ActivationCache._compute

    def counted(self: Any, table: Any, missing: Any, *rest: Any) -> None:
        rows.append(len(missing))
        compute(self, table, missing, *rest)

    monkeypatch.setattr(activation_cache.ActivationCache, "_compute", counted)
    clear_backbones()
    clf = tiny_clf(tuning=TOP)
    GridSearchCV(clf, {"lr": [1e-3, 3e-3, 1e-2]}, cv=2).fit(texts, labels)
    assert sum(rows) == len(set(texts))


def test_what_is_too_large_for_memory_stands_on_disk(
    tiny_clf: Callable[..., Any],
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit() -> Any:
        clear_backbones()
        return tiny_clf(tuning=TOP).fit(texts, labels)

    in_memory = fit()
    monkeypatch.setattr(activation_cache, "MEMORY_BYTES", 0)
    on_disk = fit()
    for name, values in in_memory.delta_.items():
        np.testing.assert_array_equal(on_disk.delta_[name], values)
    kept = get_backbone(tiny_backbone())._activations
    assert kept is not None
    folder = kept[1]._folder
    assert folder is not None
    assert list(Path(folder).iterdir())
    del kept
    clear_backbones()
    assert not Path(folder).exists()


def test_another_block_takes_the_place_of_the_first(
    tiny_clf: Callable[..., Any],
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
) -> None:
    backbone = get_backbone(tiny_backbone())
    for precision in ("float64", "float32"):
        tiny_clf(tuning="head", precision=precision).fit(texts, labels)
        assert backbone._activations is not None
        assert str(backbone._activations[0][0]) == f"torch.{precision}"


def test_what_was_not_used_for_longest_makes_room(
    tiny_clf: Callable[..., Any],
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    used: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Room for the texts of about two fits: some in memory, the rest on disk.
    monkeypatch.setattr(activation_cache, "MAX_BYTES", 60_000)
    monkeypatch.setattr(activation_cache, "MEMORY_BYTES", 30_000)
    clear_backbones()
    for number in range(5):
        other = [f"{text} {number}" for text in texts]
        tiny_clf(tuning=TOP, precision="float64").fit(other, labels)
        kept = get_backbone(tiny_backbone())._activations
        assert kept is not None
        assert 0 < kept[1].nbytes <= 60_000
    assert used == [True] * 5
    cache = kept[1]
    assert cache._folder is not None
    files = [part.file for part in cache._parts.values() if part.file is not None]
    assert sorted(Path(cache._folder).iterdir()) == sorted(files)


def test_a_fit_that_goes_without_says_why_once(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "sklearn_lntune.training")
    clear_backbones()
    tiny_clf("t5", tuning=TOP).fit(texts, labels)
    monkeypatch.setattr(activation_cache, "MAX_BYTES", 0)
    clear_backbones()
    tiny_clf(tuning=TOP, early_stopping=True).fit(texts, labels)
    reasons = [record.getMessage() for record in caplog.records]
    assert len(reasons) == 2
    assert "do not compute the same" in reasons[0]
    assert "0 may be held" in reasons[1]


def test_too_little_memory_is_no_reason_to_go_without(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Any, batch: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(activation_cache.CacheInjector, "put", full)
    with pytest.raises(ValueError, match="halve batch_size"):
        tiny_clf(tuning=TOP).fit(texts, labels)
