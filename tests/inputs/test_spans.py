"""Words from tokens."""

from __future__ import annotations

import pytest

from sklearn_lntune.inputs.text.spans import TokenSpan, join_tokens


def words(text: str, spans: list[tuple[int, int]]) -> list[str]:
    found = join_tokens([text], [TokenSpan(0, *span) for span in spans])
    assert [token for word in found for token in word.tokens] == list(range(len(spans)))
    return [text[word.start : word.end] for word in found]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("unhappy dog", [(0, 2), (2, 7), (8, 11)], ["unhappy", "dog"]),
        ("unhappy dog", [(0, 2), (2, 7), (7, 11)], ["unhappy", "dog"]),  # with the blank before
        ("no dog", [(0, 3), (3, 6)], ["no", "dog"]),  # with the blank behind
        ("don't", [(0, 3), (3, 4), (4, 5)], ["don't"]),
        ("well-known 3.50", [(0, 4), (4, 5), (5, 10), (11, 15)], ["well-known", "3.50"]),
        ("great!!", [(0, 5), (5, 6), (6, 7)], ["great", "!!"]),
        ('"great"', [(0, 1), (1, 6), (6, 7)], ['"', "great", '"']),
        ("a\n\tb", [(0, 1), (1, 2), (2, 3), (3, 4)], ["a", "b"]),  # tokens of blanks alone
        ("\U0001f600!", [(0, 1), (0, 1), (0, 1), (1, 2)], ["\U0001f600!"]),  # bytes of a character
        ("我爱你", [(0, 1), (1, 3)], ["我", "爱你"]),
        ("หมา cat", [(0, 2), (2, 3), (4, 7)], ["หม", "า", "cat"]),
        ("हिन्दी", [(0, 2), (2, 6)], ["हिन्दी"]),  # vowel signs are no letters of their own
        ("café noir", [(0, 2), (2, 4), (5, 9)], ["café", "noir"]),
    ],
)
def test_tokens_are_joined(text: str, spans: list[tuple[int, int]], expected: list[str]) -> None:
    assert words(text, spans) == expected


def test_a_blank_before_the_first_word_belongs_to_it() -> None:
    assert words("  a", [(0, 1), (1, 2), (2, 3)]) == ["a"]


def test_added_tokens_and_the_texts_of_a_pair_stay_apart() -> None:
    spans = [None, TokenSpan(0, 0, 1), None, TokenSpan(1, 0, 1), TokenSpan(1, 1, 2), None]
    found = join_tokens(["a", "bc"], spans)
    assert [(word.sentence, word.tokens) for word in found] == [(0, (1,)), (1, (3, 4))]


def test_nothing_gives_no_words() -> None:
    assert join_tokens([""], [None, None]) == []
