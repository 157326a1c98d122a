"""Tables in files and on standard input, read record by record: CSV, TSV, JSONL, Parquet, lines."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import typer

STDIN = "-"
#: The column of a file that has lines and no columns.
LINE = "text"
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "lines",
}
#: Longest cell of a CSV file. Without a limit, a quote that is never closed would put the rest of
#: the file into one cell.
_MAX_CELL = 2**26
_PARQUET_ROWS = 1024


class Format(StrEnum):
    """How a table is written."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"
    lines = "lines"


@dataclass(frozen=True)
class Record:
    """A row of a table.

    Attributes
    ----------
    place : str
        Where it is, for messages: ``"tickets.csv, line 7"``.
    cells : dict
        Values by column.
    """

    place: str
    cells: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """An opened table, which can be iterated once.

    Attributes
    ----------
    name : str
        File name, for messages.
    format : Format
    columns : list of str
        Names of the columns; of JSONL, the keys of the first record.
    records : iterator of Record
    schema : pyarrow.Schema or None
        Types of the columns, if the format has them.
    """

    name: str
    format: Format
    columns: list[str]
    records: Iterator[Record]
    schema: Any = None


def format_of(path: str, given: Format | None = None) -> Format:
    """The format of the file at ``path``: the one given, or the one that its name says.

    Examples
    --------
    >>> str(format_of("tickets.csv.gz"))
    'csv'
    """
    if given is not None:
        return given
    if path == STDIN:
        return Format.lines
    name = Path(path).name.lower().removesuffix(".gz")
    try:
        return Format(_SUFFIXES[Path(name).suffix])
    except KeyError:
        raise ValueError(
            f"{path}: its name does not say what is in it; give --format, one of "
            f"{', '.join(Format)}, or a name that ends in {', '.join(_SUFFIXES)}"
        ) from None


@contextlib.contextmanager
def open_table(path: str, given: Format | None = None) -> Iterator[Table]:
    """Open the table at ``path``, or on standard input if it is ``-``.

    Raises
    ------
    ValueError
        Here, or while records are read: if the file is not what its format says.
    OSError
        If it cannot be read.
    """
    kind = format_of(path, given)
    name = "standard input" if path == STDIN else path
    if kind is Format.parquet:
        if path == STDIN:
            raise ValueError("Parquet cannot be read from standard input; give a file")
        with _open_parquet(path) as table:
            yield table
        return
    with contextlib.ExitStack() as stack:
        if path == STDIN:
            binary: Any = typer.get_binary_stream("stdin")
        elif path.lower().endswith(".gz"):
            binary = stack.enter_context(gzip.open(path, "rb"))
        else:
            binary = stack.enter_context(open(path, "rb"))
        yield _READERS[kind](name, _as_text(binary, stack))


def _as_text(binary: BinaryIO, stack: contextlib.ExitStack) -> io.TextIOWrapper:
    text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    stack.callback(text.detach)  # standard input stays open
    return text


def _read_csv(name: str, text: io.TextIOWrapper, delimiter: str = ",") -> Table:
    csv.field_size_limit(_MAX_CELL)
    lines = _numbered(name, csv.reader(text, delimiter=delimiter, strict=True))
    _, columns = next(lines, (0, []))
    if not columns:
        raise ValueError(f"{name} is empty; its first line must name the columns")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise ValueError(f"{name} has two columns called {twice[0]!r}")

    def records() -> Iterator[Record]:
        for number, cells in lines:
            if not cells:  # an empty line
                continue
            place = f"{name}, line {number}"
            if len(cells) != len(columns):
                raise ValueError(
                    f"{place} has {len(cells)} cells, and the first line {len(columns)}"
                )
            yield Record(place, dict(zip(columns, cells, strict=True)))

    return Table(name, Format.csv, columns, records())


def _read_tsv(name: str, text: io.TextIOWrapper) -> Table:
    table = _read_csv(name, text, "\t")
    return Table(name, Format.tsv, table.columns, table.records)


def _read_jsonl(name: str, text: io.TextIOWrapper) -> Table:
    def records() -> Iterator[Record]:
        for number, line in _numbered(name, text):
            if not line.strip():
                continue
            place = f"{name}, line {number}"
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place} is not JSON: {error}") from error
            if not isinstance(cells, dict):
                raise ValueError(f"{place} is not a JSON object, but {line.strip():.40}")
            yield Record(place, cells)

    found = records()
    first = next(found, None)
    if first is None:
        raise ValueError(f"{name} is empty")
    return Table(name, Format.jsonl, list(first.cells), chain([first], found))


def _read_lines(name: str, text: io.TextIOWrapper) -> Table:
    records = (
        Record(f"{name}, line {number}", {LINE: line.rstrip("\r\n")})
        for number, line in _numbered(name, text)
    )
    return Table(name, Format.lines, [LINE], records)


_READERS: dict[Format, Callable[[str, io.TextIOWrapper], Table]] = {
    Format.csv: _read_csv,
    Format.tsv: _read_tsv,
    Format.jsonl: _read_jsonl,
    Format.lines: _read_lines,
}


def _numbered(name: str, rows: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """``rows`` with the number of their line; errors of decoding and of CSV name the file."""
    number = 0
    try:
        for row in rows:
            # A row of CSV may have several lines.
            number = getattr(rows, "line_num", number + 1)
            yield number, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error.reason}), after line {number}") from error
    except csv.Error as error:
        raise ValueError(
            f"{name}, after line {number}: {error}; is a quote not closed, or the file not CSV?"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name} is not a whole gzip file: {error}") from error


@contextlib.contextmanager
def _open_parquet(path: str) -> Iterator[Table]:
    from pyarrow import ArrowException, parquet

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(parquet.ParquetFile(path, pre_buffer=False))
        except ArrowException as error:
            raise ValueError(f"{path} is not a Parquet file: {error}") from error

        def records() -> Iterator[Record]:
            row = 0
            try:
                for batch in file.iter_batches(_PARQUET_ROWS):
                    for cells in batch.to_pylist():
                        row += 1
                        yield Record(f"{path}, row {row}", cells)
            except (ArrowException, UnicodeDecodeError) as error:
                raise ValueError(f"{path} is damaged after row {row}: {error}") from error

        schema = file.schema_arrow
        yield Table(path, Format.parquet, schema.names, records(), schema)
