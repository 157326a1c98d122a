"""The identity of a loaded tokenizer: its class, files and behaviour."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.digests import digest_of
from sklearn_lntune.backbone.format1 import TOKENIZER_FILES
from sklearn_lntune.backbone.probes import PAIRS, TEXTS
from sklearn_lntune.backbone.resolve import TOKENIZER_ENDINGS
from sklearn_lntune.inputs.text.check import Text
from sklearn_lntune.inputs.text.tokens import Tokens

#: Lengths to which the probes are truncated: one affects few of them, the other most.
_LENGTHS = (64, 8)
_ADDED = ("content", "lstrip", "rstrip", "single_word", "normalized", "special")


def tokenizer_parts(tokenizer: Any, tokens: Tokens, folder: Path) -> dict[str, str]:
    """Class, files and digests of a tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    tokens : Tokens
        The same tokenizer, as all threads use it.
    folder : Path
        Where its files are.

    Returns
    -------
    dict of str to str
        ``tokenizer_class`` is a name, the others are digests: ``vocabulary`` of words, merges
        and added tokens; ``rules`` of how a text is normalised, split and completed;
        ``tokens`` of the tokens of the probes; ``tokenizer_files`` of the files.
    """
    named = _named(tokenizer)
    files = tokenizer_files(folder, named)
    if tokenizer.is_fast:
        core = tokenizer.backend_tokenizer
        vocabulary = [_state(core.model)]
        rules = [_state(core.normalizer), _state(core.pre_tokenizer), _state(core.post_processor)]
    else:
        # A slow tokenizer has no common form for its rules other than its files.
        read = [file for file in files if file.name in named - {"tokenizer.json"}]
        vocabulary = [tokenizer.get_vocab(), *([file.name, _content(file)] for file in read)]
        rules = []
    made = [digest_of(_made(tokens)) for _ in range(2)]
    return {
        "tokenizer_class": type(tokenizer).__name__,
        "vocabulary": digest_of([vocabulary, _added(tokenizer)]),
        "rules": digest_of([rules, tokenizer.special_tokens_map, tokenizer.truncation_side]),
        # A few tokenizers are random, so that their tokens cannot be compared.
        "tokens": made[0] if made[0] == made[1] else "random",
        "tokenizer_files": digest_of([[file.name, digest_of(file.read_bytes())] for file in files]),
    }


def tokenizer_files(folder: Path, named: Iterable[str] = ()) -> list[Path]:
    """The files in ``folder`` that tokenizers read, including those ``named`` by the class."""
    names = {*TOKENIZER_FILES, *named}
    names |= {file.name for file in folder.iterdir() if file.suffix in TOKENIZER_ENDINGS}
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


def _named(tokenizer: Any) -> set[str]:
    """Names of files that the tokenizer's class declares."""
    declared = tokenizer.vocab_files_names.values()
    return set(chain.from_iterable([each] if isinstance(each, str) else each for each in declared))


def _state(part: Any) -> Any:
    """Digest of a component of a fast tokenizer, in its pickled form."""
    try:
        return part and digest_of(part.__getstate__())
    except Exception:  # written in Python; its class and the probes identify it
        return type(part).__name__


def _content(file: Path) -> str:
    """Digest of a file; line endings of a text do not matter."""
    content = file.read_bytes()
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return digest_of(content)
    return digest_of(lines)


def _added(tokenizer: Any) -> list[Any]:
    return [
        [number, *(getattr(token, name) for name in _ADDED)]
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
    ]


def _made(tokens: Tokens) -> list[Any]:
    """The tokens of the probes, truncated to each of the lengths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_encoded(tokens, texts, n) for texts in (TEXTS, PAIRS) for n in _LENGTHS]


def _encoded(tokens: Tokens, texts: Sequence[Text], max_length: int) -> Any:
    try:
        return tokens.encode(texts, max_length)
    except Exception as error:
        # A tokenizer may fail on some of the texts; its tokens of the others still count.
        if len(texts) == 1:
            return type(error).__name__
        return [_encoded(tokens, [text], max_length) for text in texts]
