"""Decide which kind of input a backbone takes: texts, or images.

A model takes images if transformers says so (its main input is ``pixel_values``). Of models with a
tower for texts and one for images, that for images is used if there is an image processor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.files import read_json
from sklearn_lntune.backbone.resolve import IMAGE_PROCESSOR_FILES, check_reference, resolve
from sklearn_lntune.backbone.where import BackboneRef
from sklearn_lntune.inputs.base import Input
from sklearn_lntune.inputs.image.opening import ImageInput
from sklearn_lntune.inputs.image.picture import require_pillow
from sklearn_lntune.inputs.text.opening import TextInput


def input_of_backbone(params: Mapping[str, Any]) -> Input:
    """The input that the backbone in the ``params`` of an estimator takes.

    Without a backbone it is texts; the error comes when the backbone is loaded. Torch is imported
    only if the files look like those of a model of images.
    """
    ref = BackboneRef.from_params(params)
    try:
        check_reference(ref.name, ref.revision, ref.trust_remote_code)
    except (ValueError, TypeError):
        return _input(params, images=False)
    pool = sys.modules.get("sklearn_lntune.backbone.pool")
    known = pool and pool.pooled(ref.name, ref.revision, ref.trust_remote_code)
    if known:
        return _input(params, images=known.grid is not None)
    if not _may_take_images(ref):
        return _input(params, images=False)
    from sklearn_lntune.backbone.pool import get_backbone

    backbone = get_backbone(ref.name, ref.revision, ref.trust_remote_code)
    # Whether its image processor can be used is found out before X is blamed.
    return _input(params, images=backbone.grid is not None)


def input_of_fit(fitted: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Input:
    """The input that the backbone of a fit takes, whose identity is ``fitted``.

    ``params`` are those of the estimator, if it may be given tables.
    """
    parts = fitted.get("parts")
    return _input(params, images=isinstance(parts, Mapping) and "image_processor" in parts)


def _input(params: Mapping[str, Any] | None, *, images: bool) -> Input:
    if images:
        require_pillow("for a backbone of images")
    if params is None:
        return ImageInput() if images else TextInput()
    if images:
        return ImageInput(params.get("image_column", "auto"), params["label_column"])
    return TextInput(params["text_column"], params["label_column"])


def _may_take_images(ref: BackboneRef) -> bool:
    """Whether the files of a backbone, which need not exist, may be of a model of images."""
    try:
        if isinstance(ref.name, str | os.PathLike) and os.path.isdir(ref.name):
            folder = Path(ref.name)
        else:
            folder = resolve(ref.name, ref.revision, weights=False).folder
        config = read_json(folder / "config.json", dict)
    except ValueError:
        return False
    if any((folder / name).is_file() for name in IMAGE_PROCESSOR_FILES):
        return True
    return {"image_size", "patch_size"} <= config.keys()
