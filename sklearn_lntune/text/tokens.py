"""Tokenise each text once, into compact arrays."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_lntune.text.check import Text

#: What the process-wide cache may hold, in tokens; each text counts a fixed share for
#: its key and array header on top of its own tokens.
CACHE_TOKENS = 16_000_000
_TOKENS_PER_ENTRY = 64
_CHUNK = 4096  # texts handed to the tokenizer at once


@dataclass(frozen=True)
class TokenTable:
    """The token ids of many rows, end to end.

    Attributes
    ----------
    ids : ndarray of int32 of shape (n_tokens,)
    segments : ndarray of uint8 of shape (n_tokens,) or None
        The sentence of a pair each token belongs to, for tokenizers that tell.
    offsets : ndarray of int64 of shape (n_rows + 1,)
        Row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    n_truncated : int
        Rows that were longer than ``max_length``.
    """

    ids: np.ndarray
    segments: np.ndarray | None
    offsets: np.ndarray
    n_truncated: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a row."""
        return np.diff(self.offsets)

    def key(self, row: int) -> bytes:
        """What the row holds: equal for rows that the model cannot tell apart."""
        tokens = slice(self.offsets[row], self.offsets[row + 1])
        segments = b"" if self.segments is None else self.segments[tokens].tobytes()
        return self.ids[tokens].tobytes() + segments

    def padded(self, rows: np.ndarray, pad_id: int) -> dict[str, np.ndarray]:
        """The model's inputs for ``rows``, padded on the right to their longest.

        They are narrow: widened on the device, they get there sooner.
        """
        starts, lengths = self.offsets[rows], self.lengths[rows]
        column = np.arange(max(int(lengths.max()), 1))
        mask = column < lengths[:, None]
        position = np.where(mask, starts[:, None] + column, 0)
        inputs = {
            "input_ids": np.where(mask, self.ids[position], np.int32(pad_id)),
            "attention_mask": mask,
        }
        if self.segments is not None:
            inputs["token_type_ids"] = np.where(mask, self.segments[position], np.uint8(0))
        return inputs


class Tokens:
    """A tokenizer that remembers, by text, what it has seen.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    digest : str
        Identity of the tokenizer's files: what is remembered is shared between all
        tokenizers of one digest.
    """

    def __init__(self, tokenizer: Any, digest: str) -> None:
        self._tokenizer = tokenizer
        self._digest = digest
        # A fast tokenizer keeps its truncation as mutable state, so calls take turns.
        self._lock = threading.Lock()

    def table(self, texts: Sequence[Text], max_length: int) -> TokenTable:
        """Token ids of ``texts``, each cut to ``max_length`` tokens."""
        group = (self._digest, max_length)
        unique = list(dict.fromkeys(texts))
        known = _cache.get(group, unique)
        unknown = [text for text in unique if text not in known]
        for start in range(0, len(unknown), _CHUNK):
            chunk = unknown[start : start + _CHUNK]
            fresh = dict(zip(chunk, self._tokenise(chunk, max_length), strict=True))
            _cache.put(group, fresh)
            known |= fresh
        rows = [known[text] for text in texts]
        lengths = np.fromiter((row.array.shape[1] for row in rows), np.int64, len(rows))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.concatenate([row.array[0] for row in rows], dtype=np.int32)
        segments = None
        if any(len(row.array) == 2 for row in rows):
            segments = np.concatenate([row.array[1] for row in rows]).astype(np.uint8)
        return TokenTable(flat, segments, offsets, sum(row.truncated for row in rows))

    def _tokenise(self, texts: Sequence[Text], max_length: int) -> list[_Row]:
        first = [text if isinstance(text, str) else text[0] for text in texts]
        pairs = not isinstance(texts[0], str)
        second = [text[1] for text in texts] if pairs else None
        with self._lock:
            encoded = self._tokenizer(
                first,
                second,
                truncation=True,
                max_length=max_length,
                return_attention_mask=False,
            )
            cut = self._truncated(encoded, first, second, max_length)
        # A tokenizer without special tokens makes nothing of an empty text.
        ends = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id, 0)
        empty = [next(token for token in ends if token is not None)]
        arrays = [np.asarray([ids or empty], dtype=np.int32) for ids in encoded["input_ids"]]
        if pairs and "token_type_ids" in encoded:
            arrays = [
                np.concatenate([ids, np.asarray([types or [0]], dtype=np.int32)])
                for ids, types in zip(arrays, encoded["token_type_ids"], strict=True)
            ]
        return [_Row(array, flag) for array, flag in zip(arrays, cut, strict=True)]

    def _truncated(
        self, encoded: Any, first: list[str], second: list[str] | None, max_length: int
    ) -> list[bool]:
        """Which rows lost tokens; only rows of full length can have."""
        full = [len(ids) >= max_length for ids in encoded["input_ids"]]
        if encoded.is_fast:
            return [
                flag and bool(row.overflowing)
                for flag, row in zip(full, encoded.encodings, strict=True)
            ]
        return [
            flag and len(self._tokenizer(first[i], second and second[i])["input_ids"]) > max_length
            for i, flag in enumerate(full)
        ]


@dataclass(frozen=True)
class _Row:
    array: np.ndarray  # (1, n) ids, or (2, n) ids and segments
    truncated: bool


class _Cache:
    """Rows by tokenizer, length limit and text; the least used go first."""

    def __init__(self, tokens: int) -> None:
        self._capacity = tokens
        self._used = 0
        self._rows: OrderedDict[tuple[Any, Text], _Row] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, group: Any, texts: Sequence[Text]) -> dict[Text, _Row]:
        found = {}
        with self._lock:
            for text in texts:
                row = self._rows.get((group, text))
                if row is not None:
                    self._rows.move_to_end((group, text))
                    found[text] = row
        return found

    def put(self, group: Any, rows: dict[Text, _Row]) -> None:
        with self._lock:
            for text, row in rows.items():
                if (group, text) not in self._rows:
                    self._rows[group, text] = row
                    self._used += row.array.size + _TOKENS_PER_ENTRY
            while self._used > self._capacity:
                _, row = self._rows.popitem(last=False)
                self._used -= row.array.size + _TOKENS_PER_ENTRY

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()
            self._used = 0

    def __len__(self) -> int:
        return len(self._rows)


_cache = _Cache(CACHE_TOKENS)


def clear_tokens() -> None:
    """Forget all remembered token ids."""
    _cache.clear()
