"""Tables that are read a batch at a time: datasets of Hugging Face, files in Parquet."""

from __future__ import annotations

import os
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from sklearn_lntune.forking import remove_with
from sklearn_lntune.inputs.text.utf8 import surrogate_error, undecodable_error, undecodable_row

#: Cells by column.
Batch: TypeAlias = dict[str, list[Any]]
READ_ROWS = 8192  # rows a batch
#: Arrow's names of its types of text, which datasets has taken over.
_TEXT_TYPES = ("string", "large_string", "string_view")


class Source(ABC):
    """A table of named columns.

    Attributes
    ----------
    names : list of str
        All columns.
    strings : list of str
        Those that hold text.
    string_lists : list of str
        Those that hold lists of texts.
    n_rows : int or None
        None if only reading it all can tell.
    class_numbers : list of str
        Columns whose numbers stand for names of classes.
    tag_names : dict of str to list of str
        The names that the numbers in columns of lists of numbers stand for.
    """

    names: list[str]
    strings: list[str]
    n_rows: int | None
    class_numbers: Sequence[str] = ()
    string_lists: Sequence[str] = ()
    tag_names: Mapping[str, Sequence[str]] = MappingProxyType({})

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """The rows in order, with ``columns`` alone."""

    def kept(self, columns: Sequence[str]) -> Source:
        """A source that can be read again: this one, or else a copy in a file."""
        return self


class _Dataset(Source):
    """A ``datasets.Dataset``."""

    def __init__(self, dataset: Any) -> None:
        self.names = list(dataset.column_names)
        self.n_rows = len(dataset)
        _describe(self, dataset.features)
        # A transform of the user's own may need the columns that we do not.
        self._own = dataset.format["type"] == "custom"
        self._dataset = dataset if self._own else dataset.with_format(None)

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        chosen = self._dataset if self._own else self._dataset.select_columns(list(columns))
        yield from _decoded(chosen)


class _Streaming(Source):
    """A ``datasets.IterableDataset``, which each call of `batches` begins anew."""

    def __init__(self, dataset: Any) -> None:
        self.n_rows = None
        self._dataset = dataset.with_format(None)
        self._begun: Iterator[Batch] | None = None
        self._schema: Any = None
        if dataset.column_names is not None and dataset.features is not None:
            self._schema = dataset.features.arrow_schema
            self.names = list(dataset.column_names)
            _describe(self, dataset.features)
            return
        # Only rows tell; these must not be read twice.
        rows = _decoded(self._dataset)
        first: Batch = next(rows, {})
        self._begun = chain([first] if first else [], rows)
        self.names = list(first)
        self.strings = [
            name for name, cells in first.items() if any(isinstance(cell, str) for cell in cells)
        ]
        self.string_lists = [
            name
            for name, cells in first.items()
            if any(isinstance(cell, list) and cell and isinstance(cell[0], str) for cell in cells)
        ]

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        begun, self._begun = self._begun, None
        for batch in begun or _decoded(self._dataset):
            yield {name: batch[name] for name in columns}

    def kept(self, columns: Sequence[str]) -> Source:
        import pyarrow as pa
        from pyarrow import parquet

        folder = tempfile.mkdtemp(prefix="sklearn_lntune-")
        remove = remove_with(self, folder)
        file, writer, done = Path(folder, "rows.parquet"), None, 0
        schema = self._schema and pa.schema([self._schema.field(name) for name in columns])
        try:
            for batch in self.batches(columns):
                table = pa.Table.from_pydict(batch, schema=schema)
                if writer is None:
                    schema = table.schema
                    writer = parquet.ParquetWriter(file, schema)
                writer.write_table(table)
                done += len(table)
        except UnicodeEncodeError as error:
            raise _surrogate_error(batch, done, error.object) from error
        except OverflowError as error:
            raise ValueError(f"a column of X holds a number beyond 64 bits: {error}.") from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"the cells of a column of X are not of one kind: {error}.") from error
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ValueError("X contains no texts (0 sample(s)).")
        copy = _Parquet([file])
        copy.class_numbers, copy.tag_names = self.class_numbers, self.tag_names
        remove.detach()
        remove_with(copy, folder)
        return copy


