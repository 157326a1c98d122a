"""Recognise images by their look, in order to say so where texts are expected."""

from __future__ import annotations

import os
from typing import Any

#: Endings of the names of image files.
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: First bytes of image files: JPEG, PNG, GIF, TIFF, BMP, WebP.
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF")
TAKES_TEXTS = (
    "The backbone takes texts; for images, pass as backbone a model of images with its image "
    "processor, for instance a ViT."
)


def is_pil_image(cell: Any) -> bool:
    """Whether ``cell`` is an image of Pillow, which is not imported for that."""
    return any(
        kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(cell).__mro__
    )


def looks_like_image(cell: Any) -> bool:
    """Whether ``cell`` is an image, or the content or the name of the file of one.

    Examples
    --------
    >>> looks_like_image(b"GIF89a..."), looks_like_image("a sentence.")
    (True, False)
    """
    if isinstance(cell, bytes):
        return cell.startswith(_STARTS)
    if isinstance(cell, str):
        return cell.lower().endswith(_ENDINGS) and os.path.isfile(cell)
    if isinstance(cell, os.PathLike):
        return os.fsdecode(cell).lower().endswith(_ENDINGS)
    if isinstance(cell, dict):
        return {"bytes", "path"} <= cell.keys()
    return is_pil_image(cell) or getattr(cell, "ndim", 0) in (2, 3)
