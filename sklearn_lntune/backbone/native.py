"""The model's own classification head, over the shared backbone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from sklearn_lntune.backbone.loading import freeze
from sklearn_lntune.backbone.placement import delta_type


def with_native_head(
    backbone: nn.Module, config: Any, n_outputs: int, generator: torch.Generator
) -> tuple[nn.Module, nn.Module, dict[str, nn.Parameter]]:
    """Build the model's own ``...ForSequenceClassification`` around ``backbone``.

    Everything outside the base model is the head: fresh and trainable, in the type of a
    delta. A pooler inside the base model keeps its frozen weights.

    Parameters
    ----------
    backbone : torch.nn.Module
        A shell, or a private copy, of the frozen encoder.
    config : transformers configuration
    n_outputs : int
    generator : torch.Generator
        Draws the head's first values.

    Returns
    -------
    model : torch.nn.Module
        Maps the model's inputs to an output with ``logits``.
    base : torch.nn.Module
        The part of ``model`` that is ``backbone``.
    head : dict of str to torch.nn.Parameter
        By path in ``model``.
    """
    if config.is_encoder_decoder:
        raise ValueError(
            f"pooling='native' is not possible for {type(backbone).__name__}: its own head reads "
            "the decoder, and only the encoder is used. Choose 'mean'."
        )
    config = copy.deepcopy(config)
    config.num_labels = n_outputs
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"pooling='native': transformers has no classification head for "
            f"{type(backbone).__name__}. Choose 'cls', 'mean', 'max' or 'last'."
        ) from error
    prefix = model.base_model_prefix
    _match_pooler(getattr(model, prefix), backbone)
    setattr(model, prefix, backbone)
    model.config = backbone.config
    model.config.num_labels = n_outputs
    model.config.problem_type = None
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0

    reference = next(backbone.parameters())
    spread = getattr(config, "initializer_range", 0.02)
    head: dict[str, nn.Parameter] = {}
    for path, module in model.named_modules():
        if path == prefix or path.startswith(prefix + ".") or module is model:
            continue
        for name, weight in list(module.named_parameters(recurse=False)):
            values = torch.zeros(weight.shape, dtype=delta_type(reference.dtype))
            if weight.dim() > 1:
                values.normal_(0.0, spread, generator=generator)
            elif "norm" in type(module).__name__.lower() and name == "weight":
                values.fill_(1.0)
            parameter = nn.Parameter(values.to(reference.device))
            setattr(module, name, parameter)
            head[f"{path}.{name}"] = parameter
    freeze_all_but(model, head)
    for name, child in model.named_children():
        if name != prefix:
            child.register_forward_pre_hook(_into_head_type)
    return model, backbone, head


def last_linear(model: nn.Module, head: dict[str, nn.Parameter], n_outputs: int) -> nn.Linear:
    """The layer of the head that gives the logits."""
    owners = {path.rpartition(".")[0] for path in head}
    linears = [
        module
        for path, module in model.named_modules()
        if path in owners and isinstance(module, nn.Linear) and module.out_features == n_outputs
    ]
    return linears[-1]


def freeze_all_but(model: nn.Module, head: dict[str, nn.Parameter]) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    freeze(model)
    for parameter in (*trained, *head.values()):
        parameter.requires_grad_(True)


def _match_pooler(own: nn.Module, backbone: nn.Module) -> None:
    """Drop a pooler that the model class does not read (RoBERTa)."""
    if getattr(own, "pooler", None) is None and getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None


def _into_head_type(
    module: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """The head computes in its own type, whatever the backbone's."""
    kind = next((p.dtype for p in module.parameters()), None)
    return inputs if kind is None else tuple(value.to(kind) for value in inputs)
