"""What safetensors files hold, read without mapping them: mapped pages count as memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CHUNK_BYTES = 1 << 22


class StoredTensor(NamedTuple):
    """A tensor in a safetensors file: its header's entry, and where its bytes are."""

    name: str
    kind: str
    shape: list[int]
    file: Path
    start: int
    size: int

    def chunks(self) -> Iterator[memoryview]:
        """The bytes in order, a few megabytes at a time; the next overwrite the last."""
        buffer = memoryview(bytearray(min(self.size, _CHUNK_BYTES)))
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.start)
            left = self.size
            while left:
                chunk = buffer[: min(left, _CHUNK_BYTES)]
                if stream.readinto(chunk) != len(chunk):
                    raise ValueError(f"{self.file} ends before tensor {self.name!r} does.")
                yield chunk
                left -= len(chunk)


def stored_tensors(files: list[Path]) -> list[StoredTensor]:
    """Every tensor in safetensors ``files``, from their headers."""
    found = []
    for file in files:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            at = 8 + length + start
            found.append(StoredTensor(name, entry["dtype"], entry["shape"], file, at, end - start))
    return found
