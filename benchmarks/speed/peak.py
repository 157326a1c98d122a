"""The machine's matrix products on the shapes of the model, and the model's FLOPs."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from sklearn_lntune.backbone.placement import place_fit
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.where import Where
from sklearn_lntune.classifier import DEFAULT_BACKBONE

from .record import training_type
from .workloads import wait

#: Rows and tokens of a batch.
BATCHES = ((32, 12), (32, 32), (16, 128), (8, 256), (32, 128))


@cache
def shapes() -> dict[tuple[int, int], int]:
    """How often each (outputs, inputs) of a linear layer occurs in the backbone's blocks."""
    device = place_fit(Where(), torch.float32).device
    backbone = get_backbone(DEFAULT_BACKBONE)
    blocks = backbone.model(training_type(), device).get_submodule(backbone.anatomy.blocks)
    return Counter(tuple(m.weight.shape) for m in blocks.modules() if isinstance(m, nn.Linear))


def fit_flops(n_tokens: int) -> float:
    """Of the frozen linear layers: forward once, backward once for activations.

    Attention's own products are left out, so shares of the peak are a little low.
    """
    return 4.0 * n_tokens * sum(a * b * count for (a, b), count in shapes().items())


def measure(n_tokens: int, repeats: int = 15) -> dict[str, float]:
    """GFLOP/s of ``x @ W.T + b`` and ``g @ W`` over all linear layers of the blocks."""
    device = place_fit(Where(), torch.float32).device
    seconds = {"forward": 0.0, "backward": 0.0}
    for (n_out, n_in), count in shapes().items():
        options = {"dtype": training_type(), "device": device}
        x, g = torch.randn(n_tokens, n_in, **options), torch.randn(n_tokens, n_out, **options)
        w, b = torch.randn(n_out, n_in, **options), torch.randn(n_out, **options)
        forward, backward = medians(
            [lambda x=x, w=w, b=b: nn.functional.linear(x, w, b), lambda g=g, w=w: g @ w], repeats
        )
        seconds["forward"] += count * forward
        seconds["backward"] += count * backward
    half = fit_flops(n_tokens) / 2e9
    rates = {way: half / taken for way, taken in seconds.items()}
    return rates | {"peak": 2 * half / sum(seconds.values())}


def medians(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each call, by turns, after a warm-up."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 2):
        for call, own in zip(calls, taken, strict=True):
            wait()
            start = time.perf_counter()
            call()
            wait()
            if turn >= 2:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in taken]
