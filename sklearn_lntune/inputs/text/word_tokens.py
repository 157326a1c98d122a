"""Tokenise sentences that are split into words already, and cut long ones into windows."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from sklearn_lntune.inputs.base import Examples
from sklearn_lntune.inputs.text.table import TableBuilder
from sklearn_lntune.inputs.text.windows import middles, window_spans
from sklearn_lntune.inputs.text.word_table import WordTable

_CHUNK = 512  # sentences handed to the tokenizer at once


class Sentence(NamedTuple):
    """Tokens of a sentence, without special ones.

    Attributes
    ----------
    ids : list of int
    begins : list of int
        For each word, the number of its first token.
    """

    ids: list[int]
    begins: list[int]


class WordEncoder:
    """Makes tables of sentences with a tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    pad_id : int
        The token that the model knows as padding.
    n_rows : int or None
        Rows of the model's table of embeddings.
    lock : context manager
        Held while the tokenizer is used.
    """

    def __init__(
        self, tokenizer: Any, pad_id: int, n_rows: int | None, lock: AbstractContextManager[Any]
    ) -> None:
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._n_rows = n_rows
        self._lock = lock
        with lock:
            self._space = ""
            self._space = self._space_before_words()
            self._before, self._after = self._special_tokens()

    def table(self, examples: Examples, max_length: int) -> WordTable:
        """The windows of ``examples``, each of at most ``max_length`` tokens.

        Neighbouring windows share half of their tokens, so that every word has a quarter of a
        window of context on both sides, unless the sentence ends there. A word has its output in
        the window whose middle is nearest to its first token.
        """
        size = max_length - len(self._before) - len(self._after)
        builder = TableBuilder(in_file=examples.held is None)
        begins, n_words, sentences = array("i"), array("i"), array("i")
        done = 0
        for chunk in examples.chunks(_CHUNK):
            encoded = self.encode(chunk.rows)
            for number, sentence in enumerate(encoded, start=done):
                for ids, own in self._windows(sentence, size):
                    builder.add([ids], [False])
                    begins.extend(own)
                    n_words.append(len(own))
                    sentences.append(number)
            done += len(encoded)
        counts = np.frombuffer(n_words, np.int32)
        return WordTable(
            **vars(builder.table(with_segments=False, pad_id=self._pad_id)),
            begins=np.frombuffer(begins, np.int32),
            first_begins=np.cumsum(counts, dtype=np.int64) - counts,
            n_words=counts,
            sentences=np.frombuffer(sentences, np.int32),
        )

    def encode(self, sentences: Sequence[Any]) -> list[Sentence]:
        """The tokens of a few ``sentences``; every word has at least one.

        A word of which the tokenizer makes nothing (a character that it drops) becomes its
        token for unknown words.
        """
        with self._lock:
            split = self._core_words if self._tokenizer.is_fast else self._python_words
            pieces = split(sentences)
        found = []
        for words, parts in zip(sentences, pieces, strict=True):
            ids: list[int] = []
            begins = []
            for part in parts:
                begins.append(len(ids))
                ids += part or [self._unknown]
            if self._n_rows is not None and max(ids, default=0) >= self._n_rows:
                self._refuse(words, parts, self._n_rows)
            found.append(Sentence(ids, begins))
        return found

    def _windows(self, sentence: Sentence, size: int) -> list[tuple[list[int], list[int]]]:
        """Ids of each window with the special tokens, and where the words of its middle begin."""
        spans = window_spans(len(sentence.ids), size, size // 2)
        n_before, word = len(self._before), 0
        windows: list[tuple[list[int], list[int]]] = []
        for (start, stop), (_, last) in zip(spans, middles(spans), strict=True):
            first = word
            while word < len(sentence.begins) and sentence.begins[word] < last:
                word += 1
            # A window inside one very long word has no word to give an output for.
            if word > first or not windows:
                own = [begin - start + n_before for begin in sentence.begins[first:word]]
                ids = [*self._before, *sentence.ids[start:stop], *self._after]
                windows.append((ids or [self._unknown], own))
        return windows

    # -- the tokenizer -------------------------------------------------------------

    def _core_words(self, sentences: Sequence[Any]) -> list[list[list[int]]]:
        """The tokens of each word, by the core of a fast tokenizer and its word ids."""
        self._tokenizer([""])  # switches off truncation and padding, as transformers does
        batch = [[self._space + word for word in words] for words in sentences]
        encodings = self._tokenizer.backend_tokenizer.encode_batch(
            batch, is_pretokenized=True, add_special_tokens=False
        )
        found = []
        for words, encoding in zip(sentences, encodings, strict=True):
            parts: list[list[int]] = [[] for _ in words]
            for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:
                    parts[word].append(token)
            found.append(parts)
        return found

    def _python_words(self, sentences: Sequence[Any]) -> list[list[list[int]]]:
        """As `_core_words`, word by word, which is how transformers' slow tokenizers do it."""
        as_ids, split = self._tokenizer.convert_tokens_to_ids, self._tokenizer.tokenize
        return [[as_ids(split(self._space + word)) for word in words] for words in sentences]

    def _space_before_words(self) -> str:
        """What words have to begin with to be the same tokens as in a text.

        The vocabularies of GPT-2 and its descendants contain words with the space before them.
        """
        text = self._tokenizer("a b", add_special_tokens=False)["input_ids"]
        split = self._core_words if self._tokenizer.is_fast else self._python_words
        for space in ("", " "):
            if list(chain.from_iterable(split([["a", space + "b"]])[0])) == text:
                return space
        return ""

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """The tokens before and after a sentence."""
        whole = list(self._tokenizer("a")["input_ids"])
        inner = list(self._tokenizer("a", add_special_tokens=False)["input_ids"])
        for start in range(len(whole) - len(inner) + 1):
            if whole[start : start + len(inner)] == inner:
                return whole[:start], whole[start + len(inner) :]
        return [], []

    @property
    def _unknown(self) -> int:
        """The token that stands for a word of which the tokenizer makes nothing."""
        known = self._tokenizer
        chosen = (known.unk_token_id, known.eos_token_id, known.pad_token_id, 0)
        return int(next(token for token in chosen if token is not None))

    def _refuse(self, words: Sequence[str], parts: list[list[int]], n_rows: int) -> None:
        """Name the first word with a token that the model has no embedding for."""
        for word, part in zip(words, parts, strict=True):
            if max(part, default=0) >= n_rows:
                token = self._tokenizer.convert_ids_to_tokens(max(part))
                raise ValueError(
                    f"the word {word!r:.80} holds the token {token!r}, for which this backbone has "
                    "no embedding; remove it from the sentence."
                )
