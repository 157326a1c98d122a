"""The model's own classification head, over the shared backbone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from sklearn_lntune.backbone.loading import without_memory
from sklearn_lntune.backbone.placement import delta_type


def with_native_head(
    backbone: nn.Module,
    config: Any,
    n_outputs: int,
    generator: torch.Generator,
    trust_remote_code: bool = False,
) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Build the model's own classifier of texts or images around ``backbone``.

    Every weight that is not in the backbone's files belongs to the head: newly initialised
    and trainable, in the type of a delta. A pooler in the files stays frozen.

    Parameters
    ----------
    backbone : torch.nn.Module
        A shell, or a private copy, of the frozen encoder.
    config : transformers configuration
    n_outputs : int
    generator : torch.Generator
        For the initial values of the head.

    Returns
    -------
    model : torch.nn.Module
        Maps the model's inputs to an output with ``logits``.
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
        model = _empty_native(config, trust_remote_code)
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
    model.config.pad_token_id = config.pad_token_id

    reference = next(weight for weight in backbone.parameters() if not weight.is_meta)
    spread = getattr(config, "initializer_range", 0.02)
    head: dict[str, nn.Parameter] = {}
    for path, module in list(model.named_modules()):
        # Parameters that are still on the meta device are not the backbone's, so the head's.
        fresh = [(n, p) for n, p in module.named_parameters(recurse=False) if p.is_meta]
        for name, weight in fresh:
            values = torch.zeros(weight.shape, dtype=delta_type(reference.dtype))
            if weight.dim() > 1:
                values.normal_(0.0, spread, generator=generator)
            elif "norm" in type(module).__name__.lower() and name == "weight":
                values.fill_(1.0)
            head[f"{path}.{name}"] = nn.Parameter(values.to(reference.device))
            setattr(module, name, head[f"{path}.{name}"])
        if fresh:
            module.register_forward_pre_hook(_into_own_type)
    return model.eval(), head


def reads_pooler(config: Any, trust_remote_code: bool) -> bool:
    """Whether the model's own head reads the backbone's pooler."""
    model = _empty_native(config, trust_remote_code)
    return getattr(getattr(model, model.base_model_prefix), "pooler", None) is not None


def _empty_native(config: Any, trust_remote_code: bool) -> Any:
    """The model's own ``...ForSequenceClassification``, or ``...ForImageClassification``.

    It is on the meta device.
    """
    images = type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    texts = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    kind = (
        AutoModelForImageClassification
        if images and not texts
        else AutoModelForSequenceClassification
    )
    with without_memory():
        return kind.from_config(config, trust_remote_code=trust_remote_code)


def last_linear(model: nn.Module, head: dict[str, nn.Parameter], n_outputs: int) -> nn.Linear:
    """The layer of the head that computes the logits."""
    owners = {path.rpartition(".")[0] for path in head}
    linears = [
        module
        for path, module in model.named_modules()
        if path in owners and isinstance(module, nn.Linear) and module.out_features == n_outputs
    ]
    return linears[-1]


def _match_pooler(own: nn.Module, backbone: nn.Module) -> None:
    """Give ``backbone`` a new pooler if its model class reads one, and remove it otherwise."""
    wanted, there = getattr(own, "pooler", None), getattr(backbone, "pooler", None)
    if (wanted is None) != (there is None):
        setattr(backbone, "pooler", wanted)  # noqa: B010 - mypy knows no optional modules


def _into_own_type(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Convert the inputs of the head to its type, which may differ from the backbone's."""
    kind = next(module.parameters(recurse=False)).dtype
    return tuple(value.to(kind) for value in inputs)
