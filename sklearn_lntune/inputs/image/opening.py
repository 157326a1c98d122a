"""Open an ``X`` of images: in memory, or in a column of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn_lntune.checks import column_names
from sklearn_lntune.inputs.base import Input, Opened, Rows
from sklearn_lntune.inputs.image.check import check_images
from sklearn_lntune.inputs.image.picture import Picture
from sklearn_lntune.inputs.stream import Stream, check_label_column
from sklearn_lntune.inputs.tables import Source, open_source


class ImageStream(Stream):
    """The images in a column of a table."""

    noun = "image"

    def _checked(self, cells: Sequence[Any], column: str, start: int) -> list[Picture]:
        where = f"of column {column!r} of X"
        return [Picture(cell, f"row {start + row} {where}") for row, cell in enumerate(cells)]


class ImageInput(Input):
    """Images.

    Parameters
    ----------
    image_column : "auto" or str
        The column of a table that holds the images.
    label_column : str or sequence of str
        That of the labels, or those.
    """

    def __init__(self, image_column: Any = "auto", label_column: Any = "label") -> None:
        self.image_column = image_column
        self.label_column = label_column

    def open(self, X: Any, y: Any = None) -> Opened:
        """Check ``X``; the images of a table are not read yet.

        Parameters
        ----------
        X : array-like of images, ``datasets.Dataset``, ``datasets.IterableDataset`` or path
            A path is that of a Parquet file, or of a folder of them.
        y : array-like, optional

        Raises
        ------
        ValueError, TypeError
            As `check_images`; or if the column is not there, or holds no images.
        """
        if isinstance(X, str | os.PathLike) and _is_image_folder(Path(X)):
            raise ValueError(
                f"X={os.fspath(X)!r} is a folder without Parquet files. Pass the paths of the "
                "images in it as a list, or load it with datasets.load_dataset('imagefolder', "
                "data_dir=...)."
            )
        source = None if _is_one_image(X) else open_source(X)
        if source is None:
            names = column_names(X)
            header = X if names is not None or len(getattr(X, "shape", ())) == 2 else None
            return Opened(self.rows(X), header, y, self.label_column)
        check_label_column(self.label_column)
        stream = ImageStream(source, (self._chosen(source),))
        return Opened(stream, stream.header(), y, self.label_column)

    def rows(self, X: Any) -> Rows:
        """The images of an ``X`` that is in memory.

        Raises
        ------
        ValueError, TypeError
            As `check_images`.
        """
        return Rows(check_images(X))

    def _chosen(self, source: Source) -> str:
        """The column of the images."""
        name = self.image_column
        if not isinstance(name, str):
            raise ValueError(f"image_column must be 'auto' or the name of a column; got {name!r}.")
        if name != "auto":
            if name not in source.names:
                raise ValueError(
                    f"image_column={name!r} is not a column of X, which has {source.names}."
                )
            return name
        if "image" in source.names:
            return "image"
        if len(source.images) == 1:
            return source.images[0]
        if not source.names:
            raise ValueError("X contains no images (0 sample(s)).")
        raise ValueError(
            f"image_column='auto' does not know which column of X holds the images: it has "
            f"{source.names}, of which {list(source.images)} hold images. Name one."
        )


def _is_one_image(X: Any) -> bool:
    return isinstance(X, os.PathLike) and Path(X).suffix != ".parquet" and not Path(X).is_dir()


def _is_image_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.rglob("*.parquet"))
