"""Find the words of a text, and which tokens belong to each, from the tokenizer's offsets."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Scripts that separate words by nothing: there, what the tokenizer found is shown.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class TokenSpan:
    """Where the characters of one token are.

    Attributes
    ----------
    sentence : int
        0, or 1 for the second text of a pair.
    start, end : int
        ``text[start:end]`` are the characters.
    """

    sentence: int
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """A word of a text, or a run of punctuation.

    Attributes
    ----------
    sentence : int
        0, or 1 for the second text of a pair.
    start, end : int
        ``text[start:end]`` is the word.
    tokens : tuple of int
        Numbers of its tokens in the row.
    """

    sentence: int
    start: int
    end: int
    tokens: tuple[int, ...]


def join_tokens(texts: Sequence[str], spans: Sequence[TokenSpan | None]) -> list[Word]:
    """The words that the tokens of a row form, in order.

    Parameters
    ----------
    texts : sequence of str
        One text, or the two of a pair.
    spans : sequence of TokenSpan or None
        One entry per token; None for a token that the tokenizer adds.

    Returns
    -------
    list of Word
        Every token with a span belongs to exactly one.

    Examples
    --------
    >>> spans = [None, *(TokenSpan(0, *span) for span in [(0, 3), (3, 4), (4, 5), (6, 9)])]
    >>> words = join_tokens(["don't ask"], spans)
    >>> [("don't ask"[word.start : word.end], word.tokens) for word in words]
    [("don't", (1, 2, 3)), ('ask', (4,))]
    """
    pieces = [_pieces(text) for text in texts]
    words: list[Word] = []
    piece = -1
    for token, span in enumerate(spans):
        if span is None:
            continue
        text, last = texts[span.sentence], words[-1] if words else None
        start, end = _stripped(text, span.start, span.end)
        found = pieces[span.sentence][start] if start < end else -1
        same = last is not None and last.sentence == span.sentence
        if last is not None and same and (start >= end or _joins(text, last, start, piece, found)):
            # Tokens of bytes may lie within the characters of the one before.
            known = [(a, b) for a, b in ((last.start, last.end), (start, end)) if a < b]
            first, behind = (
                (min(a for a, _ in known), max(b for _, b in known)) if known else (0, 0)
            )
            words[-1] = Word(last.sentence, first, behind, (*last.tokens, token))
            piece = found if last.start == last.end else piece
        else:
            words.append(Word(span.sentence, start, end, (token,)))
            piece = found
    return words


def _joins(text: str, last: Word, start: int, piece: int, found: int) -> bool:
    """Whether a token that starts at ``start`` continues the word ``last``."""
    if start < last.end or last.start == last.end:
        return True
    return found == piece and not (_is_unspaced(text[last.end - 1]) or _is_unspaced(text[start]))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the blanks at its ends, which some tokenizers count to a token."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _pieces(text: str) -> list[int]:
    """For each character, the number of its piece: a word, or punctuation beside it."""
    numbers, number = [0] * len(text), 0
    for start, end in _runs(text):
        first, last = start, end
        while first < last and _is_punctuation(text[first]):
            first += 1
        while last > first and _is_punctuation(text[last - 1]):
            last -= 1
        for a, b in ((start, first), (first, last), (last, end)):
            number += 1
            numbers[a:b] = [number] * (b - a)
    return numbers


def _runs(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each run of characters without a blank."""
    start = 0
    for at, character in enumerate(text):
        if character.isspace():
            if start < at:
                yield start, at
            start = at + 1
    if start < len(text):
        yield start, len(text)


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_unspaced(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _UNSPACED)
