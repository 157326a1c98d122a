"""The fingerprints of format 1, which classifiers of that time use to identify their backbone.

They are digests of files. Today's fingerprints are of the content; see `identity`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from pathlib import Path

from sklearn_lntune.backbone.digests import State, state_of
from sklearn_lntune.backbone.safetensors_reader import stored_tensors

_TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    _TOKENIZER_CONFIG,
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
# Keys of a configuration that record how it was saved, not what the model is.
_INCIDENTAL = ("transformers_version", "dtype", "torch_dtype")
# Keys of a tokenizer's configuration that do not change a token. The longest input is among them,
# since the classifier has its own `max_length`.
_TOKENIZER_INCIDENTAL = (
    "backend",
    "chat_template",
    "model_max_length",
    "name_or_path",
    "tokenizer_class",
    *_INCIDENTAL,
)


def _cached_by_files(digest: Callable[[list[Path]], str]) -> Callable[[list[Path]], str]:
    """Cache a digest as long as path, size and modification time of its files do not change."""
    known: dict[State, str] = {}

    @wraps(digest)
    def cached(files: list[Path]) -> str:
        key = state_of(files)
        if key not in known:
            known[key] = digest(files)
        return known[key]

    return cached


def backbone_fingerprint(config: Path, weights: list[Path]) -> str:
    """SHA-256 over the tensors as stored, sorted by name, and the configuration.

    The distribution of tensors over files does not matter, nor do private keys of the
    configuration and those that record how it was saved.
    """
    return _backbone_digest([config, *weights])


@_cached_by_files
def _backbone_digest(files: list[Path]) -> str:
    config, *weights = files
    digest = hashlib.sha256(_json_bytes(config, _INCIDENTAL))
    for tensor in sorted(stored_tensors(weights), key=attrgetter("name")):
        digest.update(json.dumps([tensor.name, tensor.kind, tensor.shape]).encode())
        for chunk in tensor.chunks():
            digest.update(chunk)
    return digest.hexdigest()


@_cached_by_files
def tokenizer_digest(files: list[Path]) -> str:
    """SHA-256 over the tokenizer's ``files``, names and bytes.

    Only the keys of its configuration that change a token count.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        is_config = file.name == _TOKENIZER_CONFIG
        content = _json_bytes(file, _TOKENIZER_INCIDENTAL) if is_config else file.read_bytes()
        digest.update(json.dumps([file.name, len(content)]).encode())
        digest.update(content)
    return digest.hexdigest()


def tokenizer_files(folder: Path) -> list[Path]:
    """The files in ``folder`` that decide how a text becomes tokens."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def _json_bytes(file: Path, incidental: tuple[str, ...]) -> bytes:
    """A JSON object in canonical form, without private and ``incidental`` keys."""
    kept = {
        key: value
        for key, value in json.loads(file.read_text("utf-8")).items()
        if not key.startswith("_") and key not in incidental
    }
    return json.dumps(kept, sort_keys=True).encode()
