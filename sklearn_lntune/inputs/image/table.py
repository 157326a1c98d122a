"""The pixels of many images as the model takes them, in memory or in a mapped file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

#: Bytes of the digest of an image.
DIGEST_SIZE = 16


@dataclass(frozen=True)
class PixelTable:
    """The pixels of many images of one shape.

    Attributes
    ----------
    parts : tuple of ndarray of float32 of shape (n_images, channels, height, width)
        May hold other rows, too; tables share them, since they are large.
    part, place : ndarray of int of shape (n_rows,)
        Row ``i`` is ``parts[part[i]][place[i]]``.
    digests : ndarray of uint8 of shape (n_rows, DIGEST_SIZE)
        Of each row's pixels.
    n_patches : int
        What an image takes of the model's length.
    n_added : int
        Tokens that the model adds to the patches of an image.
    """

    parts: tuple[np.ndarray, ...]
    part: np.ndarray
    place: np.ndarray
    digests: np.ndarray
    n_patches: int
    n_added: int

    def __len__(self) -> int:
        return len(self.part)

    @property
    def lengths(self) -> np.ndarray:
        """Patches of each row."""
        return np.full(len(self), self.n_patches, np.int32)

    @property
    def kind(self) -> Hashable:
        """The shape of an image."""
        return self.parts[0].shape[1:]

    @property
    def nbytes(self) -> int:
        """Memory that it takes; pixels in a file count, too."""
        return sum(part.nbytes for part in self.parts) + self.place.nbytes + self.digests.nbytes

    @property
    def n_truncated(self) -> int:
        """No image is ever cut."""
        return 0

    def take(self, rows: np.ndarray) -> PixelTable:
        """Only ``rows``, in their order; the pixels themselves are shared."""
        return dataclasses.replace(
            self, part=self.part[rows], place=self.place[rows], digests=self.digests[rows]
        )

    def join(self, others: Sequence[PixelTable]) -> PixelTable:
        """These rows and after them those of ``others``; the pixels themselves are shared."""
        tables = [self, *others]
        n_before = np.cumsum([0, *(len(table.parts) for table in tables)])
        return dataclasses.replace(
            self,
            parts=tuple(part for table in tables for part in table.parts),
            part=np.concatenate([t.part + n for t, n in zip(tables, n_before, strict=False)]),
            place=np.concatenate([table.place for table in tables]),
            digests=np.concatenate([table.digests for table in tables]),
        )

    def key(self, row: int) -> bytes:
        """Digest of the row's pixels."""
        return self.digests[row].tobytes()

    def digest(self) -> str:
        """SHA-256 of what the rows hold, wherever they are."""
        content = str(self.kind).encode() + np.ascontiguousarray(self.digests).tobytes()
        return hashlib.sha256(content).hexdigest()

    def n_tokens(self, rows: np.ndarray) -> np.ndarray:
        """Patches, and the tokens that the model adds."""
        return np.full(len(rows), self.n_patches + self.n_added)

    def mask(self, rows: np.ndarray, padded_length: Callable[[int], int] = int) -> np.ndarray:
        """All tokens: nothing is padded."""
        return np.ones((len(rows), self.n_patches + self.n_added), bool)

    def collate(
        self, rows: np.ndarray, padded_length: Callable[[int], int] = int
    ) -> dict[str, np.ndarray]:
        """The model's inputs for ``rows``.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.
        padded_length : callable, optional
            Without effect, since images have one length.

        Returns
        -------
        dict of str to ndarray of shape (len(rows), channels, height, width)
        """
        pixels = np.empty((len(rows), *self.parts[0].shape[1:]), np.float32)
        for at, row in enumerate(rows):
            pixels[at] = self.parts[self.part[row]][self.place[row]]
        return {"pixel_values": pixels}
