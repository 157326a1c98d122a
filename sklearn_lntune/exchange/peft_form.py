"""Names in peft's files, shared by reading and writing."""

from __future__ import annotations

from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from sklearn_lntune.backbone.pool import Backbone

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: What stands before a path of the model's own classifier.
ROOT = "base_model.model."


def base_prefix(backbone: Backbone) -> str:
    """What stands before a path of the backbone in the model's own classifier."""
    try:
        model = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(backbone.config)]
    except KeyError as error:
        raise ValueError(
            f"transformers has no classifier for {type(backbone.config).__name__} of backbone "
            f"{backbone.source.name!r}, so peft has no adapter of one."
        ) from error
    return f"{model.base_model_prefix}."
