"""Check that a tokenizer has a vocabulary, and none beyond what the model knows.

transformers makes up a tokenizer from special tokens alone if its files are missing: every
word is then unknown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.checking import foreign_errors
from sklearn_lntune.backbone.files import read_json, stand_in

#: Files that tell a tokenizer its vocabulary, under the names that classes give them.
_VOCABULARIES = ("tokenizer.json", "tekken.json", "*.model", "*.tiktoken")
_SAVE = (
    "Save the right one there: AutoTokenizer.from_pretrained(original) and then "
    "tokenizer.save_pretrained(folder)"
)
_PROBE = "The cat sat on 12 mats. \N{SNOWMAN}"
#: Tokens for other inputs than text (Gemma 3's has no row in models for text alone).
_OTHER_INPUTS = re.compile(r"^<.*(image|audio|video).*>$")


def no_tokenizer(folder: Path) -> str:
    """How errors about a tokenizer that is not there begin."""
    return f"no tokenizer could be read from {folder}"


def check_tokenizer_files(folder: Path) -> None:
    """Refuse files of a tokenizer that merely stand in for them.

    Raises
    ------
    ValueError
    """
    config = folder / "tokenizer_config.json"
    for file in filter(Path.is_file, (folder / "tokenizer.json", config)):
        if (what := stand_in(file)) is not None:
            raise ValueError(f"{no_tokenizer(folder)}: {file.name} is {what}.")
    if config.is_file():
        read_json(config, dict)


def check_tokenizer(folder: Path, tokenizer: Any, n_rows: int | None) -> None:
    """Refuse a tokenizer without a vocabulary, or with tokens beyond the model's table.

    Parameters
    ----------
    folder : Path
    tokenizer : transformers tokenizer
    n_rows : int or None
        Rows of the model's table of tokens.

    Raises
    ------
    ValueError
    """
    names = tokenizer.vocab_files_names
    if names or tokenizer.is_fast:  # else bytes or characters, which need no files
        _check_vocabulary(folder, tokenizer)
    with foreign_errors(f"{folder}: its tokenizer fails on the text {_PROBE!r}. {_SAVE}"):
        ids = tokenizer(_PROBE)["input_ids"]
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise ValueError(f"{folder}: its tokenizer makes {ids!r:.100} of {_PROBE!r}. {_SAVE}.")
    if n_rows is None:
        return
    beyond = {
        token: rank
        for token, rank in tokenizer.get_vocab().items()
        if rank >= n_rows and not _OTHER_INPUTS.search(token)
    }
    if beyond:
        first = min(beyond, key=beyond.__getitem__)
        raise ValueError(
            f"{folder}: its tokenizer has {len(beyond)} tokens too many, for instance {first!r} "
            f"with the number {beyond[first]}, since the model's table of embeddings has {n_rows} "
            "rows. Were tokens added? Then call model.resize_token_embeddings(len(tokenizer)) and "
            "save both; else save the tokenizer that belongs to the model."
        )


def _check_vocabulary(folder: Path, tokenizer: Any) -> None:
    names = tokenizer.vocab_files_names
    problem = no_tokenizer(folder)
    if not (tokenizer.is_fast and (folder / "tokenizer.json").is_file()):
        files = [folder / name for name in names.values()]
        for file in filter(Path.is_file, files):
            if (what := stand_in(file)) is not None:
                raise ValueError(f"{problem}: {file.name} is {what}.")
        there = any(any(folder.glob(name)) for name in (*names.values(), *_VOCABULARIES))
        trusted = type(tokenizer).__module__.startswith("transformers.")
        if trusted and not there:
            raise ValueError(
                f"{problem}: it has no vocabulary ({', '.join(sorted({*names.values()}))}), and "
                f"every word would be unknown. {_SAVE}."
            )
        merges = names.get("merges_file")
        if merges is not None and not (folder / merges).is_file():
            raise ValueError(f"{problem}: {merges} is missing beside its vocabulary. {_SAVE}.")
    special = {*tokenizer.all_special_tokens, *tokenizer.added_tokens_encoder}
    # Those that are made up hold one or the other ordinary token (T5's has a blank).
    if sum(token not in special for token in tokenizer.get_vocab()) < 2:
        raise ValueError(
            f"{problem}: its vocabulary has special tokens only, and every word would be unknown. "
            f"{_SAVE}."
        )
