"""Digests, and the state of files for which a cached digest is valid."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, TypeAlias

State: TypeAlias = tuple[tuple[str, int, int], ...]


def digest_of(content: Any) -> str:
    """SHA-256 of bytes, or of a value that JSON can represent, whatever the order of keys."""
    if not isinstance(content, bytes):
        content = json.dumps(content, sort_keys=True, default=str).encode()
    return hashlib.sha256(content).hexdigest()


def state_of(files: Iterable[str | os.PathLike[str]]) -> State:
    """Path, size and modification time of each file; -1 for a file that does not exist."""
    return tuple(_state(os.fspath(file)) for file in files)


def _state(file: str) -> tuple[str, int, int]:
    try:
        stat = os.stat(file)
    except OSError:
        return file, -1, -1
    return file, stat.st_size, stat.st_mtime_ns
