from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WORDS
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from, tuples

from sklearn_lntune.inputs.text import tokens as tokens_module
from sklearn_lntune.inputs.text.table import ID_BITS, TokenTable
from sklearn_lntune.inputs.text.tokens import Tokens

SENTENCES = lists(sampled_from([*WORDS, "unheard"]), max_size=12).map(" ".join)


@pytest.fixture(scope="module")
def load(tiny_backbone: Callable[..., Path]) -> Callable[..., Any]:
    from transformers import AutoTokenizer

    return lambda **kwargs: AutoTokenizer.from_pretrained(tiny_backbone(), **kwargs)


@pytest.fixture(scope="module")
def tokenizer(load: Callable[..., Any]) -> Any:
    return load(model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def rows_of(table: TokenTable) -> list[list[int]]:
    whole = [np.frombuffer(table.key(row), np.int32) for row in range(len(table))]
    return [(tokens & (2**ID_BITS - 1)).tolist() for tokens in whole]


def segments_of(table: TokenTable) -> list[list[int]]:
    assert table.with_segments
    whole = [np.frombuffer(table.key(row), np.int32) for row in range(len(table))]
    return [(tokens >> ID_BITS).tolist() for tokens in whole]


def own_output(tokenizer: Any, text: Any, max_length: int) -> Any:
    # As a batch of one: a call with two strings takes an empty second one for none.
    parts = ([text],) if isinstance(text, str) else ([text[0]], [text[1]])
    output = tokenizer(*parts, truncation=True, max_length=max_length)
    return {name: rows[0] for name, rows in output.items()}


def n_longer(tokenizer: Any, texts: Sequence[Any], max_length: int) -> int:
    whole = [own_output(tokenizer, text, 1000)["input_ids"] for text in texts]
    return sum(len(ids) > max_length for ids in whole)


@given(texts=lists(SENTENCES, min_size=1, max_size=8), max_length=integers(4, 12))
def test_table_is_the_tokenizers_own_output(
    tokenizer: Any, texts: list[str], max_length: int
) -> None:
    table = Tokens(tokenizer).table(texts, max_length)
    own = [own_output(tokenizer, text, max_length)["input_ids"] for text in texts]
    assert rows_of(table) == own
    assert len(table) == len(texts)
    assert table.lengths.tolist() == list(map(len, own))
    assert table.n_truncated == n_longer(tokenizer, texts, max_length)


@given(
    pairs=lists(tuples(SENTENCES, SENTENCES), min_size=1, max_size=8), max_length=integers(5, 20)
)
def test_table_of_pairs_tells_the_sentences_apart(
    tokenizer: Any, pairs: list[tuple[str, str]], max_length: int
) -> None:
    table = Tokens(tokenizer).table(pairs, max_length)
    own = [own_output(tokenizer, pair, max_length) for pair in pairs]
    assert rows_of(table) == [output["input_ids"] for output in own]
    assert segments_of(table) == [output["token_type_ids"] for output in own]
    assert table.n_truncated == n_longer(tokenizer, pairs, max_length)


def test_pairs_without_token_types_have_no_segments(load: Callable[..., Any]) -> None:
    plain = load(model_input_names=["input_ids", "attention_mask"])
    table = Tokens(plain).table([("good", "bad")], 10)
    assert not table.with_segments
    assert rows_of(table) == [plain("good", "bad")["input_ids"]]


def test_texts_have_no_segments(tokenizer: Any) -> None:
    assert not Tokens(tokenizer).table(["good", "bad"], 10).with_segments


def test_a_table_of_several_chunks_is_that_of_its_texts(
    tokenizer: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "_CHUNK", 3)
    table = Tokens(tokenizer).table(texts, 6)
    assert rows_of(table) == [own_output(tokenizer, text, 6)["input_ids"] for text in texts]
    assert table.n_truncated == n_longer(tokenizer, texts, 6)


def test_an_empty_text_keeps_its_special_tokens(tokenizer: Any) -> None:
    assert rows_of(Tokens(tokenizer).table(["", "good"], 10)) == [[1, 2], [1, 5, 2]]


@pytest.mark.parametrize(
    ("special", "token"),
    [
        ({"eos_token": "[SEP]"}, 2),
        ({"eos_token": "[PAD]", "pad_token": "[SEP]"}, 0),
        ({"pad_token": "[MASK]"}, 4),
        ({}, 0),
    ],
)
def test_an_empty_text_without_special_tokens_is_one_token(
    special: dict[str, str], token: int
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "good"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    bare = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", **special)
    assert rows_of(Tokens(bare).table(["good good", ""], 10)) == [[5, 5], [token]]
    pairs = Tokens(bare).table([("", ""), ("good", "")], 10)
    assert rows_of(pairs) == [[token], [5]]


def test_a_slow_tokenizer_gives_the_same_as_by_itself() -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    texts = ["good", "", "abcd", "abcde", "a longer text"]
    table = Tokens(slow).table(texts, 5)
    assert rows_of(table) == [own_output(slow, text, 5)["input_ids"] for text in texts]
    assert table.n_truncated == 2
    pairs = [("ab", "c"), ("abc", "defgh"), ("abcde", "")]
    assert Tokens(slow).table(pairs, 6).n_truncated == n_longer(slow, pairs, 6) == 2


def test_the_default_tokenizer_gives_the_same_as_by_itself(default_backbone: str) -> None:
    from sklearn_lntune.backbone.pool import get_backbone

    own = get_backbone(default_backbone).tokenizer
    texts = [
        "",
        "A cat, a Dog.",
        "[SEP] is no word",
        "\u00fcber\u200bna\u00efve \u732b",
        "x" * 300,
        "a " * 40,
    ]
    table = Tokens(own).table(texts, 16)
    assert rows_of(table) == [own_output(own, text, 16)["input_ids"] for text in texts]
    assert table.n_truncated == n_longer(own, texts, 16)
    pairs = list(zip(texts, texts[::-1], strict=True))
    table = Tokens(own).table(pairs, 16)
    assert rows_of(table) == [own_output(own, pair, 16)["input_ids"] for pair in pairs]
    assert segments_of(table) == [own_output(own, pair, 16)["token_type_ids"] for pair in pairs]
    assert table.n_truncated == n_longer(own, pairs, 16)


def test_memory_is_eight_bytes_a_token(tokenizer: Any) -> None:
    texts = [" ".join(WORDS[(i + j) % 30] for j in range(12)) + f" {i}" for i in range(10_000)]
    tokens = Tokens(tokenizer)
    tokens.table(texts[:10], 64)
    tracemalloc.start()
    table = tokens.table(texts, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one_chunk = 600_000  # of the tokenizer's own lists
    assert peak < 8 * table.lengths.sum() + one_chunk


def test_threads_at_once_get_equal_tables(tokenizer: Any, texts: list[str]) -> None:
    shared = Tokens(tokenizer)
    lengths = [3 + i % 4 for i in range(8)]
    barrier = threading.Barrier(len(lengths))

    def tables(max_length: int) -> list[TokenTable]:
        barrier.wait()
        return [shared.table(texts[i:] + texts[:i], max_length) for i in range(len(texts))]

    with ThreadPoolExecutor(len(lengths)) as pool:
        found = list(pool.map(tables, lengths))
    for max_length, made in zip(lengths, found, strict=True):
        own = [own_output(tokenizer, text, max_length)["input_ids"] for text in texts]
        for i, table in enumerate(made):
            assert rows_of(table) == own[i:] + own[:i]


def test_collate_has_token_types_only_for_segments(tokenizer: Any) -> None:
    tokens = Tokens(tokenizer)
    row = np.array([0])
    assert set(tokens.table(["a"], 9).collate(row)) == {"input_ids", "attention_mask"}
    assert "token_type_ids" in tokens.table([("a", "b")], 9).collate(row)
