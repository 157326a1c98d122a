"""Rows of tokens that the process remembers, within a bound in bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.text.check import Text

#: What the process-wide cache may hold at most.
CACHE_BYTES = 64 * 1024**2
#: What an entry takes beside its tokens: key, headers, its places in the dict.
ENTRY_BYTES = 240


class RowCache:
    """Rows by key; those not used for longest go first.

    A row is the bytes of its int32 tokens, and one byte more if it was cut.

    Parameters
    ----------
    capacity : int
        In bytes.
    """

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.capacity = capacity
        self.held = 0
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The row of each key, or None."""
        found = []
        with self._lock:
            for key in keys:
                row = self._rows.get(key)
                if row is not None:
                    self._rows.move_to_end(key)
                found.append(row)
        return found

    def put(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> int:
        """Remember ``rows``; how many bytes they take."""
        added = 0
        with self._lock:
            for key, row in zip(keys, rows, strict=True):
                if key not in self._rows:
                    self._rows[key] = row
                    added += len(row) + ENTRY_BYTES
            self.held += added
            while self.held > self.capacity:
                _, row = self._rows.popitem(last=False)
                self.held -= len(row) + ENTRY_BYTES
        return added

    def clear(self) -> None:
        """Forget all rows."""
        with self._lock:
            self._rows.clear()
            self.held = 0

    def __len__(self) -> int:
        return len(self._rows)


def keys_of(group: str, texts: Iterable[Text]) -> Iterator[bytes]:
    """A digest of each text within ``group``: 16 bytes, however long the text."""
    start = hashlib.blake2b(group.encode(), digest_size=16)
    for text in texts:
        digest = start.copy()
        # The length of the first of a pair says where it ends.
        whole = text if isinstance(text, str) else f"{len(text[0])} {text[0]}{text[1]}"
        digest.update(whole.encode("utf-8", "surrogatepass"))
        yield digest.digest()
