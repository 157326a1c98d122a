"""What the commands show and write: tables and progress, which are plain without a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sklearn_lntune.persistence.replacing import replacement


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table to standard output: with rules in a terminal, else columns of plain text."""
    cells = [[shown(cell) for cell in row] for row in rows]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(columns))
    ]
    if sys.stdout.isatty():
        table = Table(title=title or None, title_justify="left")
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    if title:
        print_line(title)
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        aligned = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print_line("  ".join(aligned).rstrip())


def print_line(line: str = "") -> None:
    """Print a line to standard output."""
    print(line)  # noqa: T201 - what the command was asked for


def note(line: str) -> None:
    """Say something beside the result, on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def verbosity(quiet: bool) -> int:
    """The parameter ``verbose`` of an estimator: a progress bar if somebody can see it."""
    return int(not quiet and sys.stderr.isatty())


@contextlib.contextmanager
def row_counter(what: str, quiet: bool) -> Iterator[Any]:
    """A function that takes the number of further rows done, and shows their sum."""
    if not verbosity(quiet):
        yield lambda n_rows: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda n_rows: progress.advance(task, n_rows)


def check_free(*paths: Path | None, overwrite: bool) -> None:
    """Raise a ValueError if something would be overwritten, or cannot be written, unasked.

    It is called before any long work.
    """
    for path in paths:
        if path is None:
            continue
        if path.parent.exists() and not path.parent.is_dir():
            raise ValueError(f"{path.parent} is not a folder, so nothing can be written into it")
        if path.exists() and not overwrite and not is_stream(path):
            raise ValueError(f"{path} is there already; pass --overwrite to replace it")


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a device or a pipe, which is written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name to write to; the file at ``path`` is replaced at the end, if all went well."""
    if is_stream(path):
        yield path
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path) as fresh:
        yield fresh


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON."""
    with written(path) as fresh:
        fresh.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def shown(cell: Any) -> str:
    """A value as tables show it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4f}" if abs(cell) < 10 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
