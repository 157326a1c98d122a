"""What the cases share: one estimator on the GPU that is not there, and on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS
from fake_gpu.device import CUDA, FakeGPU, fake_gpu
from families import known_families
from vision import pictures

from sklearn_lntune import (
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
    clear_backbones,
)
from sklearn_lntune.training.steps import Steps

#: ``FAKE_GPU=all`` runs every case; otherwise only those that differ most.
ALL = os.environ.get("FAKE_GPU") == "all"
SOME_FAMILIES = ("bert", "deberta-v2", "gemma2", "modernbert", "t5")
FAMILIES = [each for each in known_families() if ALL or each in SOME_FAMILIES]
#: transformers' DeBERTa and BEiT send numbers of their own to the device in each forward pass.
ELSEWHERE = ("deberta_v2/modeling_deberta_v2.py", "beit/modeling_beit.py")


def ours(waits: list[str]) -> list[str]:
    """The waits that the package is to blame for."""
    return [wait for wait in waits if not any(each in wait for each in ELSEWHERE)]


#: How closely both devices agree, by precision. In bfloat16 their attention differs.
CLOSE: dict[str, dict[str, float]] = {
    "float64": {"rtol": 1e-7, "atol": 1e-9},
    "bfloat16": {"rtol": 0, "atol": 0.05},
}
CLOSE_ALSO = CLOSE | {"float32": {"rtol": 1e-3, "atol": 1e-4}}


@dataclass(frozen=True)
class Target:
    """A kind of target: its estimator, and the rows and targets that it makes of texts."""

    made: type[Any]
    y: Callable[[list[str]], Any]
    X: Callable[[list[str]], Any] = lambda texts: texts
    params: dict[str, Any] = field(default_factory=dict)
    method: str = "decision_function"
    has_native_head: bool = True

    def fit(self, estimator: Any, texts: list[str], **kwargs: Any) -> Any:
        return estimator.fit(self.X(texts), self.y(texts), **kwargs)

    def outputs(self, estimator: Any, texts: list[str]) -> np.ndarray:
        """What the head of ``estimator`` computes, as far as users see it."""
        return np.concatenate(list(getattr(estimator, self.method)(self.X(texts))), axis=None)


def _labels(texts: list[str]) -> list[str]:
    return [["blue", "green", "red"][i % 3] for i in range(len(texts))]


def _lengths(texts: list[str]) -> np.ndarray:
    return np.array([1.0 + len(text.split()) for text in texts])


#: A new kind of target joins here.
TARGETS: dict[str, Target] = {
    "labels": Target(LNTunedTransformerClassifier, _labels),
    "several labels": Target(
        LNTunedTransformerClassifier,
        lambda texts: np.arange(len(texts))[:, None] // np.array([1, 2, 3]) % 2,
    ),
    "numbers": Target(
        LNTunedTransformerRegressor,
        lambda texts: _lengths(texts)[:, None] * [1.0, -2.0],
        method="predict",
    ),
    "tags": Target(
        LNTunedTransformerTagger,
        lambda texts: [[["O", "B-a"]["o" in word] for word in text.split()] for text in texts],
        X=lambda texts: [text.split() for text in texts],
        params={"max_length": 6},  # so that some sentences are two windows
        method="predict_proba",
        has_native_head=False,
    ),
    "windows": Target(
        LNTunedTransformerClassifier,
        _labels,
        params={
            "long_texts": "windows",
            "max_length": 5,
            "stride": 1,
            "window_pooling": "attention",
        },
        has_native_head=False,
    ),
    "images": Target(
        LNTunedTransformerClassifier, _labels, X=lambda texts: pictures(len(texts), 9, 10)
    ),
}


def with_targets(some: dict[str, str], firsts: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Pairs of a case and a target: ``some``; or else all, of the keys and ``firsts``."""
    if not ALL:
        return list(some.items())
    return list(product(dict.fromkeys([*some, *firsts]), TARGETS))


class Watch:
    """Which waits belong to which training step."""

    def __init__(self, gpu: FakeGPU) -> None:
        self.gpu = gpu
        self._ends: list[tuple[str, int]] = []

    def note(self, what: str, steps: Steps) -> None:
        """Record the end of a step or an epoch."""
        if steps.network.device == self.gpu.device:
            self._ends.append((what, len(self.gpu.waits)))

    def check(self) -> None:
        """Assert that each step that follows another one of its epoch has waited once."""
        steps = [
            ours(self.gpu.waits[start:end])
            for (before, start), (after, end) in zip(self._ends, self._ends[1:], strict=False)
            if before == after == "step"
        ]
        assert steps
        assert [waits for waits in steps if len(waits) != 1] == []


@pytest.fixture
def gpu() -> torch.device:
    """The GPU that is not there; a module may have another one."""
    return CUDA


@pytest.fixture
def watch(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """The GPU that is not there, for the time of a test."""
    with fake_gpu(gpu) as made:
        watch = Watch(made)

        def noting(name: str, what: str) -> None:
            function = getattr(Steps, name)

            def run(steps: Steps, *args: Any, **kwargs: Any) -> Any:
                found = function(steps, *args, **kwargs)
                watch.note(what, steps)
                return found

            monkeypatch.setattr(Steps, name, run)

        noting("step", "step")
        noting("end_epoch", "epoch")
        yield watch
        clear_backbones()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Short texts of different lengths."""
    return [" ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(1 + i % 7)) for i in range(24)]


@pytest.fixture
def make(
    tiny_backbone: Callable[..., Path], image_backbone: Callable[..., Path]
) -> Callable[..., Any]:
    """``make(device, target, family, **params)``: an estimator that is fitted quickly."""

    def make(device: str, target: str = "labels", family: str | None = None, **params: Any) -> Any:
        kind = TARGETS[target]
        quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
        quick |= {"precision": "float64", "device": device, **kind.params}
        if target == "images":
            backbone = image_backbone(family or "vit")
        else:
            backbone = tiny_backbone(family or "bert")
        return kind.made(backbone, **{**quick, **params})

    return make


def assert_same(
    on_gpu: Any,
    on_cpu: Any,
    texts: list[str],
    target: str = "labels",
    precision: str = "float64",
) -> None:
    """Assert that two estimators predict and embed alike, and learnt the same."""
    close, kind = CLOSE_ALSO[precision], TARGETS[target]
    assert on_gpu.n_steps_ == on_cpu.n_steps_
    assert on_gpu.delta_.keys() == on_cpu.delta_.keys()
    for name, values in on_gpu.delta_.items():
        np.testing.assert_allclose(values, on_cpu.delta_[name], err_msg=name, **close)
    outputs = [kind.outputs(each, texts) for each in (on_gpu, on_cpu)]
    np.testing.assert_allclose(*outputs, err_msg=kind.method, **close)
    vectors = [each.embed(kind.X(texts)) for each in (on_gpu, on_cpu)]
    np.testing.assert_allclose(*vectors, err_msg="embed", **close)
