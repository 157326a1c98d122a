"""Tokenise texts chunk by chunk into compact tables."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, overload

import numpy as np

from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.text.check import Text
from sklearn_lntune.inputs.text.spans import TokenSpan
from sklearn_lntune.inputs.text.table import TableBuilder, TokenTable
from sklearn_lntune.inputs.text.windows import window_spans
from sklearn_lntune.inputs.text.word_tokens import WordEncoder
from sklearn_lntune.inputs.windows import WindowTable, window_table

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

    @overload
    def table(self, examples: Examples | Sequence[Text], max_length: int) -> TokenTable: ...

    @overload
    def table(
        self, examples: Examples | Sequence[Text], max_length: int, stride: int | None = None
    ) -> TokenTable | WindowTable: ...

    def table(
        self, examples: Examples | Sequence[Text], max_length: int, stride: int | None = None
    ) -> TokenTable | WindowTable:
        """Tokens of texts or pairs.

        Those of a stream are written to disk and mapped.

        Parameters
        ----------
        examples : Examples or sequence
        max_length : int
            Of a row, or a window, with its special tokens.
        stride : int, optional
            Cut longer texts into windows that share so many tokens with their neighbours,
            instead of truncating them. Of a pair, each text is one window, and truncated.
        """
        if not isinstance(examples, Examples):
            examples = Rows(examples)
        if examples.per_word:
            encoder = WordEncoder(self._tokenizer, self._pad_id, self._n_rows, self._lock)
            return encoder.table(examples, max_length)
        builder = TableBuilder(in_file=examples.held is None)
        counts = array("q")  # grows in place, as those of the builder
        paired = False
        for chunk in examples.chunks(_CHUNK):
            texts: Any = chunk.rows
            paired = not isinstance(texts[0], str)
            if stride is None:
                ids, segments, cut = self.encode(texts, max_length)
                builder.add(ids, cut, segments)
            elif paired:
                # All first and second texts by turns, as if they were twice as many rows.
                ids, _, cut = self.encode(list(chain.from_iterable(texts)), max_length)
                builder.add(ids, cut)
                counts.extend([2] * len(texts))
            else:
                windows = self.windows(texts, max_length, stride)
                builder.add(list(chain.from_iterable(windows)), [False] * sum(map(len, windows)))
                counts.extend(map(len, windows))
        together = paired and stride is None
        table = builder.table(with_segments=together and self._tells_segments, pad_id=self._pad_id)
        return table if stride is None else window_table(table, np.frombuffer(counts, np.int64))

    def example(self, n_columns: int) -> Rows:
        """Two texts, or two pairs."""
        return Rows([("a text", "another")] * 2 if n_columns == 2 else ["a text", "another"])

    def encode(self, texts: Sequence[Text], max_length: int) -> Encoded:
        """The tokens of a few ``texts``, or of a few pairs, as lists."""
        pairs = not isinstance(texts[0], str)
        with self._lock:
            encode = self._encode if _is_plain(self._tokenizer) else self._call
            ids, segments, cut = encode(texts, pairs, max_length)
        ids = [row or self._empty for row in ids]
        self._check_known(texts, ids)
        return Encoded(ids, segments and [row or [0] for row in segments], cut)

    def spans(self, texts: Sequence[Text], max_length: int) -> list[list[TokenSpan | None]]:
        """For each token that `encode` makes of ``texts``, where its characters are.

        Tokens that the tokenizer adds have no span.

        Raises
        ------
        ValueError
            If the tokenizer does not say.
        """
        if not self._tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer of this backbone ({type(self._tokenizer).__name__}) does not say "
                "which characters a token stands for; that needs a fast one (a tokenizer.json)."
            )
        first, second = _columns(texts)
        with self._lock:
            encoded = self._tokenizer(first, second, truncation=True, max_length=max_length)
        return [
            [
                None if sentence is None else TokenSpan(sentence, *span)
                for sentence, span in zip(each.sequence_ids, each.offsets, strict=True)
            ]
            or [None]  # as `encode` makes one token of a text without any
            for each in encoded.encodings
        ]

    def windows(self, texts: Sequence[Text], max_length: int, stride: int) -> list[list[list[int]]]:
        """The ids of each window of a few ``texts``, none of them a pair.

        The tokens of a text are those of the whole text, with the special tokens added to each
        window. The first window is what truncation would leave.
        """
        with self._lock:
            plain = _is_plain(self._tokenizer)
            cut = self._core_windows if plain else self._called_windows
            nested = cut(list(texts), max_length, stride)
        windows = [[row or self._empty for row in rows] for rows in nested]
        self._check_known(texts, [list(chain.from_iterable(rows)) for rows in windows])
        return windows

    @property
    def _empty(self) -> list[int]:
        """The row of an empty text, of which a tokenizer without special tokens makes nothing."""
        ends = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id, 0)
        return [next(token for token in ends if token is not None)]

    def _check_known(self, texts: Sequence[Text], ids: list[list[int]]) -> None:
        """Name the first text with a token that the model has no embedding for."""
        n_rows = self._n_rows
        if n_rows is None or max(map(max, ids)) < n_rows:
            return
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
        first, second = _columns(texts)
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

    def _core_windows(
        self, texts: list[Text], max_length: int, stride: int
    ) -> list[list[list[int]]]:
        self._tokenizer([""], truncation=True, max_length=max_length, stride=stride)
        encodings = self._tokenizer.backend_tokenizer.encode_batch_fast(texts)
        return [[row.ids, *(rest.ids for rest in row.overflowing)] for row in encodings]

    def _called_windows(
        self, texts: list[Text], max_length: int, stride: int
    ) -> list[list[list[int]]]:
        """As `_core_windows`, for tokenizers with ways of their own."""
        if not self._tokenizer.is_fast:
            return [self._slow_windows(text, max_length, stride) for text in texts]
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_attention_mask=False,
        )
        windows: list[list[list[int]]] = [[] for _ in texts]
        owners = encoded["overflow_to_sample_mapping"]
        for owner, ids in zip(owners, encoded["input_ids"], strict=True):
            windows[owner].append(ids)
        return windows

    def _slow_windows(self, text: Text, max_length: int, stride: int) -> list[list[int]]:
        """Windows of a text by a tokenizer in Python, which can only truncate."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        size = max_length - self._tokenizer.num_special_tokens_to_add(pair=False)
        spans = window_spans(len(ids), size, stride)
        if self._tokenizer.truncation_side == "left":
            spans = [(len(ids) - stop, len(ids) - start) for start, stop in spans]
        return [
            self._tokenizer.prepare_for_model(ids[start:stop])["input_ids"] for start, stop in spans
        ]


def _columns(texts: Sequence[Text]) -> tuple[list[str], list[str] | None]:
    """The texts, or the first and the second texts of pairs."""
    if isinstance(texts[0], str):
        return [str(text) for text in texts], None
    return [text[0] for text in texts], [text[1] for text in texts]


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
