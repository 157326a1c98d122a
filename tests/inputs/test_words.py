"""Sentences of words: what is accepted, their tokens, and the windows of long ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import WORDS
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from

from sklearn_lntune.inputs.base import joined
from sklearn_lntune.inputs.per_word import (
    first_windows,
    for_examples,
    in_row_order,
    n_outputs,
    take_examples,
)
from sklearn_lntune.inputs.text.table import ID_BITS
from sklearn_lntune.inputs.text.tokens import Tokens
from sklearn_lntune.inputs.text.word_table import WordTable
from sklearn_lntune.inputs.text.words import Sentences, WordInput, check_lengths, check_sentences

# "12.5" is several tokens; the pre-tokenizer makes nothing of a word of spaces.
SENTENCES = lists(
    lists(sampled_from([*WORDS[:6], "12.5", "1234", "unheard", " "]), max_size=14),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Callable[..., Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_backbone())


def table_of(tokenizer: Any, sentences: list[list[str]], max_length: int = 100) -> WordTable:
    table: Any = Tokens(tokenizer).table(Sentences(list(map(tuple, sentences))), max_length)
    return table


def ids_of(table: WordTable, row: int) -> list[int]:
    return (np.frombuffer(table.key(row), np.int32) & (2**ID_BITS - 1)).tolist()


def first_tokens(table: WordTable) -> list[list[int]]:
    """For each sentence, the tokens that stand for its words."""
    found: dict[int, list[int]] = {}
    positions = table.positions(np.arange(len(table)))
    for row in range(len(table)):
        ids, own = ids_of(table, row), positions[row, : table.n_words[row]]
        found.setdefault(int(table.sentences[row]), []).extend(ids[at] for at in own)
    return [found[number] for number in sorted(found)]


# -- what is accepted ----------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        [["good", "cat"], ["dog"]],
        (("good", "cat"), ("dog",)),
        ["good  cat\n", " dog"],
        ["good cat", ["dog"]],
        pd.Series([["good", "cat"], ["dog"]]),
        pd.Series([np.array(["good", "cat"]), np.array(["dog"])]),
        pd.DataFrame({"tokens": [["good", "cat"], ["dog"]]}),
    ],
    ids=["lists", "tuples", "texts", "both", "series", "arrays", "frame"],
)
def test_every_form_gives_tuples_of_words(X: Any) -> None:
    assert check_sentences(X) == [("good", "cat"), ("dog",)]


def test_columns_of_other_libraries_give_tuples_of_words() -> None:
    import polars as pl
    import pyarrow as pa
    from datasets import Dataset

    rows = [["good", "cat"], ["dog"]]
    for X in (
        pl.Series(rows),
        pa.chunked_array([rows]),
        Dataset.from_dict({"tokens": rows})["tokens"],
        np.array([["good", "cat"], ["old", "dog"]])[:1],
    ):
        assert check_sentences(X)[0] == ("good", "cat")


def test_two_words_are_a_sentence_and_no_pair() -> None:
    rows = WordInput().rows([["good", "cat"]])
    assert rows.n_columns == 1
    assert rows.take(np.array([0])).per_word


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a text", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
        (iter([["a"]]), TypeError, "Turn it into a list"),
        ([], ValueError, "0 sample"),
        ([["a"], None], ValueError, "row 1 of X is missing"),
        ([["a"], 3], TypeError, "row 1 of X is int"),
        ([["a"], b"b"], TypeError, "row 1 of X is bytes; decode"),
        ([["a"], ["b", 3]], TypeError, "word 1 of row 1 of X is int"),
        ([["a"], ["b", None]], ValueError, "word 1 of row 1 of X is missing"),
        ([["a"], ["b", float("nan")]], ValueError, "word 1 of row 1 of X is missing"),
        ([[["a", "b"]]], TypeError, "not a list of sentences"),
        ([["a", "\ud83d"]], ValueError, "word 1 of row 0 of X holds half of a UTF-16 pair"),
        (pd.DataFrame({"tokens": [["a"]], "tags": [["O"]]}), ValueError, r"X\['tokens'\]"),
    ],
)
def test_what_is_no_sentence_is_named(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_sentences(X)


def test_lengths_that_differ_are_named() -> None:
    X = Sentences([("a", "b"), ("c",)])
    check_lengths(X, [2, 1])
    with pytest.raises(ValueError, match="row 1 of X has 1 words, and row 1 of y has 2 tags"):
        check_lengths(X, [2, 2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples: 2 and 1"):
        check_lengths(X, [2])


# -- tokens --------------------------------------------------------------------------


@given(sentences=SENTENCES)
def test_tokens_are_those_of_the_tokenizer(tokenizer: Any, sentences: list[list[str]]) -> None:
    sentences = [[word for word in words if word != " "] for words in sentences]
    table = table_of(tokenizer, sentences)
    positions = table.positions(np.arange(len(table)))
    for row, words in enumerate(sentences):
        own = tokenizer(words, is_split_into_words=True) if words else tokenizer("")
        assert ids_of(table, row) == own["input_ids"]
        word_ids = own.word_ids()
        begins = [word_ids.index(word) for word in range(len(words))]
        assert positions[row, : table.n_words[row]].tolist() == begins
    assert table.n_truncated == 0


def test_a_word_without_tokens_becomes_the_unknown_token(tokenizer: Any) -> None:
    table = table_of(tokenizer, [["good", " ", "cat", ""]])
    unknown = tokenizer.unk_token_id
    good, cat = tokenizer.convert_tokens_to_ids(["good", "cat"])
    assert first_tokens(table) == [[good, unknown, cat, unknown]]
    assert table.n_words.tolist() == [4]


def test_a_slow_tokenizer_splits_words_as_transformers_does() -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    table = table_of(slow, [["ab", "c"], ["", "d"]])
    # Its words have their spaces, as in the text that it was trained on.
    assert ids_of(table, 0) == slow(" ab c")["input_ids"]
    assert table.positions(np.array([0])).tolist() == [[0, 3]]
    assert table.n_words.tolist() == [2, 2]


@pytest.mark.parametrize("prefix_space", [False, True])
def test_words_of_a_byte_level_vocabulary_have_their_space(prefix_space: bool) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "a", "b", "Ġa", "Ġb"]
    core = Tokenizer(
        models.BPE({word: i for i, word in enumerate([*words, "Ġ"])}, [("Ġ", "a"), ("Ġ", "b")])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    fast = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    table = table_of(fast, [["b", "a", "b"]])
    assert ids_of(table, 0) == [4, 3, 4]


def test_a_word_beyond_the_embeddings_is_named(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="the word 'three' holds the token 'three'"):
        Tokens(tokenizer, n_rows=8).table(Sentences([("good", "three")]), 10)


# -- windows -------------------------------------------------------------------------


@given(sentences=SENTENCES, max_length=integers(3, 12))
def test_each_word_has_its_output_once_wherever_the_sentence_is_cut(
    tokenizer: Any, sentences: list[list[str]], max_length: int
) -> None:
    whole, cut = table_of(tokenizer, sentences), table_of(tokenizer, sentences, max_length)
    assert first_tokens(cut) == first_tokens(whole)
    assert cut.lengths.max() <= max_length
    assert cut.words_of_sentences().tolist() == list(map(len, sentences))
    firsts = first_windows(cut)
    assert len(firsts) == len(sentences)
    assert all(
        ids_of(firsts, row)[:-1] == ids_of(whole, row)[: max_length - 1]
        for row in range(len(firsts))
        if len(ids_of(whole, row)) > max_length
    )


def test_words_are_tagged_in_the_middle_of_a_window(tokenizer: Any) -> None:
    table = table_of(tokenizer, [WORDS[:20]], 10)  # eight tokens beside the special ones
    assert table.n_words.tolist() == [6, 4, 4, 6]
    positions = table.positions(np.arange(4))
    assert positions.tolist() == [
        [1, 2, 3, 4, 5, 6],
        [3, 4, 5, 6, 0, 0],
        [3, 4, 5, 6, 0, 0],
        [3, 4, 5, 6, 7, 8],
    ]
    assert table.first_words.tolist() == [0, 6, 10, 14]


def test_a_word_longer_than_a_window_has_one_output(tokenizer: Any) -> None:
    table = table_of(tokenizer, [["1" * 50, "good"]], 10)
    assert table.n_words.tolist() == [1, 1]


# -- tables --------------------------------------------------------------------------


@given(sentences=SENTENCES, more=SENTENCES, numbers=lists(integers(0, 4), max_size=6))
def test_tables_can_be_joined_and_chosen_from(
    tokenizer: Any, sentences: list[list[str]], more: list[list[str]], numbers: list[int]
) -> None:
    both = joined([table_of(tokenizer, sentences, 6), table_of(tokenizer, more, 6)])
    whole = table_of(tokenizer, sentences + more, 6)
    assert both.digest() == whole.digest()
    assert first_tokens(both) == first_tokens(whole)
    chosen = [number % len(whole.first_rows()) for number in numbers] or [0]
    some = take_examples(both, np.array(chosen))
    assert first_tokens(some) == [first_tokens(whole)[number] for number in chosen]
    assert some.words_of_sentences().tolist() == [len((sentences + more)[n]) for n in chosen]


def test_the_digest_tells_where_words_begin(tokenizer: Any) -> None:
    assert table_of(tokenizer, [["12"]]).digest() != table_of(tokenizer, [["1", "2"]]).digest()
    assert table_of(tokenizer, [["1", "2"]]).kind != Tokens(tokenizer).table(["1 2"], 9).kind


@given(sentences=SENTENCES)
def test_outputs_come_back_in_the_order_of_words(
    tokenizer: Any, sentences: list[list[str]]
) -> None:
    table = table_of(tokenizer, sentences, 7)
    ids = table.collate(np.arange(len(table)))["input_ids"]
    order = np.argsort(-table.lengths, kind="stable")
    batches = np.array_split(order, min(3, len(order)))
    parts = [np.take_along_axis(ids[rows], table.positions(rows), 1) for rows in batches]
    flat = in_row_order([part[..., None] for part in parts], batches, n_outputs(table))
    found = for_examples(flat, table)
    assert [each[:, 0].tolist() for each in found] == first_tokens(table)


def test_a_table_in_a_file_is_that_in_memory(tokenizer: Any, tmp_path: Path) -> None:
    rows = [WORDS[:20], [], ["good", "cat"]]
    pd.DataFrame({"tokens": rows, "other": 1}).to_parquet(tmp_path / "rows.parquet")
    stream = WordInput().open(tmp_path / "rows.parquet").examples
    table: Any = Tokens(tokenizer).table(stream, 9)
    assert table.digest() == table_of(tokenizer, rows, 9).digest()
