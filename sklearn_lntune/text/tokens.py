"""Tokenise texts chunk by chunk into compact tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from sklearn_lntune.text.cache import RowCache, keys_of
from sklearn_lntune.text.check import Text
from sklearn_lntune.text.growing import Growing
from sklearn_lntune.text.stream import Texts, TextTable
from sklearn_lntune.text.table import ID_BITS, ArrowRows, MemoryRows, TokenTable

_CHUNK = 512  # texts handed to the tokenizer at once: its own output is bulky
_cache = RowCache()


class Tokens:
    """A tokenizer that remembers what it has seen.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    digest : str
        Identity of the tokenizer's files: what is remembered is shared between all
        tokenizers of one digest.
    n_rows : int, optional
        Rows of the model's table of embeddings.
    """

    def __init__(self, tokenizer: Any, digest: str, n_rows: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._digest = digest
        self._n_rows = n_rows
        # A fast tokenizer keeps its truncation as mutable state, so calls take turns.
        self._lock = threading.Lock()

    def table(self, texts: Texts, max_length: int) -> TokenTable:
        """Tokens of ``texts``, each cut to ``max_length`` of them.

        Those of a `TextTable` are written to disk and mapped; they pass the cache by.
        """
        streamed = isinstance(texts, TextTable)
        # One call fills half of the cache at most: one that is larger must not drive out,
        # row by row, what its own repetition would look for.
        room = 0 if streamed else _cache.capacity // 2
        store = ArrowRows() if streamed else MemoryRows()
        lengths, truncated = Growing(), Growing()
        paired = False
        for chunk in _chunks(texts):
            paired = not isinstance(chunk[0], str)
            rows, added = self._rows(chunk, max_length, room)
            room -= added
            sizes = np.fromiter(map(len, rows), np.int32, len(rows))
            cut = (sizes & 1).astype(bool)
            sizes //= 4
            whole = b"".join(row[:-1] if len(row) & 1 else row for row in rows)
            store.add(np.frombuffer(whole, np.int32), sizes)
            lengths.add(sizes)
            truncated.add(cut)
        tokens, starts = store.mapped(lengths.whole())
        return TokenTable(
            tokens, starts, lengths.whole(), truncated.whole(), paired and self._tells_segments
        )

    @property
    def _tells_segments(self) -> bool:
        return "token_type_ids" in self._tokenizer.model_input_names

    def _rows(self, texts: Sequence[Text], max_length: int, room: int) -> tuple[list[bytes], int]:
        """The rows of ``texts`` in the cache's form, and how many bytes it took in."""
        unique = list(dict.fromkeys(texts))
        keys = list(keys_of(f"{self._digest}:{max_length}", unique)) if room > 0 else []
        seen = _cache.get(keys) if keys else [None] * len(unique)
        known = dict(zip(unique, seen, strict=True))
        unknown = [text for text in unique if known[text] is None]
        added = 0
        if unknown:
            fresh = self._tokenise(unknown, max_length)
            known.update(zip(unknown, fresh, strict=True))
            if keys:
                new = [key for key, row in zip(keys, seen, strict=True) if row is None]
                added = _cache.put(new, fresh)
        return [known[text] or b"" for text in texts], added

    def _tokenise(self, texts: list[Text], max_length: int) -> list[bytes]:
        """Each text as the bytes of its tokens, and one more byte if it was cut."""
        pairs = not isinstance(texts[0], str)
        with self._lock:
            encode = self._encode if _is_plain(self._tokenizer) else self._call
            ids, segments, cut = encode(texts, pairs, max_length)
        # A tokenizer without special tokens makes nothing of an empty text.
        ends = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id, 0)
        empty = [next(token for token in ends if token is not None)]
        ids = [row or empty for row in ids]
        flat = np.array(list(chain.from_iterable(ids)), np.int32)
        if self._n_rows is not None and flat.max() >= self._n_rows:
            self._refuse(texts, ids, self._n_rows)
        if segments is not None:
            above = chain.from_iterable(row or [0] for row in segments)
            flat |= np.fromiter(above, np.int32, len(flat)) << ID_BITS
        data = flat.tobytes()
        ends_at = np.cumsum([0, *(4 * len(row) for row in ids)]).tolist()
        return [
            data[start:end] + b"\1" if flag else data[start:end]
            for (start, end), flag in zip(pairwise(ends_at), cut, strict=True)
        ]

    def _refuse(self, texts: list[Text], ids: list[list[int]], n_rows: int) -> None:
        """Name the first text with a token that the model has no embedding for."""
        for text, row in zip(texts, ids, strict=True):
            if max(row) >= n_rows:
                token = self._tokenizer.convert_ids_to_tokens(max(row))
                raise ValueError(
                    f"the text {text!r:.80} holds the token {token!r}, for which this backbone has "
                    "no embedding; remove it from the text."
                )

    def _encode(self, texts: list[Text], pairs: bool, max_length: int) -> Any:
        """Ids, segments and cuts straight from the tokenizer's core, without offsets."""
        # An ordinary call sets up truncation and all else as transformers does.
        self._tokenizer([""], truncation=True, max_length=max_length)
        encodings = self._tokenizer.backend_tokenizer.encode_batch_fast(texts)
        ids = [encoding.ids for encoding in encodings]
        segments = None
        if pairs and self._tells_segments:
            segments = [encoding.type_ids for encoding in encodings]
        return ids, segments, _cuts(ids, encodings, max_length)

    def _call(self, texts: list[Text], pairs: bool, max_length: int) -> Any:
        """As `_encode`, for tokenizers with ways of their own."""
        first = [text[0] for text in texts] if pairs else texts
        second = [text[1] for text in texts] if pairs else None
        encoded = self._tokenizer(
            first, second, truncation=True, max_length=max_length, return_attention_mask=False
        )
        ids = encoded["input_ids"]
        segments = encoded.get("token_type_ids") if pairs and self._tells_segments else None
        if encoded.is_fast:
            return ids, segments, _cuts(ids, encoded.encodings, max_length)
        cut = [
            len(row) >= max_length
            and len(self._tokenizer(first[i], second and second[i])["input_ids"]) > max_length
            for i, row in enumerate(ids)
        ]
        return ids, segments, cut


def _chunks(texts: Texts) -> Iterator[Sequence[Text]]:
    if isinstance(texts, TextTable):
        yield from texts.chunks(_CHUNK)
    else:
        for start in range(0, len(texts), _CHUNK):
            yield texts[start : start + _CHUNK]


def _cuts(ids: list[list[int]], encodings: Any, max_length: int) -> list[bool]:
    """Which rows lost tokens; only rows of full length can have."""
    return [
        len(row) >= max_length and bool(encoding.overflowing)
        for row, encoding in zip(ids, encodings, strict=True)
    ]


def _is_plain(tokenizer: Any) -> bool:
    """Whether a tokenizer adds nothing of its own to what its core computes."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    return isinstance(tokenizer, PreTrainedTokenizerFast) and all(
        getattr(kind, name, None) is getattr(PreTrainedTokenizerFast, name, None)
        for name in ("__call__", "_encode_plus", "_batch_encode_plus", "_convert_encoding")
    )


def clear_tokens() -> None:
    """Forget all remembered tokens."""
    _cache.clear()
