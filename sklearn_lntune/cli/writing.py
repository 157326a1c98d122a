"""Write rows as they come: plain lines, CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import contextlib
import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import typer

from sklearn_lntune.cli.formats import Format, Record
from sklearn_lntune.cli.output import written

#: A row as it was read, and the cells that are written.
Row = tuple[Record, dict[str, Any]]


class Writer(ABC):
    """Writes rows to an open stream."""

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows; when it returns, they are in the stream."""


class _Lines(Writer):
    """The cells of each row in a line, with tabs between them and no names."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, rows: Sequence[Row]) -> None:
        lines = ("\t".join(_text(cell) for cell in cells.values()) for _, cells in rows)
        self._stream.write("".join(f"{line}\n" for line in lines).encode())
        self._stream.flush()


class _Delimited(Writer):
    """CSV or TSV, with the names of the columns in the first line."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str], delimiter: str) -> None:
        self._stream = stream
        self._columns = list(columns)
        self._csv = csv.writer(_Encoding(stream), delimiter=delimiter, lineterminator="\n")
        self._csv.writerow(self._columns)

    def write(self, rows: Sequence[Row]) -> None:
        for record, cells in rows:
            if other := set(cells) - set(self._columns):
                raise ValueError(
                    f"{record.place} has the key {min(other)!r}, which the first record does not "
                    "have; write JSONL instead"
                )
            self._csv.writerow([_text(cells.get(name)) for name in self._columns])
        self._stream.flush()


class _JsonLines(Writer):
    """A JSON object a line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, rows: Sequence[Row]) -> None:
        for _, cells in rows:
            line = json.dumps(cells, ensure_ascii=False, default=str)
            try:
                self._stream.write(f"{line}\n".encode())
            except UnicodeEncodeError:  # half of a UTF-16 pair, which only an escape can write
                self._stream.write(f"{json.dumps(cells, default=str)}\n".encode())
        self._stream.flush()


class _Parquet(Writer):
    """Parquet; types that ``schema`` does not tell are those of the first rows."""

    def __init__(self, file: Path, stack: contextlib.ExitStack, schema: Any) -> None:
        self._file = file
        self._stack = stack
        self._schema = schema
        self._writer: Any = None

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = self._table([cells for _, cells in rows])
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            first, last = rows[0][0].place, rows[-1][0].place
            raise ValueError(
                f"{first} to {last}: the cells of a column are not of one kind, which Parquet "
                f"needs: {error}"
            ) from error
        if self._writer is None:
            self._writer = self._stack.enter_context(
                parquet.ParquetWriter(self._file, table.schema)
            )
        self._writer.write_table(table)

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        known = self._schema or pa.schema([])
        if self._writer is None and set(rows[0]) - set(known.names):
            found = pa.Table.from_pylist(rows).schema
            self._schema = pa.schema(
                [known.field(each.name) if each.name in known.names else each for each in found]
            )
        return pa.Table.from_pylist(rows, schema=self._schema)


class _Encoding:
    """A text stream over a binary one, for `csv`; it holds nothing back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.encode())


@contextlib.contextmanager
def open_writer(
    path: Path | None, kind: Format, columns: Sequence[str], schema: Any = None
) -> Iterator[Writer]:
    """A writer to the file ``path``, which appears when all is written, or to standard output.

    Parameters
    ----------
    path : Path or None
        None is standard output.
    kind : Format
    columns : sequence of str
        The names of the cells, if all rows have the same.
    schema : pyarrow.Schema, optional
        The types that are known, for Parquet.
    """
    with contextlib.ExitStack() as stack:
        file = None if path is None else stack.enter_context(written(path))
        if kind is Format.parquet:
            if file is None:
                raise ValueError("Parquet cannot be written to standard output; give --output")
            yield _Parquet(file, stack, schema)
            return
        if file is None:
            stream: Any = typer.get_binary_stream("stdout")
        else:
            stream = stack.enter_context(open(file, "wb"))
        if kind is Format.lines:
            yield _Lines(stream)
        elif kind is Format.jsonl:
            yield _JsonLines(stream)
        else:
            yield _Delimited(stream, columns, "\t" if kind is Format.tsv else ",")


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
