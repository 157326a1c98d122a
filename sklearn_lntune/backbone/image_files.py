"""Find out from a backbone's files whether it has an image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.files import read_json
from sklearn_lntune.backbone.resolve import IMAGE_PROCESSOR_FILES

#: Model types with a tower for texts and one for images, which work without each other.
TWO_TOWERS = ("clip", "siglip")


def image_processor_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the image processor in ``folder``; None without one.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    alone, joint = (folder / name for name in IMAGE_PROCESSOR_FILES)
    config = read_json(joint, dict).get("image_processor") if joint.is_file() else None
    if not isinstance(config, dict):
        config = read_json(alone, dict) if alone.is_file() else {}
    auto = config.get("auto_map")
    # The files of speech models have the same name; old ones of images say no type.
    named = {"image_processor_type", "image_mean"} & config.keys()
    return config if named or (isinstance(auto, dict) and "AutoImageProcessor" in auto) else None
