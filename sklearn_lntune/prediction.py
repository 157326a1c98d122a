"""From a fitted state and texts to logits or pooled vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklearn_lntune.backbone.placement import place_prediction
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.exceptions import BackboneMismatchError
from sklearn_lntune.network import Network, build_network, compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.text.batches import tensors
from sklearn_lntune.text.check import Text
from sklearn_lntune.text.tokens import Tokens
from sklearn_lntune.tuning.names import from_plain


@dataclass(frozen=True)
class Predictor:
    """A network with a fitted delta, ready to run.

    It lives with the backbone in the process-wide pool, not on the estimator.
    """

    state: FittedState
    network: Network
    tokens: Tokens
    pad_id: int

    def run(self, texts: Sequence[Text], output: str = "logits") -> np.ndarray:
        """Logits or pooled vectors of ``texts``; repeated texts are computed once."""
        unique: dict[Text, int] = {}
        index = np.array([unique.setdefault(text, len(unique)) for text in texts])
        table = self.tokens.table(list(unique), self.state.max_length)
        return compute(self.network, table, self.pad_id, output)[index]

    def batch(self, texts: Sequence[Text]) -> dict[str, torch.Tensor]:
        """What the network takes, for ``texts`` as one batch."""
        table = self.tokens.table(list(texts), self.state.max_length)
        device = next(self.network.parameters()).device
        return tensors(table, np.arange(len(texts)), self.pad_id, device)


def predictor_for(
    owner: Any,
    state: FittedState,
    *,
    backbone: str | os.PathLike[str],
    revision: str | None,
    trust_remote_code: bool,
    device: Any,
    precision: Any,
    compiled: Any = False,
) -> Predictor:
    """The predictor of the fitted estimator ``owner``, made when first asked for.

    Raises
    ------
    BackboneMismatchError
        If the backbone found is not the one of the fit.
    """
    loaded = backbone_of(state, backbone, revision, trust_remote_code)
    placement = place_prediction(device, precision, loaded.stored_type, compiled)
    kept: dict[Any, Predictor] = loaded.kept.setdefault(owner, {})
    key = (placement.device, placement.predict_type, placement.compiled)
    predictor = kept.get(key)
    if predictor is None or predictor.state.delta is not state.delta:
        network = build_network(
            loaded,
            from_plain(state.tuning),
            state.pooling,
            len(state.classes),
            state.delta,
            dtype=placement.predict_type,
            device=placement.device,
            attention=placement.attention(training=False),
            generator=torch.Generator().manual_seed(0),
        )
        network.requires_grad_(False)
        if placement.compiled:
            network.compile_body()
        predictor = kept[key] = Predictor(state, network, loaded.tokens, loaded.pad_id)
    return predictor


def backbone_of(
    state: FittedState,
    name: str | os.PathLike[str],
    revision: str | None,
    trust_remote_code: bool,
) -> Backbone:
    """The backbone called ``name``, if it is the one that ``state`` was fitted on.

    Raises
    ------
    BackboneMismatchError
        If it is another.
    """
    backbone = get_backbone(name, revision, trust_remote_code)
    fitted = state.backbone
    for what, found, expected in (
        ("backbone", backbone.fingerprint, fitted["fingerprint"]),
        ("tokenizer", backbone.tokenizer_fingerprint, fitted["tokenizer"]),
    ):
        if found != expected:
            raise BackboneMismatchError(
                f"this classifier was fitted on {fitted['name']!r} (revision "
                f"{fitted['revision']}, {what} fingerprint {expected[:16]}), but "
                f"{backbone.source.name!r} here ({backbone.source.folder}, revision "
                f"{backbone.source.revision}) has the {what} fingerprint {found[:16]}. Its delta "
                "means nothing on another model: point `backbone` at the one it was fitted on, or "
                "fit again."
            )
    return backbone
