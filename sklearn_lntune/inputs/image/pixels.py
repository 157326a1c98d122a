"""Turn images into the pixels that a backbone takes, with its image processor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from sklearn_lntune.inputs.array_file import ArrayFile
from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.image.picture import Picture
from sklearn_lntune.inputs.image.table import DIGEST_SIZE, PixelTable

_CHUNK = 32  # images read and processed at once
#: Bytes of pixels kept in memory; with more, they are written to a temporary file.
MEMORY_BYTES = 1 << 28


@dataclass(frozen=True)
class Grid:
    """What a backbone makes of an image.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width, as its image processor gives them.
    n_patches : int
    n_tokens : int
        Patches, and tokens that the model adds in front of them, such as a class token.
    n_pooled : int or None
        Size of the vector that the model itself makes of an image, if it makes one.
    """

    shape: tuple[int, ...]
    n_patches: int
    n_tokens: int
    n_pooled: int | None

    @property
    def n_added(self) -> int:
        """Tokens in front of the patches."""
        return self.n_tokens - self.n_patches


class Pixels:
    """An image processor, for any number of threads.

    Parameters
    ----------
    processor : transformers image processor
    grid : Grid
    """

    def __init__(self, processor: Any, grid: Grid) -> None:
        self._processor = processor
        self._grid = grid

    def table(self, examples: Examples, limit: int, stride: int | None = None) -> PixelTable:
        """Pixels of images; none is cut, whatever ``limit`` and ``stride`` are.

        Those of a stream, and more than `MEMORY_BYTES`, are written to disk and mapped.

        Raises
        ------
        ValueError
            If an image cannot be decoded or processed; the error names its row and path.
        """
        size = np.dtype(np.float32).itemsize * math.prod(self._grid.shape)
        in_memory = examples.held is not None and len(examples.held) * size <= MEMORY_BYTES
        file = None if in_memory else ArrayFile(np.float32)
        held: list[np.ndarray] = []
        digests = bytearray()
        for chunk in examples.chunks(_CHUNK):
            rows: Any = chunk.rows
            for picture in rows:
                pixels = processed(self._processor, picture)
                self._check_shape(pixels, picture)
                digests += blake2b(pixels.data, digest_size=DIGEST_SIZE).digest()
                if file is None:
                    held.append(pixels)
                else:
                    file.write(pixels.tobytes())
        pixels = np.stack(held) if file is None else file.mapped()
        found = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_SIZE)
        return PixelTable(
            (pixels.reshape(-1, *self._grid.shape),),
            np.zeros(len(found), np.intp),
            np.arange(len(found)),
            found,
            self._grid.n_patches,
            self._grid.n_added,
        )

    def example(self, n_columns: int) -> Rows:
        """Two small images, one dark and one light."""
        return Rows(
            [Picture(np.full((8, 8, 3), level, np.uint8), "an example") for level in (0, 255)]
        )

    def _check_shape(self, pixels: np.ndarray, picture: Picture) -> None:
        if pixels.shape != self._grid.shape:
            raise ValueError(
                f"the backbone's image processor makes an array of shape {pixels.shape} of "
                f"{picture.where}, and of others {self._grid.shape}. Images of one shape are "
                "needed: resize them before, or save an image processor that resizes to a fixed "
                "height and width, or crops."
            )


def processed(processor: Any, picture: Picture) -> np.ndarray:
    """What ``processor`` makes of ``picture``: float32 of shape (channels, height, width).

    Raises
    ------
    ValueError
        If the image cannot be decoded, or the processor fails on it.
    """
    image = picture.rgb()
    try:
        found = processor(images=image, input_data_format="channels_last", return_tensors="np")
        pixels = np.ascontiguousarray(found["pixel_values"][0], np.float32)
    except Exception as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"the backbone's image processor fails on {picture.where}, an image of "
            f"{image.shape[0]} x {image.shape[1]} pixels ({type(error).__name__}: {why:.300})."
        ) from error
    if pixels.ndim != 3:
        raise ValueError(
            f"the backbone's image processor makes an array of shape {pixels.shape} of "
            f"{picture.where}; one of channels, height and width is needed."
        )
    return pixels
