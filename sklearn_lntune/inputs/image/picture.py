"""One image of an ``X``, in whatever form it came, decoded when its pixels are needed."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Hashable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from sklearn_lntune.inputs.looks import is_pil_image
from sklearn_lntune.inputs.text.check import is_missing

#: Channels of an array (height, width, channels): grey, RGB, and RGB with transparency.
_CHANNELS = (1, 3, 4)
#: Modes of Pillow that have more than eight bits per channel, and no common range.
_WIDE_MODES = ("I", "F")
_FORMS = (
    "the path of a file, an array (height, width) or (height, width, 3), a PIL image, the bytes of "
    "a file, or a cell of a datasets Image column"
)


class Picture:
    """An image; equal to another one with the same content or the same path.

    Parameters
    ----------
    cell : object
        A path, bytes, a mapping with ``"bytes"`` or ``"path"``, an array, or a PIL image.
    where : str
        What errors call it, for instance ``"row 3 of X"``.

    Raises
    ------
    ValueError, TypeError
        If ``cell`` is missing or no image. Of a file, only the header is read.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.zeros((4, 6), np.uint8)
    >>> Picture(grey, "row 0 of X") == Picture(grey.copy(), "row 1 of X")
    True
    >>> Picture(grey, "row 0 of X").rgb().shape
    (4, 6, 3)
    """

    __slots__ = ("_key", "_source", "where")

    def __init__(self, cell: Any, where: str) -> None:
        self.where = where
        self._source, self._key = self._checked(cell)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def rgb(self) -> np.ndarray:
        """The pixels, as uint8 of shape (height, width, 3).

        Raises
        ------
        ValueError
            If they cannot be decoded.
        """
        if isinstance(self._source, np.ndarray):
            pixels = self._source
            if pixels.ndim == 2 or pixels.shape[2] == 1:
                return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
            return pixels[..., :3]
        try:
            return _decoded(self._source)
        except Exception as error:  # of Pillow, which has many
            raise self._unreadable(error) from error

    def _checked(self, cell: Any) -> tuple[Any, Hashable]:
        """The source of the pixels, and a key that equal images share."""
        if isinstance(cell, Mapping) and {"bytes", "path"} & cell.keys():
            cell = cell["path"] if cell.get("bytes") is None else cell["bytes"]
        if isinstance(cell, str | os.PathLike):
            return self._checked_path(os.fspath(cell))
        if isinstance(cell, bytes | bytearray | memoryview):
            content = bytes(cell)
            self._check_header(io.BytesIO(content))
            return content, ("content", blake2b(content).digest())
        if is_pil_image(cell):
            if getattr(cell, "filename", ""):
                self.where += f" ({cell.filename})"
            return cell, ("object", id(cell))
        if hasattr(cell, "__array__"):
            pixels = self._checked_array(np.asarray(cell))
            key = blake2b(np.ascontiguousarray(pixels).data).digest()
            return pixels, ("pixels", pixels.shape, key)
        if is_missing(cell):
            raise ValueError(f"{self.where} has a missing image ({cell!r}); drop such rows.")
        raise TypeError(
            f"{self.where} is {type(cell).__name__} ({cell!r:.60}), not an image. The backbone "
            f"takes images: each must be {_FORMS}."
        )

    def _checked_path(self, path: str | bytes) -> tuple[Any, Hashable]:
        path = os.fsdecode(path)
        if not os.path.isfile(path):
            raise ValueError(
                f"{self.where} is {path!r:.200}, and there is no such file. The backbone takes "
                "images, and a string is the path of one; for texts, choose a backbone of texts."
            )
        self.where += f" ({path})"
        self._check_header(path)
        return path, ("path", path)

    def _check_header(self, file: Any) -> None:
        require_pillow("to read image files")
        from PIL import Image

        try:
            with Image.open(file):
                pass
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ValueError:
        why = "not an image that Pillow knows"
        if type(error).__name__ != "UnidentifiedImageError":
            why = " ".join(str(error).split()) or type(error).__name__
        return ValueError(
            f"{self.where} cannot be read as an image ({why:.200}). Replace it or leave its row "
            "out."
        )

    def _checked_array(self, pixels: np.ndarray) -> np.ndarray:
        """``pixels`` as uint8; their shape and range decide whether they are an image."""
        shape = pixels.shape
        if pixels.ndim == 3 and shape[2] not in _CHANNELS and shape[0] in _CHANNELS:
            raise ValueError(
                f"{self.where} is an array of shape {shape}, whose channels come first; move them "
                "to the end, for instance with np.moveaxis(image, 0, -1)."
            )
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and shape[2] not in _CHANNELS):
            raise ValueError(
                f"{self.where} is an array of shape {shape}, not an image: it must be (height, "
                "width) or (height, width, 3)."
            )
        if 0 in shape:
            raise ValueError(f"{self.where} is an array of shape {shape}, without any pixel.")
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind == "b":
            return pixels.astype(np.uint8) * np.uint8(255)
        if pixels.dtype.kind not in "iuf":
            raise TypeError(f"{self.where} is an array of {pixels.dtype}, not of numbers.")
        low, high = pixels.min(), pixels.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"{self.where} has pixels that are NaN or infinite.")
        largest = 1 if pixels.dtype.kind == "f" else 255
        if low < 0 or high > largest:
            kind = "fractions from 0 to 1" if largest == 1 else "integers from 0 to 255"
            raise ValueError(
                f"{self.where} has pixels from {low:g} to {high:g} of type {pixels.dtype}, and "
                f"arrays of this type must hold {kind}. Scale them, for instance divide all images "
                "by the largest value that is possible, as floats."
            )
        return (pixels * 255).round().astype(np.uint8) if largest == 1 else pixels.astype(np.uint8)


def require_pillow(why: str) -> None:
    """Raise an ImportError that says how to install Pillow if it is missing.

    Raises
    ------
    ImportError
    """
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(f"Pillow is needed {why}: pip install 'sklearn-lntune[images]'.")


def _decoded(source: Any) -> np.ndarray:
    """Pixels of a file, of the bytes of one, or of a PIL image."""
    from PIL import Image, ImageOps

    if is_pil_image(source):
        return _pixels_of(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        # Cameras store how an image is turned rather than turn it.
        return _pixels_of(ImageOps.exif_transpose(image))


def _pixels_of(image: Any) -> np.ndarray:
    """Pixels of a PIL image, as `Picture.rgb` returns them."""
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint16)
        grey = (wide >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in _WIDE_MODES:
        raise ValueError(
            f"its mode is {image.mode!r}, whose range is not known: scale it to eight bits"
        )
    return np.asarray(image.convert("RGB"))
