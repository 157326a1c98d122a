"""Rows as a model reads them, with the words that a person sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.inputs.text.spans import TokenSpan, Word, join_tokens

if TYPE_CHECKING:
    from sklearn_lntune.backbone.pool import Backbone
    from sklearn_lntune.inputs.base import Rows, Table
    from sklearn_lntune.persistence.state import FittedState


@dataclass(frozen=True)
class Reading:
    """A row: its text or texts, and its words.

    Attributes
    ----------
    texts : tuple of str
    words : list of Word
    is_text : ndarray of bool of shape (n_tokens,)
        The tokens that the row itself has, rather than the tokenizer adds.
    """

    texts: tuple[str, ...]
    words: list[Word]
    is_text: np.ndarray


def read_rows(state: FittedState, backbone: Backbone, chunk: Rows) -> tuple[Table, list[Reading]]:
    """The table of ``chunk``, and a reading of each row.

    Raises
    ------
    ValueError
        If a text is read in several windows, or the tokenizer does not say what tokens stand for.
    """
    if state.task.per_token:
        return _read_sentences(state, backbone, chunk)
    rows: Any = chunk.rows
    if state.window_pooling == COMPARED:
        spans = _spans_one_by_one(rows, state, backbone)
        table: Table = backbone.tokens.table(chunk, state.max_length, state.stride)
    else:
        spans = backbone.tokens.spans(rows, state.max_length)
        table = cut = backbone.tokens.table(chunk, state.max_length)
        if state.stride is not None and cut.n_truncated:
            raise _several_windows(rows[int(cut.truncated.argmax())], state)
    readings = []
    for row, own in zip(rows, spans, strict=True):
        texts = (row,) if isinstance(row, str) else row
        is_text = np.array([span is not None for span in own])
        readings.append(Reading(texts, join_tokens(texts, own), is_text))
    return table, readings


def _spans_one_by_one(
    pairs: Sequence[tuple[str, str]], state: FittedState, backbone: Backbone
) -> list[list[TokenSpan | None]]:
    """The spans of the first text's tokens, and behind them those of the second's."""
    firsts, seconds = (
        backbone.tokens.spans([pair[side] for pair in pairs], state.max_length) for side in (0, 1)
    )
    return [
        [*first, *(span and replace(span, sentence=1) for span in second)]
        for first, second in zip(firsts, seconds, strict=True)
    ]


def _read_sentences(
    state: FittedState, backbone: Backbone, chunk: Rows
) -> tuple[Table, list[Reading]]:
    table: Any = backbone.tokens.table(chunk, state.max_length)
    sentences: Any = chunk.rows
    windows = np.bincount(table.ranks(), minlength=len(sentences))
    if windows.max() > 1:
        raise _several_windows(" ".join(sentences[int(windows.argmax())]), state)
    n_added = backbone.tokenizer.num_special_tokens_to_add(pair=False)
    positions = table.positions(np.arange(len(table)))
    readings = []
    for words, begins, n_tokens in zip(sentences, positions, table.lengths.tolist(), strict=True):
        edges = begins[: len(words)].tolist()
        # Behind the last word are as many tokens as the tokenizer adds at the end.
        edges.append(n_tokens - n_added + edges[0] if edges else 0)
        is_text = np.zeros(n_tokens, bool)
        is_text[edges[0] : edges[-1]] = True
        found, start = [], 0
        for word, first, behind in zip(words, edges, edges[1:], strict=False):
            found.append(Word(0, start, start + len(word), tuple(range(first, behind))))
            start += len(word) + 1
        readings.append(Reading((" ".join(words),), found, is_text))
    return table, readings


def _several_windows(text: str, state: FittedState) -> ValueError:
    return ValueError(
        f"the text {text!r:.60} is longer than max_length={state.max_length} tokens, so it is read "
        "in several windows, and only texts of one can be explained. Pass its parts."
    )
