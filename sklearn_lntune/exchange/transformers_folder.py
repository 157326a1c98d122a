"""Plain transformers folders with the delta merged, which do not need this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.image_processor import load_image_processor
from sklearn_lntune.backbone.loading import load_tokenizer, quiet
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.exchange.merged_model import check_native, merged_model
from sklearn_lntune.persistence.state import FittedState


def write_transformers(folder: Path, backbone: Backbone, state: FittedState) -> None:
    """Write a folder of the model's own classifier, with its tokenizer or image processor.

    Raises
    ------
    ValueError
        If the model class cannot hold the head, or the weights what was learnt.
    """
    check_native(state, "export_transformers")
    model: Any = merged_model(backbone, state)
    processor: Any
    if backbone.takes_images:
        processor = load_image_processor(backbone.source, backbone.trust_remote_code)
    else:
        processor = load_tokenizer(backbone.source, backbone.trust_remote_code)
        processor.model_max_length = state.max_length
    with quiet():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
