"""A network with the head of the model's own ``...ForSequenceClassification``."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from sklearn_lntune.backbone.native_head import last_linear, with_native_head
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.network.batch import Batch
from sklearn_lntune.network.network import Network


class NativeNetwork(Network):
    """A network with the model's own head, which cannot hold several fits."""

    def _add_head(self, body: nn.Module, backbone: Backbone, n_outputs: int, n_fits: int) -> None:
        if n_fits != 1:
            raise ValueError("pooling='native' has a head that does not stack.")
        self.body, weights = with_native_head(
            body, body.config, n_outputs, self.generator, backbone.trust_remote_code
        )
        named = {"/".join(path.rsplit(".", 1)): weight for path, weight in weights.items()}
        self._learn("head", named, stacked=False)
        head = last_linear(self.body, weights, n_outputs)
        self.embedding_size = head.in_features
        head.register_forward_pre_hook(self._before_head)
        self.head = head
        # The vectors that the head read last, and those to feed to it next; thread-local, since
        # threads share a network.
        self._last = threading.local()

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs), in the type of the delta."""
        self._last.share = batch.share
        logits: torch.Tensor = self._run(batch).logits
        return logits.to(self.delta_type)

    def pool(self, batch: Batch) -> torch.Tensor:
        """The input of the head's last layer: one vector per row."""
        self(batch)
        pooled = self._last.pooled
        if pooled.dim() == 2:
            return pooled
        # Heads of decoders read every token, and then choose the logits of the last one that is
        # not the padding token, which may also stand at the end of a text.
        config: Any = self.body.config
        known = (batch.inputs["input_ids"] != config.pad_token_id).long()
        last = (torch.arange(known.shape[1], device=known.device) * known).argmax(1)
        return pooled[torch.arange(len(known), device=known.device), last]

    def read(self, batch: Batch) -> torch.Tensor:
        """The pooled vectors."""
        return self.pool(batch)

    def _before_head(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        read = inputs[0]
        self._last.pooled = read.detach()
        if not self.training or not self.dropout:
            return inputs
        return (read * self.dropout_factors(read.shape, self._last.share),)
