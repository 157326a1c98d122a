"""Tiny random backbones of images, built from configurations, and images for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklearn_lntune import LNTunedTransformerClassifier

SIDE, PATCH, HIDDEN, LAYERS = 8, 4, 16, 2
N_PATCHES = (SIDE // PATCH) ** 2

_VIT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": SIDE,
    "patch_size": PATCH,
}

#: family -> (configuration class, its other arguments, image processor, pooling "auto",
#: tokens in front of the patches)
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str, int]] = {
    "vit": ("ViTConfig", {}, "ViTImageProcessorPil", "cls", 1),
    "deit": ("DeiTConfig", {}, "DeiTImageProcessorPil", "cls", 2),
    "dinov2": ("Dinov2Config", {"layerscale_value": 0.5}, "BitImageProcessorPil", "cls", 1),
    "beit": (
        "BeitConfig",
        {"layer_scale_init_value": 0.5, "use_relative_position_bias": True, "vocab_size": 32},
        "BeitImageProcessorPil",
        "pooler",
        1,
    ),
    "clip": ("CLIPVisionConfig", {"projection_dim": 16}, "CLIPImageProcessorPil", "pooler", 1),
    "siglip": ("SiglipVisionConfig", {}, "SiglipImageProcessorPil", "pooler", 0),
}


def save_image_processor(folder: Path, family: str = "vit", **overrides: Any) -> Path:
    import transformers

    sides = {"height": SIDE, "width": SIDE}
    options = {"size": sides, "crop_size": sides, **overrides}
    getattr(transformers, FAMILIES[family][2])(**options).save_pretrained(folder)
    return folder


def save_image_backbone(folder: Path, family: str = "vit", **overrides: Any) -> Path:
    """A random tiny backbone of ``family`` with its image processor."""
    import transformers
    from transformers import AutoModel

    name, arguments = FAMILIES[family][:2]
    config = getattr(transformers, name)(**(_VIT | arguments | overrides))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        # Not at their ideal values, so that a forgotten one shows; no parameter at zero.
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return save_image_processor(folder, family)


def pictures(n: int = 24, height: int = 10, width: int = 9) -> np.ndarray:
    """Images of three kinds: dark, light, and half of each; the labels are ``kinds(n)``."""
    random = np.random.default_rng(0)
    images = random.integers(0, 90, (n, height, width, 3), dtype=np.uint8)
    images[1::3] += 150
    images[2::3, : height // 2] += 150
    return images


def kinds(n: int = 24) -> np.ndarray:
    return np.array(["dark", "light", "half"])[np.arange(n) % 3]


def image_clf(folder: Path, **params: Any) -> LNTunedTransformerClassifier:
    """An unfitted classifier, quick and exact."""
    quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
    exact = {"precision": "float64", "device": "cpu"}
    return LNTunedTransformerClassifier(folder, **{**quick, **exact, **params})
