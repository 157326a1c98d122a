"""Arrays too large for memory, written part by part to a temporary file and then mapped."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_lntune.forking import remove_with


class ArrayFile:
    """Numbers of one type in a temporary file, which goes with the last array that refers to it.

    Parameters
    ----------
    dtype : data type
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._folder = tempfile.mkdtemp(prefix="sklearn_lntune-")
        self._remove = remove_with(self, self._folder)
        self._file = Path(self._folder, "numbers")

    def write(self, numbers: bytes) -> None:
        """Append ``numbers``, which are of the type of this file."""
        # Closed each time: a forked child would write a copy of an open file's buffer again.
        with self._file.open("ab") as file:
            file.write(numbers)

    def mapped(self) -> np.ndarray:
        """All numbers; nothing may be written afterwards."""
        numbers = np.asarray(np.memmap(self._file, self._dtype, mode="r"))
        self._remove.detach()
        remove_with(numbers, self._folder)
        return numbers
