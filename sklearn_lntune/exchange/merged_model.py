"""A fitted classifier with the model's own head, as a plain transformers model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.native_head import last_linear, with_native_head
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.tensors import tensor_of
from sklearn_lntune.tuning.base import in_attach_order
from sklearn_lntune.tuning.registry import from_plain, mergeable_methods


def check_native(state: FittedState, what: str) -> None:
    """Raise unless the model class itself can hold the head of ``state``."""
    if state.task.per_token:
        raise ValueError(
            f"{what}: a tagger has no head of transformers, which this format needs: use save, or "
            "export_onnx, whose file gives the logits of all tokens."
        )
    if state.pooling != "native":
        raise ValueError(
            f"{what} writes the head of the model's own ...ForSequenceClassification, but this "
            f"classifier was fitted with pooling={state.pooling!r}, whose head that class cannot "
            "hold. Fit with pooling='native'; or use save(), which holds any classifier."
        )


def learnt_by(state: FittedState, method: str) -> dict[str, np.ndarray]:
    """The arrays of ``method`` (or ``"head"``), named without it."""
    start = method + "/"
    return {
        name.removeprefix(start): value
        for name, value in state.delta.items()
        if name.startswith(start)
    }


def merged_model(backbone: Backbone, state: FittedState) -> nn.Module:
    """The model's own classifier with the delta merged into its weights.

    Raises
    ------
    ValueError
        If the values of a method cannot be merged (prefixes, adapters).
    """
    methods = in_attach_order(from_plain(state.tuning))
    body = backbone.private(torch.float32, torch.device("cpu"), "eager")
    for method in methods:
        try:
            method.merge(body, learnt_by(state, method.name))
        except ValueError as error:
            *most, last = map(repr, mergeable_methods())
            raise ValueError(
                f"{error} {', '.join(most)} and {last} can be; save() holds any classifier."
            ) from error
    return model_with_head(body, backbone, state)


def model_with_head(body: nn.Module, backbone: Backbone, state: FittedState) -> nn.Module:
    """The model's own classifier or regressor around ``body``, with the head of ``state``."""
    model, head = with_native_head(
        body,
        body.config,
        state.task.n_outputs,
        torch.Generator().manual_seed(0),
        backbone.trust_remote_code,
    )
    learnt = learnt_by(state, "head")
    values = {path: learnt["/".join(path.rsplit(".", 1))] for path in head}
    if odd := [path for path, weight in head.items() if values[path].shape != weight.shape]:
        raise ValueError(f"this delta belongs to another model: {odd[0]!r} does not fit.")
    with torch.no_grad():
        for path, weight in head.items():
            weight.copy_(tensor_of(values[path]))
    config: Any = model.config
    names = state.task.output_names
    config.id2label = dict(enumerate(names))
    config.label2id = {name: code for code, name in enumerate(names)}
    config.problem_type = state.task.problem_type
    if state.task.output_scale is not None:
        _rescale(last_linear(model, head, state.task.n_outputs), *state.task.output_scale)
    return model


def _rescale(layer: nn.Linear, offset: np.ndarray, factor: np.ndarray) -> None:
    """Let ``layer`` compute what its outputs times ``factor`` plus ``offset`` are now."""
    if layer.bias is None:
        raise ValueError(
            "the head of this model class has no bias, so that it cannot hold the mean of the "
            "targets. Use save() or export_onnx(), which hold any regressor."
        )
    with torch.no_grad():
        scale = tensor_of(factor).to(layer.weight)
        layer.weight.mul_(scale[:, None])
        layer.bias.mul_(scale).add_(tensor_of(offset).to(scale))
