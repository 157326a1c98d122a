"""An array that grows at its end, without a second copy of itself."""

from __future__ import annotations

import numpy as np


class Growing:
    """Parts appended along the first axis of one array.

    The memory allocator moves large blocks by remapping them, so that growing by a
    sixteenth at a time never holds all of it twice, as joining a list of parts would.

    Examples
    --------
    >>> rows = Growing()
    >>> rows.add(np.array([1, 2])), rows.add(np.array([3]))
    (None, None)
    >>> rows.whole()
    array([1, 2, 3])
    """

    def __init__(self) -> None:
        self._array: np.ndarray | None = None
        self._used = 0

    def add(self, part: np.ndarray) -> None:
        """Append ``part``; the first one decides the type and the other axes."""
        if self._array is None:
            self._array = np.empty_like(part, shape=(0, *part.shape[1:]))
        end = self._used + len(part)
        if end > len(self._array):
            self._resize(max(end, self._used + self._used // 16))
        self._array[self._used : end] = part
        self._used = end

    def whole(self) -> np.ndarray:
        """All of it; nothing may be added afterwards."""
        if self._array is None:
            raise ValueError("nothing was added.")
        self._resize(self._used)
        return self._array

    def _resize(self, n: int) -> None:
        assert self._array is not None
        self._array.resize((n, *self._array.shape[1:]), refcheck=False)