class _Parquet(Source):
    """Files in Parquet, one after another."""

    def __init__(self, files: list[Path]) -> None:
        from pyarrow import ArrowInvalid, parquet, types

        self._files = files
        self.n_rows = 0
        self.names, self.strings = [], []
        for file in files:
            try:
                with parquet.ParquetFile(file) as opened:
                    schema, n_rows = opened.schema_arrow, opened.metadata.num_rows
            except ArrowInvalid as error:
                raise ValueError(f"{file} is not a Parquet file: {error}") from error
            self.n_rows += n_rows
            names = schema.names
            if file == files[0]:
                self.names = names
                kinds = {
                    each.name: each.type.value_type if types.is_dictionary(each.type) else each.type
                    for each in schema
                }
                self.strings = [name for name, kind in kinds.items() if str(kind) in _TEXT_TYPES]
                self.string_lists = [
                    name
                    for name, kind in kinds.items()
                    if hasattr(kind, "value_type") and str(kind.value_type) in _TEXT_TYPES
                ]
            elif names != self.names:
                raise ValueError(
                    f"the Parquet files differ in their columns: {files[0].name} has {self.names}, "
                    f"{file.name} has {names}."
                )

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        from pyarrow import parquet

        done = 0
        # Not pyarrow.dataset: it holds a whole group of rows, and casts the cells of each file
        # to the types of the first, by which the number 2 becomes the text "2" or True.
        for file in self._files:
            with parquet.ParquetFile(file, pre_buffer=False) as opened:
                for batch in opened.iter_batches(READ_ROWS, columns=list(columns)):
                    try:
                        cells = batch.to_pydict()
                    except UnicodeDecodeError as error:
                        raise _undecodable(batch, done) from error
                    yield cells
                    done += len(batch)


def _undecodable(batch: Any, done: int) -> ValueError:
    """The error for bytes that are not UTF-8 in ``batch``, which begins at row ``done``."""
    for name in batch.schema.names:
        row = undecodable_row(batch.column(name))
        if row is not None:
            return undecodable_error(f"row {done + row} of column {name!r} of X")
    raise AssertionError("called without a bad cell")


def _decoded(dataset: Any) -> Iterator[Batch]:
    """The rows of a dataset; bytes that are not UTF-8 are an error which names their row."""
    done = 0
    try:
        for batch in dataset.iter(READ_ROWS):
            yield batch
            done += len(next(iter(batch.values())))
    except UnicodeDecodeError as error:
        row = done
        try:
            for _ in dataset.skip(done).iter(1):
                row += 1
        except UnicodeDecodeError:
            raise undecodable_error(f"row {row} of X") from error
        raise


def _surrogate_error(batch: Batch, done: int, text: str) -> ValueError:
    """The error for ``text``, a cell of ``batch``, which begins at row ``done``."""
    for name, cells in batch.items():
        if text in cells:
            return surrogate_error(f"row {done + cells.index(text)} of column {name!r} of X", text)
    return surrogate_error("a list in X", text)


def _describe(source: Source, features: Any) -> None:
    """Note which columns hold text, and which the numbers of classes."""
    kinds = {name: getattr(feature, "dtype", None) for name, feature in features.items()}
    source.strings = [name for name, kind in kinds.items() if kind in _TEXT_TYPES]
    source.class_numbers = [name for name, feature in features.items() if hasattr(feature, "names")]
    items = {name: getattr(feature, "feature", None) for name, feature in features.items()}
    source.string_lists = [
        name for name, item in items.items() if getattr(item, "dtype", None) in _TEXT_TYPES
    ]
    names = {name: getattr(item, "names", None) for name, item in items.items()}
    source.tag_names = {name: each for name, each in names.items() if each is not None}


def open_source(X: Any) -> Source | None:
    """``X`` as a source if it is a table to be read in batches, else None.

    Raises
    ------
    ValueError
        If ``X`` is a path, but not of Parquet files with the same columns.
    """
    if isinstance(X, os.PathLike) or (isinstance(X, str) and _looks_like_a_path(X)):
        return _Parquet(_files(Path(X)))
    datasets = sys.modules.get("datasets")  # who has none of theirs need not import it
    if datasets is not None and isinstance(X, datasets.Dataset):
        return _Dataset(X)
    if datasets is not None and isinstance(X, datasets.IterableDataset):
        return _Streaming(X)
    return None


def _looks_like_a_path(X: str) -> bool:
    return X.endswith(".parquet") or os.path.isdir(X)


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise ValueError(f"X={str(path)!r} is neither a Parquet file nor a folder with one.")
    return files
