"""Ideas that the package does not have, for ``recipe.py`` to try.

Each is a context in which the package does it.

What gains less than 0.2 points on average stays here, so that anyone can look again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, normalize

from sklearn_lntune.network import Network
from sklearn_lntune.network.batch import Batch
from sklearn_lntune.network.pooling import attend
from sklearn_lntune.task.one_label import OneLabel
from sklearn_lntune.training import steps
from sklearn_lntune.training.optimizer import build_optimizer
from sklearn_lntune.tuning.layers.grouped import expand_rows


@contextlib.contextmanager
def inner_dropout(share: float) -> Iterator[None]:
    """The dropout of the backbone's own layers, attention included, in training."""

    def train(self: Network, mode: bool = True) -> Network:
        self.training = mode
        for module in self.body.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            module.training = mode
        return self

    with mock.patch.object(Network, "train", train):
        yield


@contextlib.contextmanager
def unit_vectors(scale: float) -> Iterator[None]:
    """Vectors of one length in front of the head."""
    pool = Network.pool
    with mock.patch.object(
        Network, "pool", lambda self, batch: scale * normalize(pool(self, batch))
    ):
        yield


@contextlib.contextmanager
def rates_by_depth(factor: float) -> Iterator[None]:
    """Each block's rate is ``factor`` times that of the block above it."""

    def build(network: Network, settings: Any) -> torch.optim.Optimizer:
        optimizer = build_optimizer(network, settings)
        names = {id(weight): name for name, weight in network.learnt.items()}
        top = network._shell[1].n_blocks  # noqa: SLF001
        groups = []
        for group in optimizer.param_groups:
            for weight in group["params"]:
                name = names[id(weight)]
                found = re.search(r"\.(\d+)\.", name)
                depth = 0 if name.startswith("head/") else top - int(found[1] if found else -1) - 1
                peak = group["peak_lr"] * factor**depth
                groups.append({**group, "params": [weight], "lr": peak, "peak_lr": peak})
        return torch.optim.AdamW(groups, fused=True)

    with mock.patch.object(steps, "build_optimizer", build):
        yield


@contextlib.contextmanager
def two_masks(weight: float) -> Iterator[None]:
    """R-Drop (Liang et al. 2021, arXiv:2106.14448) with dropout on the pooled vector only.

    Both passes share the backbone's, so that a step takes no longer.
    """
    gaps: list[torch.Tensor] = []
    forward, loss = Network.forward, OneLabel.loss

    def twice(self: Network, batch: Batch) -> torch.Tensor:
        if not self.training:
            return forward(self, batch)
        vectors = self.read(batch)
        one, two = (
            self.head(vectors * self.dropout_factors((len(vectors), vectors.shape[-1])))
            for _ in range(2)
        )
        p, q = log_softmax(one, -1), log_softmax(two, -1)
        both = kl_div(p, q, log_target=True, reduction="none") + kl_div(
            q, p, log_target=True, reduction="none"
        )
        gaps[:] = [both.sum(-1) / 2]
        return (one + two) / 2

    def with_gap(self: OneLabel, outputs: Any, targets: Any, *, training: bool = True) -> Any:
        found = loss(self, outputs, targets, training=training)
        return found + weight * gaps.pop() if training and gaps else found

    with (
        mock.patch.object(Network, "forward", twice),
        mock.patch.object(OneLabel, "loss", with_gap),
    ):
        yield


@contextlib.contextmanager
def contrast(weight: float, temperature: float = 0.1) -> Iterator[None]:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362) beside cross-entropy."""
    seen: list[torch.Tensor] = []
    read, loss = Network.read, OneLabel.loss

    def kept(self: Network, batch: Batch) -> torch.Tensor:
        vectors = read(self, batch)
        seen[:] = [vectors]
        return vectors

    def with_contrast(self: OneLabel, outputs: Any, targets: Any, *, training: bool = True) -> Any:
        found = loss(self, outputs, targets, training=training)
        if not training or not seen:
            return found
        vectors = seen.pop()
        alike = cosine_similarity(vectors[:, None], vectors[None], dim=-1) / temperature
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        log_share = log_softmax(alike.masked_fill(itself, -1e4), dim=1)
        same = (targets[:, None] == targets[None]) & ~itself
        return found - weight * (log_share * same).sum(1) / same.sum(1).clamp(min=1)

    with (
        mock.patch.object(Network, "read", kept),
        mock.patch.object(OneLabel, "loss", with_contrast),
    ):
        yield


@contextlib.contextmanager
def token_attention() -> Iterator[None]:
    """Learnt attention over tokens in place of their mean; with ``window_pooling="attention"``."""

    def pool(self: Network, batch: Batch) -> torch.Tensor:
        states = self._states(batch)
        mask = batch.inputs["attention_mask"].bool()
        return attend(states, mask, expand_rows(self.query, states))

    with mock.patch.object(Network, "pool", pool):
        yield


IDEAS = {
    "inner_dropout": inner_dropout,
    "unit_vectors": unit_vectors,
    "rates_by_depth": rates_by_depth,
    "two_masks": two_masks,
    "contrast": contrast,
    "token_attention": lambda _: token_attention(),
}
