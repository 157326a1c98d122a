"""Rows as a model reads them, with the words that a person sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.inputs.text.spans import Word, join_tokens

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
        If a row is read in several windows or as two texts, or the tokenizer does not say
        what tokens stand for.
    """
    if state.task.per_token:
        return _read_sentences(state, backbone, chunk)
    if state.window_pooling == COMPARED:
        raise ValueError(
            "words are explained where a backbone reads a row as one text, and this estimator was "
            "fitted with pairs='separate': fit with pairs='joined' to explain."
        )
    rows: Any = chunk.rows
    spans = backbone.tokens.spans(rows, state.max_length)
    table = backbone.tokens.table(chunk, state.max_length)
    if state.stride is not None and table.n_truncated:
        raise _several_windows(rows[int(table.truncated.argmax())], state)
    readings = []
    for row, own in zip(rows, spans, strict=True):
        texts = (row,) if isinstance(row, str) else row
        is_text = np.array([span is not None for span in own])
        readings.append(Reading(texts, join_tokens(texts, own), is_text))
    return table, readings


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
