"""Read safetensors files without mapping them, since mapped pages count as memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sklearn_lntune.backbone.files import check_safetensors

_CHUNK_BYTES = 1 << 22
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


class StoredTensor(NamedTuple):
    """A tensor in a safetensors file: its header's entry, and where its bytes are."""

    name: str
    kind: str
    shape: list[int]
    file: Path
    start: int
    size: int

    def chunks(self) -> Iterator[memoryview]:
        """The bytes in order, a few megabytes at a time, in a buffer that is reused."""
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
    """Every tensor in safetensors ``files``, from their headers.

    Raises
    ------
    ValueError
        If a file is not a whole safetensors file, or a tensor's bytes do not fit its shape.
    """
    found = []
    for file in files:
        check_safetensors(file)
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            tensor = StoredTensor(
                name, entry["dtype"], entry["shape"], file, 8 + length + start, end - start
            )
            _check_size(tensor)
            found.append(tensor)
    return found


def _check_size(tensor: StoredTensor) -> None:
    """Repeat the check of safetensors, since a tensor filled only in part would go unnoticed."""
    width = _BYTES.get(tensor.kind)
    if width is not None and tensor.size != width * math.prod(tensor.shape):
        raise ValueError(
            f"{tensor.file}: tensor {tensor.name!r} of shape {tensor.shape} needs "
            f"{width * math.prod(tensor.shape)} bytes and has {tensor.size}; the file is damaged."
        )
