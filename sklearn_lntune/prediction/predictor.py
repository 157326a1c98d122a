"""From a fitted state and texts to logits or pooled vectors."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklearn_lntune.backbone.matching import check_same, fitted_backbone, folder_of
from sklearn_lntune.backbone.placement import Placement, place_prediction
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.pooling_and_length import (
    position_limit,
    resolve_max_length,
    resolve_stride,
)
from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.checks import check_verbose
from sklearn_lntune.console import progress_bar
from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.per_word import first_windows, for_examples
from sklearn_lntune.inputs.text.tokens import Tokens
from sklearn_lntune.network import Batch, Network, build_network, compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.tuning.registry import from_plain

#: Rows of a stream that are predicted at a time.
CHUNK_ROWS = 8192
_REMEDY = (
    "Its delta means nothing on another model: point at the one of the fit with "
    "set_params(backbone=...), or fit again. If you know that this one computes the same, "
    "accept_backbone() ties the classifier to it."
)


@dataclass(frozen=True)
class Predictor:
    """A network with a fitted delta, ready to run.

    It lives with the backbone in the process-wide pool, not on the estimator.
    """

    state: FittedState
    network: Network
    tokens: Tokens

    def run(self, examples: Examples, output: str = "logits", verbose: int = 0) -> np.ndarray:
        """Logits or pooled vectors of ``examples``; repeated rows are computed once.

        Logits of words are an array of arrays, one for each sentence.

        Those of a stream are read, tokenised and computed in chunks, with a progress
        bar if ``verbose`` is positive; repetitions are found within a chunk.
        """
        if examples.held is not None:
            return self._run(examples.held, output)
        held = array("f")
        cells: list[np.ndarray] = []
        with progress_bar(
            total=examples.n_rows, desc="predict", unit="text", disable=check_verbose(verbose) <= 0
        ) as bar:
            for chunk in examples.chunks(CHUNK_ROWS):
                answers = self._run(chunk, output)
                bar.update(len(chunk))
                if answers.dtype == object:
                    cells.append(answers)
                    continue
                # It grows in place: parts joined at the end would be held twice.
                held = held or array(answers.dtype.char)
                held.frombytes(answers.tobytes())
        if cells:
            return np.concatenate(cells)
        return np.frombuffer(held, answers.dtype).reshape(-1, answers.shape[1])

    def _run(self, rows: Rows, output: str) -> np.ndarray:
        unique, numbers = rows.distinct()
        table = self.tokens.table(unique, self.state.max_length, self.state.stride)
        if output == "pooled":  # of a sentence of several windows the first, as if it were cut
            return checked_finite(compute(self.network, first_windows(table), output))[numbers]
        found = checked_finite(compute(self.network, table, output))
        return for_examples(found, table)[numbers]

    def batch(self, rows: Sequence[Hashable]) -> Batch:
        """``rows`` as one batch."""
        table = self.tokens.table(Rows(rows), self.state.max_length, self.state.stride)
        return self.network.batch(table, np.arange(len(rows)))


def checked_finite(values: np.ndarray) -> np.ndarray:
    """``values``, logits or pooled vectors, if all of them are finite.

    Raises
    ------
    ValueError
        If not: an answer drawn from NaN would look like any other.
    """
    if not np.isfinite(values).all():
        raise ValueError(
            "the model computes values that are NaN or infinite. If precision is 'bfloat16', try "
            "'float32'; if not, the learnt values or the backbone's weights are damaged: fit "
            "again, or take another copy of the files."
        )
    return values


def predictor_for(
    owner: Any, state: FittedState, backbone: Backbone, placement: Placement
) -> Predictor:
    """The predictor of the fitted estimator ``owner``, built when it is first used."""
    kept: dict[Any, Predictor] = backbone.kept.setdefault(owner, {})
    key = (placement.device, placement.predict_type, placement.compiled)
    predictor = kept.get(key)
    if predictor is None or predictor.state.delta is not state.delta:
        network = ready_network([state], backbone, placement)
        predictor = kept[key] = Predictor(state, network, backbone.tokens)
    return predictor


def ready_network(
    states: Sequence[FittedState], backbone: Backbone, placement: Placement
) -> Network:
    """A network with the deltas of ``states`` side by side; in all else they are the same.

    Logits of classes that a state does not have are minus infinity.
    """
    network = build_network(
        backbone,
        from_plain(states[0].tuning),
        states[0].pooling,
        max(state.task.n_outputs for state in states),
        [state.delta for state in states],
        dtype=placement.predict_type,
        device=placement.device,
        attention=placement.attention(training=False),
        generator=torch.Generator().manual_seed(0),
        window_pooling=states[0].window_pooling,
        per_token=states[0].task.per_token,
    )
    network.requires_grad_(False)
    if placement.compiled:
        network.compile_body()
    return network


def located(state: FittedState, ref: BackboneRef, where: Where) -> tuple[Backbone, Placement]:
    """The backbone that ``state`` was fitted on, and where to predict with it.

    Raises
    ------
    BackboneMismatchError
        If the backbone found is not that of the fit.
    """
    found = backbone_of(state, ref)
    return found, place_prediction(where, found.stored_type)


def backbone_of(state: FittedState, ref: BackboneRef) -> Backbone:
    """The backbone that ``ref`` names, if it is the one that ``state`` was fitted on.

    Raises
    ------
    BackboneMismatchError
        If it is not.
    ValueError
        If ``max_length`` of ``state`` exceeds its positions, or its windows do not fit.
    """
    backbone = fitted_backbone(state.backbone, ref)
    check_same(state.backbone, backbone, state.pooling, _REMEDY)
    limit = position_limit(backbone)
    if limit is not None and state.max_length > limit:
        raise ValueError(
            f"this classifier says max_length={state.max_length}, which is beyond the {limit} "
            f"positions of {backbone.source.name!r}: it was not fitted on it. Take a fresh copy."
        )
    if state.stride is not None:
        resolve_stride(backbone, state.stride, state.max_length)
    return backbone


def accepted(state: FittedState, ref: BackboneRef, where: Where) -> dict[str, Any]:
    """The identity of the backbone found now, after checking that the delta of ``state`` fits it.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    found = fitted_backbone(state.backbone, ref)
    resolve_max_length(found, state.max_length)
    placement = place_prediction(replace(where, compile=False), found.stored_type)
    try:
        ready_network([state], found, placement)
    except ValueError as error:
        raise ValueError(
            f"what this classifier learnt does not fit the backbone {found.source.name!r} "
            f"({found.source.folder}): {error}"
        ) from error
    return found.identity(ref.name, folder_of(ref.name, state.backbone))
