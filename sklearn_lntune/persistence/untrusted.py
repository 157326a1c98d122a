"""Files that may come from strangers: regular files and strict JSON, nothing else."""

from __future__ import annotations

import json
import math
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn


def open_regular(file: Path) -> BufferedReader:
    """Open ``file``, or what it links to, for reading.

    Raises
    ------
    ValueError
        If it is a folder, a device, a pipe or a socket. Some of them would never end, and
        opening a pipe would wait for a writer.
    OSError
        If it cannot be opened.
    """
    _check_regular(os.stat(file), file)
    # It may have become a pipe since the check, so the file is opened without waiting.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(file, flags), "rb")
    try:
        _check_regular(os.fstat(stream.fileno()), file)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(file: Path) -> bytes:
    """The bytes of ``file``; errors as for `open_regular`."""
    with open_regular(file) as stream:
        return stream.read()


def _check_regular(found: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise ValueError(f"{file.name} is {what}, not a file")


def parse_json(content: bytes) -> Any:
    """What the JSON text ``content`` says.

    Raises
    ------
    ValueError
        If it is not JSON in UTF-8, is nested too deeply, or holds a key twice in one
        object or a number that is not finite.

    Examples
    --------
    >>> parse_json(b'{"rank": 8}')
    {'rank': 8}
    """
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_distinct,
            parse_constant=_refuse,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_json_object(content: bytes) -> dict[str, Any]:
    """As `parse_json`; a ValueError also if it is not an object."""
    found = parse_json(content)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object holds a key twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number
