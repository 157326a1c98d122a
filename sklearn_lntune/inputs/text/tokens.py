"""Tokenise texts chunk by chunk into compact tables."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.inputs.array_file import ArrayFile
from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.text.check import Text
from sklearn_lntune.inputs.text.table import ID_BITS, TokenTable

_CHUNK = 512  # texts handed to the tokenizer at once: its own output is bulky


class Encoded(NamedTuple):
    """What a tokenizer makes of texts, one entry for each of them.

    Attributes
    ----------
    ids : list of list of int
        Never empty: a text without any token is one token of padding.
    segments : list of list of int, or None
        The sentence of a pair that each token belongs to, if the model is told.
    cut : list of bool
        Whether the text was longer than ``max_length``.
    """

    ids: list[list[int]]
    segments: list[list[int]] | None
    cut: list[bool]


class Tokens:
    """A tokenizer, for any number of threads.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    pad_id : int
        The token that the model knows as padding.
    n_rows : int, optional
        Rows of the model's table of embeddings.
    """

    def __init__(self, tokenizer: Any, pad_id: int = 0, n_rows: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._n_rows = n_rows
        # A fast tokenizer keeps its truncation as mutable state, so calls take turns.
        self._lock = ForkSafeLock()

    def table(self, examples: Examples | Sequence[Text], max_length: int) -> TokenTable:
        """Tokens of texts or pairs, each cut to ``max_length`` of them.

        Those of a stream are written to disk and mapped.
        """
        if not isinstance(examples, Examples):
            examples = Rows(examples)
        file = ArrayFile(np.int32) if examples.held is None else None
        # Arrays that grow by a sixteenth in place: a list of parts, joined at the end, would
        # hold everything twice.
        held, sizes, cuts = array("i"), array("i"), array("B")
        add = held.frombytes if file is None else file.write
        paired = False
        for chunk in examples.chunks(_CHUNK):
            texts: Any = chunk.rows
            paired = not isinstance(texts[0], str)
            ids, segments, cut = self.encode(texts, max_length)
            tokens = _joined(ids)
            if segments is not None:
                tokens |= _joined(segments) << ID_BITS
            add(tokens.tobytes())
            sizes.extend(map(len, ids))
            cuts.extend(cut)
        lengths = np.frombuffer(sizes, np.int32)
        return TokenTable(
            np.frombuffer(held, np.int32) if file is None else file.mapped(),
            np.cumsum(lengths, dtype=np.int64) - lengths,
            lengths,
            np.frombuffer(cuts, bool),
            with_segments=paired and self._tells_segments,
            pad_id=self._pad_id,
        )

    def example(self, n_columns: int) -> Rows:
        """Two texts, or two pairs."""
        return Rows([("a text", "another")] * 2 if n_columns == 2 else ["a text", "another"])

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """The tokens of a few ``texts``, or of a few pairs, as lists."""
        pairs = not isinstance(texts[0], str)
        with self._lock:
            encode = self._encode if _is_plain(self._tokenizer) else self._call
            ids, segments, cut = encode(texts, pairs, max_length)
        # A tokenizer without special tokens makes nothing of an empty text.
        ends = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id, 0)
        empty = [next(token for token in ends if token is not None)]
        ids = [row or empty for row in ids]
        if self._n_rows is not None and max(map(max, ids)) >= self._n_rows:
            self._refuse(texts, ids, self._n_rows)
        return Encoded(ids, segments and [row or [0] for row in segments], cut)

    def _refuse(self, texts: Sequence[Text], ids: list[list[int]], n_rows: int) -> None:
        """Name the first text with a token that the model has no embedding for."""
        for text, row in zip(texts, ids, strict=True):
            if max(row) >= n_rows:
                token = self._tokenizer.convert_ids_to_tokens(max(row))
                raise ValueError(
                    f"the text {text!r:.80} holds the token {token!r}, for which this backbone has "
                    "no embedding; remove it from the text."
                )

    @property
    def _tells_segments(self) -> bool:
        return "token_type_ids" in self._tokenizer.model_input_names

    def _encode(self, texts: Sequence[Text], pairs: bool, max_length: int) -> Any:
        """Ids, segments and cuts straight from the tokenizer's core, without offsets."""
        # An ordinary call sets up truncation and all else as transformers does.
        self._tokenizer([""], truncation=True, max_length=max_length)
        encodings = self._tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
        ids = [encoding.ids for encoding in encodings]
        segments = None
        if pairs and self._tells_segments:
            segments = [encoding.type_ids for encoding in encodings]
        return ids, segments, _cuts(ids, encodings, max_length)

    def _call(self, texts: Sequence[Text], pairs: bool, max_length: int) -> Any:
        """As `_encode`, for tokenizers with ways of their own."""
        first = [text[0] for text in texts] if pairs else list(texts)
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


def _joined(rows: list[list[int]]) -> np.ndarray:
    return np.array(list(chain.from_iterable(rows)), np.int32)


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
