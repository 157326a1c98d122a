"""Load the image processor of a backbone, check it, and identify it by what it does.

It is always the one that computes with Pillow and NumPy. That of torchvision, which transformers
prefers if torchvision is installed, rounds differently: what a classifier has learnt would depend
on what else is installed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoImageProcessor

from sklearn_lntune.backbone.checking import foreign_errors
from sklearn_lntune.backbone.digests import digest_of
from sklearn_lntune.backbone.image_files import image_processor_config
from sklearn_lntune.backbone.loading import errors_of, quiet
from sklearn_lntune.backbone.resolve import IMAGE_PROCESSOR_FILES, Source
from sklearn_lntune.inputs.image.picture import Picture, require_pillow
from sklearn_lntune.inputs.image.pixels import Grid, processed

#: More than any model takes; images of that size are made of every input.
_LARGEST_SIDE = 8192
#: Keys of a configuration that record how it was saved, besides private ones.
_INCIDENTAL = (
    *("auto_map", "feature_extractor_type", "image_processor_type", "processor_class"),
    "transformers_version",
)
#: Height, width and channels of the probes; none for grey. Never change them: saved classifiers
#: contain digests of what image processors make of them.
_PROBES = ((96, 64, 3), (5, 7, 3), (40, 40), (64, 300, 3))


def load_image_processor(source: Source, trust_remote_code: bool) -> Any:
    """The image processor in ``source``.

    Raises
    ------
    ImportError
        If Pillow is missing.
    ValueError
        If there is none, or its configuration is not possible.
    """
    require_pillow(f"for the backbone {source.name!r}, which takes images")
    problem = (
        f"no image processor could be read from {source.folder}; save one there with "
        "AutoImageProcessor.from_pretrained(original).save_pretrained(folder)"
    )
    with errors_of(source), quiet():
        config = image_processor_config(source.folder)
        if config is None:
            raise ValueError(f"{problem}.")
        _check_config(source.folder, config)
        with foreign_errors(problem):
            return AutoImageProcessor.from_pretrained(
                source.folder, backend="pil", trust_remote_code=trust_remote_code
            )


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    """Refuse sizes and factors that are not possible, before anything is computed with them."""
    for key in ("size", "crop_size", "pad_size"):
        value = config.get(key)
        for side in _numbers_in(value):
            if side is not None and not (_is_number(side) and 1 <= side <= _LARGEST_SIDE):
                raise ValueError(
                    f"{folder}: its image processor claims {key}={value!r:.80}; sides are from 1 "
                    f"to {_LARGEST_SIDE} pixels. Do not trust this folder, or correct the file."
                )
    for key in ("image_mean", "image_std", "rescale_factor"):
        value = config.get(key)
        for number in _numbers_in(value):
            valid = number is None or (_is_number(number) and math.isfinite(number))
            if not valid or (key == "image_std" and number == 0):
                raise ValueError(
                    f"{folder}: its image processor claims {key}={value!r:.80}, with which no "
                    "image can be normalised; correct the file."
                )


def _numbers_in(value: Any) -> list[Any]:
    """The items of a mapping or list, or else the value itself."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def grid_of(source: Source, skeleton: nn.Module, processor: Any) -> Grid:
    """What the model ``skeleton``, on the meta device, makes of an image.

    Raises
    ------
    ValueError
        If model and image processor do not belong together, or the model is not a plain vision
        transformer.
    """
    model = type(skeleton).__name__
    with errors_of(source):
        shape = processed(processor, _probes()[0]).shape
        problem = (
            f"{model} cannot compute from images of {shape[1]} x {shape[2]} pixels and {shape[0]} "
            "channels, which its image processor makes. Do both belong to one model?"
        )
        with foreign_errors(problem), torch.no_grad():
            output: Any = skeleton(pixel_values=torch.zeros(1, *shape, device="meta"))
        states = getattr(output, "last_hidden_state", None)
        patch: Any = getattr(skeleton.config, "patch_size", None)
        sides = patch if isinstance(patch, list | tuple) else (patch, patch)
        if states is None or states.dim() != 3 or patch is None:
            raise ValueError(
                f"{model} is not a vision transformer with one vector for each patch of an image, "
                "and others are not supported."
            )
        n_patches = (shape[1] // sides[0]) * (shape[2] // sides[1])
        if states.shape[1] < n_patches:
            raise ValueError(
                f"{model} joins patches on the way up ({n_patches} become {states.shape[1]}), and "
                "such models are not supported."
            )
    pooled = getattr(output, "pooler_output", None)
    n_pooled = int(pooled.shape[-1]) if pooled is not None and pooled.dim() == 2 else None
    return Grid(shape, n_patches, int(states.shape[1]), n_pooled)


def image_processor_parts(processor: Any, folder: Path) -> dict[str, str]:
    """Class, settings and behaviour of an image processor.

    Returns
    -------
    dict of str to str
        ``image_processor`` is the name of its class; the others are digests: ``settings`` of its
        configuration, ``pixels`` of what it makes of the probes, and ``processor_files`` of files.
    """
    settings = {
        key: value
        for key, value in processor.to_dict().items()
        if not key.startswith("_") and key not in _INCIDENTAL
    }
    files = [folder / name for name in IMAGE_PROCESSOR_FILES if (folder / name).is_file()]
    return {
        "image_processor": type(processor).__name__.removesuffix("Pil").removesuffix("Fast"),
        "settings": digest_of(settings),
        "pixels": digest_of([_made(processor, picture) for picture in _probes()]),
        "processor_files": digest_of([[file.name, digest_of(file.read_bytes())] for file in files]),
    }


def _probes() -> list[Picture]:
    """Small images of different shapes, with edges and gradients."""
    pictures = []
    for shape in _PROBES:
        row, column, *channel = np.indices(shape)
        level = 7 * row + 3 * column + row * column // 5 + sum(85 * each for each in channel)
        pictures.append(Picture((level % 256).astype(np.uint8), f"a probe of shape {shape}"))
    return pictures


def _made(processor: Any, picture: Picture) -> str:
    """Digest of the pixels of ``picture``; of some images, none may be made."""
    try:
        pixels = processed(processor, picture)
    except ValueError as error:
        return type(error.__cause__).__name__
    return digest_of([list(pixels.shape), digest_of(pixels.tobytes())])
