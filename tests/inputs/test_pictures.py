"""Every form of an image, and what is said of what is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from vision import pictures

from sklearn_lntune.inputs.image import pixels
from sklearn_lntune.inputs.image.check import check_images
from sklearn_lntune.inputs.image.opening import ImageInput
from sklearn_lntune.inputs.image.picture import Picture
from sklearn_lntune.inputs.text.check import check_texts
from sklearn_lntune.inputs.text.opening import TextInput

X = pictures(6)


def saved(folder: Path) -> list[str]:
    """Files with the pixels of ``X``."""
    paths = [str(folder / f"{row}.png") for row in range(len(X))]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    return paths


def contents(paths: list[str]) -> list[bytes]:
    return [Path(path).read_bytes() for path in paths]


def dataset(paths: list[str]) -> Any:
    import datasets

    table = datasets.Dataset.from_dict({"image": paths, "label": list("abcabc")})
    return table.cast_column("image", datasets.Image())


FORMS: dict[str, Callable[[list[str]], Any]] = {
    "paths": list,
    "path objects": lambda paths: [Path(path) for path in paths],
    "array of paths": np.array,
    "series of paths": pd.Series,
    "frame of paths": lambda paths: pd.DataFrame({"image": paths}),
    "column of paths": lambda paths: np.array(paths, object)[:, None],
    "polars": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"image": paths}),
    "arrow": lambda paths: pa.table({"image": paths}),
    "bytes": contents,
    "PIL": lambda paths: [Image.open(path) for path in paths],
    "PIL in an array": lambda paths: _objects([Image.open(path) for path in paths]),
    "array": lambda _: X,
    "list of arrays": lambda _: list(X),
    "fractions": lambda _: X / 255,
    "single precision": lambda _: (X / 255).astype(np.float32),
    "int64": lambda _: X.astype(np.int64),
    "with transparency": lambda _: np.concatenate([X, X[..., :1]], axis=-1),
    "datasets column": lambda paths: dataset(paths)["image"],
    "datasets cells": lambda paths: dataset(paths)[:]["image"],
    "undecoded cells": lambda paths: [{"bytes": each, "path": None} for each in contents(paths)],
    "cells with paths": lambda paths: [{"bytes": None, "path": each} for each in paths],
}


def _objects(cells: list[Any]) -> np.ndarray:
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pixels(form: str, tmp_path: Path) -> None:
    found = check_images(FORMS[form](saved(tmp_path)))
    assert len(found) == len(X)
    for picture, image in zip(found, X, strict=True):
        assert picture.rgb().dtype == np.uint8
        np.testing.assert_array_equal(picture.rgb(), image)


@pytest.mark.parametrize("form", ["paths", "bytes", "array", "fractions"])
def test_equal_images_are_one(form: str, tmp_path: Path) -> None:
    cells = list(FORMS[form](saved(tmp_path)))
    rows, numbers = ImageInput().rows(cells + cells[::-1]).distinct()
    assert len(rows) == 6
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "image",
    [
        np.arange(20, dtype=np.uint8).reshape(4, 5),
        np.arange(20, dtype=np.uint8).reshape(4, 5, 1),
        np.arange(20).reshape(4, 5) % 2 == 0,
    ],
    ids=["grey", "one channel", "bits"],
)
def test_grey_images_have_three_equal_channels(image: np.ndarray) -> None:
    found = Picture(image, "row 0 of X").rgb()
    assert found.shape == (4, 5, 3)
    levels = image.reshape(4, 5) * (255 if image.dtype == bool else 1)
    np.testing.assert_array_equal(found, np.repeat(levels[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_modes_of_pillow_become_rgb(mode: str, tmp_path: Path) -> None:
    grey = np.full((4, 4), 200, np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) << 8) if mode == "I;16" else None
    image = Image.fromarray(np.stack([grey] * 3, -1)).convert(mode) if image is None else image
    assert image.mode == mode
    image.save(file := tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    expected = 255 if mode == "1" else 200
    for cell in (image, file):
        found = Picture(cell, "row 0 of X").rgb()
        assert found.shape == (4, 4, 3)
        assert abs(int(np.median(found)) - expected) <= 4  # a palette has few colours


def test_cameras_tell_how_an_image_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(X[0]).save(file := tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(Picture(file, "row 0 of X").rgb(), np.rot90(X[0], -1))


def damaged(folder: Path) -> dict[str, str]:
    """Files that are not images, by what is wrong."""
    saved(folder)
    content = {
        "text": b"hello",
        "empty": b"",
        "cut": (folder / "0.png").read_bytes()[:150],
        "flipped": (folder / "0.png").read_bytes()[:60] + b"\0" * 20,
    }
    for name, each in content.items():
        (folder / f"{name}.png").write_bytes(each)
    names = [*content, "missing"]
    return {name: str(folder / f"{name}.png") for name in names} | {"folder": str(folder)}


@pytest.mark.parametrize("what", ["text", "empty", "cut", "flipped", "missing", "folder"])
@pytest.mark.parametrize("form", [str, Path, lambda path: {"bytes": None, "path": path}])
def test_an_image_that_cannot_be_read_is_named(
    what: str, form: Callable[[str], Any], tmp_path: Path
) -> None:
    path = damaged(tmp_path)[what]
    with pytest.raises(ValueError, match="row 1 of X") as caught:
        [picture.rgb() for picture in check_images([saved(tmp_path)[0], form(path)])]
    assert path in str(caught.value)
    content = b"" if what in ("missing", "folder") else Path(path).read_bytes()
    with pytest.raises(ValueError, match="row 1 of X cannot be read as an image"):
        [picture.rgb() for picture in check_images([saved(tmp_path)[0], content])]


def test_an_image_without_a_known_range_is_named(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((4, 4), 7.5, np.float32))
    wide.save(file := tmp_path / "a.tif")
    for cell in (wide, file):
        with pytest.raises(ValueError, match="row 0 of X.*'F', whose range is not known"):
            Picture(cell, "row 0 of X").rgb()


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": ([], ValueError, r"no images \(0 sample\(s\)\)"),
    "no rows": (X[:0], ValueError, r"no images \(0 sample\(s\)\)"),
    "None": (None, TypeError, "got NoneType"),
    "one path": ("a.png", TypeError, "single image into a list"),
    "one image": (Image.fromarray(X[0]), TypeError, "single image into a list"),
    "one array": (X[0], ValueError, r"one image in colour.*X\[None\]"),
    "one grey array": (X[0, ..., 0], ValueError, "flattened images"),
    "flattened": (np.zeros((4, 64)), ValueError, r"X.reshape\(-1, height, width\)"),
    "channels first": (np.moveaxis(X, -1, 1), ValueError, "row 0 of X.*channels come first"),
    "five axes": (X[None], ValueError, "5 dimensions"),
    "two channels": (X[..., :2], ValueError, "not an image"),
    "no pixels": (X[:, :0], ValueError, "without any pixel"),
    "floats to 255": (X.astype(float), ValueError, "fractions from 0 to 1"),
    "negative": (X.astype(int) - 300, ValueError, "integers from 0 to 255"),
    "uint16": (X.astype(np.uint16) * 256, ValueError, "integers from 0 to 255"),
    "NaN": (np.where(X > 200, np.nan, 0.5), ValueError, "row 1 of X has pixels that are NaN"),
    "complex": (X.astype(complex), TypeError, "complex128"),
    "texts": (["a text", "b"], ValueError, "row 0 of X is 'a text'.*choose a backbone of texts"),
    "pairs": ([("a", "b")], TypeError, "row 0 of X is tuple.*takes images"),
    "missing": ([X[0], None], ValueError, "row 1 of X has a missing image"),
    "NA": (pd.Series([X[0], pd.NA]), ValueError, "row 1 of X has a missing image"),
    "numbers": ([1, 2], TypeError, "row 0 of X is int"),
    "lists": ([[1, 2], [3, 4]], TypeError, "row 0 of X is list"),
    "a mapping": ({"image": X}, TypeError, "got dict"),
    "a generator": ((each for each in X), TypeError, "no length"),
    "two columns": (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, r"\['a', 'b'\]"),
    "objects": (np.array([[1, "a"], [2, "b"]], object), ValueError, r"shape \(2, 2\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_image_is_named(what: str) -> None:
    bad, kind, message = BAD[what]
    with pytest.raises(kind, match=message):
        check_images(bad)


@pytest.mark.parametrize(
    "form", ["paths", "path objects", "bytes", "PIL", "array", "list of arrays", "datasets column"]
)
def test_images_are_recognised_where_texts_are_expected(form: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match="takes texts; for images, pass as backbone"):
        check_texts(FORMS[form](saved(tmp_path)))


def test_the_columns_of_a_table(tmp_path: Path) -> None:
    import datasets

    paths = saved(tmp_path)
    table = dataset(paths)
    with pytest.raises(ValueError, match="takes texts; for images"):
        TextInput().open(table)
    two = table.add_column("more", paths).cast_column("more", datasets.Image())
    assert len(ImageInput("more").open(two).examples) == 6
    renamed = table.rename_column("image", "photo")
    for X in (renamed, two):
        rows = next(ImageInput().open(X).examples.chunks(6))
        np.testing.assert_array_equal(rows.rows[2].rgb(), pictures(6)[2])
    with pytest.raises(ValueError, match="image_column='auto' does not know which column"):
        ImageInput().open(table.select_columns(["label"]))
    with pytest.raises(ValueError, match="image_column='other' is not a column of X"):
        ImageInput("other").open(table)
    with pytest.raises(ValueError, match="image_column must be 'auto' or"):
        ImageInput(3).open(table)
    with pytest.raises(ValueError, match="label_column must be"):
        ImageInput("auto", 3).open(table)
    numbers = ImageInput("size").open(table.add_column("size", [1] * 6)).examples
    with pytest.raises(TypeError, match="row 0 of column 'size' of X is int"):
        next(numbers.chunks(6))
    with pytest.raises(ValueError, match="folder without Parquet files"):
        ImageInput().open(str(tmp_path))


@pytest.mark.parametrize("lazily", [False, True], ids=["dataset", "iterable"])
def test_a_bad_row_of_a_table_is_named(lazily: bool, tmp_path: Path) -> None:
    paths = [*saved(tmp_path), damaged(tmp_path)["cut"]]
    import datasets

    table = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    table = table.to_iterable_dataset() if lazily else table
    chunks = ImageInput().open(table).examples.chunks(4)
    with pytest.raises(ValueError, match=r"row 6 of column 'image' of X \(.*cut.png\)"):
        [picture.rgb() for chunk in chunks for picture in chunk.rows]


class _Halves:
    """Stands in for an image processor: the first rows and columns, as fractions."""

    def __call__(self, images: np.ndarray, **kwargs: Any) -> dict[str, np.ndarray]:
        return {"pixel_values": np.moveaxis(images[:8, :8] / np.float32(255), -1, 0)[None]}


def make(n_added: int = 1) -> pixels.Pixels:
    return pixels.Pixels(_Halves(), pixels.Grid((3, 8, 8), 4, 4 + n_added, None))


@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
def test_a_table_of_pixels(in_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_file:
        monkeypatch.setattr(pixels, "MEMORY_BYTES", 1000)
    table = make().table(ImageInput().rows(X), 1)
    expected = np.stack([_Halves()(image)["pixel_values"][0] for image in X])
    assert len(table) == 6
    assert table.lengths.tolist() == [4] * 6
    assert table.n_tokens(np.arange(2)).tolist() == [5, 5]
    assert table.mask(np.arange(2)).shape == (2, 5)
    rows = np.array([4, 0, 4])
    np.testing.assert_array_equal(table.collate(rows)["pixel_values"], expected[rows])
    taken = table.take(rows)
    np.testing.assert_array_equal(taken.collate(np.array([2]))["pixel_values"], expected[[4]])
    both = taken.join([table])
    assert len(both) == 9
    np.testing.assert_array_equal(both.collate(np.arange(9))["pixel_values"][3:], expected)
    assert both.key(0) == both.key(2) == table.key(4)
    assert len({table.key(row) for row in range(6)}) == 6
    assert both.take(np.arange(3, 9)).digest() == table.digest() != taken.digest()
    assert table.n_truncated == 0


def test_the_file_of_a_table_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pixels, "MEMORY_BYTES", 1000)
    table = make().table(ImageInput().rows(X), 1)
    part = table.take(np.array([1]))
    del table
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1
    assert part.collate(np.array([0]))["pixel_values"].any()
    del part
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_images_of_other_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(3, 8, 5\) of row 1 of X, and of others \(3, 8, 8\)"):
        make().table(ImageInput().rows([X[0], X[1][:, :5]]), 1)


def test_a_processor_that_fails_is_named() -> None:
    class Failing:
        def __call__(self, **kwargs: Any) -> Any:
            raise KeyError("no key")

    with pytest.raises(ValueError, match="image processor fails on row 0 of X.*10 x 9 pixels"):
        pixels.processed(Failing(), Picture(X[0], "row 0 of X"))


def test_pillow_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    buffer = io.BytesIO()
    Image.fromarray(X[0]).save(buffer, "png")
    with pytest.raises(ImportError, match=r"pip install 'sklearn-lntune\[images\]'"):
        check_images([buffer.getvalue()])
    assert len(check_images(X)) == 6
