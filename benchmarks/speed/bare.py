"""Forward and backward of ``Network`` alone: no skorch, no optimiser, no loading."""

from __future__ import annotations

import time
from typing import Any

import torch
from skorch.callbacks import Callback

from sklearn_lntune.backbone.placement import padded_length, place_fit
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.usage import resolve_pooling
from sklearn_lntune.backbone.where import Where
from sklearn_lntune.classifier import DEFAULT_BACKBONE
from sklearn_lntune.network import Network
from sklearn_lntune.tuning import LayerNormTuning

from . import ours
from .peak import fit_flops, medians
from .workloads import Task, forget, wait


class Recorder(Callback):
    """Keeps the training batches of a fit, in their order."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Note a batch."""
        if training:
            self.batches.append(batch)


def network(n_outputs: int) -> Network:
    """As a fit builds it, LayerNorm tuning in the training type."""
    backbone = get_backbone(DEFAULT_BACKBONE)
    placement = place_fit(Where(), backbone.stored_type)
    return Network(
        backbone,
        (LayerNormTuning(),),
        resolve_pooling(backbone, "auto"),
        n_outputs,
        dtype=placement.train_type,
        device=placement.device,
        attention=placement.attention(training=True),
        generator=torch.Generator().manual_seed(0),
    ).train()


def step(net: Network, inputs: dict[str, Any], codes: torch.Tensor) -> None:
    """One batch, forward and backward."""
    torch.nn.functional.cross_entropy(net(**inputs), codes, reduction="sum").backward()
    for weight in net.learnt.values():
        weight.grad = None


def whole_and_bare(task: Task) -> dict[str, float]:
    """Seconds of a fit with validation, from texts, and of the steps of its very batches."""
    forget()
    recorder = Recorder()
    start = time.perf_counter()
    ours.classifier(task, early_stopping=True, callbacks=[recorder]).fit(task.X, task.y)
    whole = time.perf_counter() - start
    net = network(len(set(task.y)))
    step(net, *recorder.batches[0])
    wait()
    start = time.perf_counter()
    for inputs, codes in recorder.batches:
        step(net, inputs, codes)
    wait()
    bare_seconds = time.perf_counter() - start
    n_tokens = sum(int(inputs["attention_mask"].sum()) for inputs, _ in recorder.batches)
    shapes = [inputs["input_ids"].shape for inputs, _ in recorder.batches]
    n_padded = sum(
        rows * padded_length(length, net.body.dtype, net.device) for rows, length in shapes
    )
    return {
        "seconds": whole,
        "bare_seconds": bare_seconds,
        "tokens": n_tokens,
        "gflop": fit_flops(n_tokens) / 1e9,
        "padding": n_padded / n_tokens - 1,
    }


def bare_step(rows: int, length: int, repeats: int = 15) -> dict[str, float]:
    """Seconds of a step on one batch without padding, and its GFLOP/s."""
    net = network(6)
    device = next(net.parameters()).device
    ids = torch.randint(1000, 2000, (rows, length), device=device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["token_type_ids"] = torch.zeros_like(ids)
    codes = torch.zeros(rows, dtype=torch.long, device=device)
    (seconds,) = medians([lambda: step(net, inputs, codes)], repeats)
    return {"seconds": seconds, "gflops": fit_flops(rows * length) / seconds / 1e9}
