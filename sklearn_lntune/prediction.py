"""From a fitted state and texts to logits or pooled vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from sklearn_lntune.backbone.placement import Placement, place_prediction
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.usage import position_limit
from sklearn_lntune.exceptions import BackboneMismatchError
from sklearn_lntune.network import Network, build_network, compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.text.batches import tensors
from sklearn_lntune.text.check import Text, distinct
from sklearn_lntune.text.growing import Growing
from sklearn_lntune.text.stream import Texts, TextTable
from sklearn_lntune.text.tokens import Tokens
from sklearn_lntune.tuning.names import from_plain

#: Texts of a table that are predicted at a time.
CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Predictor:
    """A network with a fitted delta, ready to run.

    It lives with the backbone in the process-wide pool, not on the estimator.
    """

    state: FittedState
    network: Network
    tokens: Tokens
    pad_id: int

    def run(self, texts: Texts, output: str = "logits", verbose: int = 0) -> np.ndarray:
        """Logits or pooled vectors of ``texts``; repeated texts are computed once.

        Those of a `TextTable` are read, tokenised and computed in chunks, with a progress
        bar if ``verbose`` is positive; repetitions are found within a chunk.
        """
        if not isinstance(texts, TextTable):
            return self._run(texts, output)
        answers = Growing()
        with tqdm(total=texts.n_rows, desc="predict", unit="text", disable=verbose <= 0) as bar:
            for chunk in texts.chunks(CHUNK_ROWS):
                answers.add(self._run(chunk, output))
                bar.update(len(chunk))
        return answers.whole()

    def _run(self, texts: Sequence[Text], output: str) -> np.ndarray:
        unique, numbers = distinct(texts)
        table = self.tokens.table(unique, self.state.max_length)
        return compute(self.network, table, self.pad_id, output)[numbers]

    def batch(self, texts: Sequence[Text]) -> dict[str, torch.Tensor]:
        """What the network takes, for ``texts`` as one batch."""
        table = self.tokens.table(list(texts), self.state.max_length)
        return tensors(table, np.arange(len(texts)), self.pad_id, self.network.device)


def predictor_for(
    owner: Any, state: FittedState, backbone: Backbone, placement: Placement
) -> Predictor:
    """The predictor of the fitted estimator ``owner``, made when first asked for."""
    kept: dict[Any, Predictor] = backbone.kept.setdefault(owner, {})
    key = (placement.device, placement.predict_type, placement.compiled)
    predictor = kept.get(key)
    if predictor is None or predictor.state.delta is not state.delta:
        network = ready_network([state], backbone, placement)
        predictor = kept[key] = Predictor(state, network, backbone.tokens, backbone.pad_id)
    return predictor


def ready_network(
    states: Sequence[FittedState], backbone: Backbone, placement: Placement
) -> Network:
    """A network with the deltas of ``states`` side by side; they differ in nothing else.

    Logits of classes that a state does not have are minus infinity.
    """
    network = build_network(
        backbone,
        from_plain(states[0].tuning),
        states[0].pooling,
        max(len(state.classes) for state in states),
        [state.delta for state in states],
        dtype=placement.predict_type,
        device=placement.device,
        attention=placement.attention(training=False),
        generator=torch.Generator().manual_seed(0),
    )
    network.requires_grad_(False)
    if placement.compiled:
        network.compile_body()
    return network


def located(
    state: FittedState,
    *,
    backbone: str | os.PathLike[str],
    revision: str | None,
    trust_remote_code: bool,
    device: Any,
    precision: Any,
    compile: Any = False,  # noqa: A002 - the estimator's names
) -> tuple[Backbone, Placement]:
    """The backbone that ``state`` was fitted on, and where to predict with it.

    Raises
    ------
    BackboneMismatchError
        If the backbone found is another.
    """
    found = backbone_of(state, backbone, revision, trust_remote_code)
    return found, place_prediction(device, precision, found.stored_type, compile)


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
    ValueError
        If ``state`` asks for longer texts than it can read.
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
    limit = position_limit(backbone)
    if limit is not None and state.max_length > limit:
        raise ValueError(
            f"this classifier says max_length={state.max_length}, which is beyond the {limit} "
            f"positions of {backbone.source.name!r}: it was not fitted on it. Take a fresh copy."
        )
    return backbone
