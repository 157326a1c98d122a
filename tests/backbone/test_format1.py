from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sklearn_lntune.backbone.format1 import (
    _cached_by_files,
    backbone_fingerprint,
    tokenizer_digest,
    tokenizer_files,
)

CONFIG = {"model_type": "bert", "hidden_size": 4, "layer_norm_eps": 1e-12}
TENSORS = {
    "embeddings.weight": torch.arange(12, dtype=torch.float32).view(3, 4),
    "layer.0.norm.weight": torch.ones(4),
    "layer.0.norm.bias": torch.zeros(4),
    "nothing": torch.zeros(0),
}


@pytest.fixture
def fingerprint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``fingerprint(config, *shards)`` of a backbone stored so, each in a folder of its own."""

    def make(config: dict[str, Any] = CONFIG, *shards: dict[str, torch.Tensor]) -> str:
        folder = tmp_path_factory.mktemp("stored")
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        files = [folder / f"model-{i}.safetensors" for i in range(len(shards or [TENSORS]))]
        for file, shard in zip(files, shards or [TENSORS], strict=True):
            save_file(shard, file, metadata={"format": "pt"})
        return backbone_fingerprint(folder / "config.json", files)

    return make


def changed(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    return TENSORS | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


def test_the_same_files_elsewhere_have_the_same_fingerprint(
    fingerprint: Callable[..., str],
) -> None:
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 64


def test_spread_over_files_does_not_matter(fingerprint: Callable[..., str]) -> None:
    first, *rest = TENSORS
    one, others = {first: TENSORS[first]}, {name: TENSORS[name] for name in rest}
    assert fingerprint(CONFIG, one, others) == fingerprint()
    assert fingerprint(CONFIG, others, one) == fingerprint()
    assert fingerprint(CONFIG, others) != fingerprint()


@pytest.mark.parametrize(
    "saved",
    [
        {"_name_or_path": "somewhere"},
        {"_attn_implementation_autoset": True},
        {"transformers_version": "4.1.0"},
        {"dtype": "bfloat16"},
        {"torch_dtype": "float16"},
    ],
)
def test_how_the_configuration_was_saved_does_not_matter(
    fingerprint: Callable[..., str], saved: dict[str, Any]
) -> None:
    assert fingerprint(saved | CONFIG) == fingerprint(CONFIG)
    assert fingerprint(CONFIG | saved) == fingerprint(CONFIG)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG | {"layer_norm_eps": 1e-5},
        CONFIG | {"new_key": None},
        {key: value for key, value in CONFIG.items() if key != "hidden_size"},
    ],
)
def test_a_changed_configuration_is_another_backbone(
    fingerprint: Callable[..., str], config: dict[str, Any]
) -> None:
    assert fingerprint(config) != fingerprint()


@pytest.mark.parametrize(
    "tensors",
    [
        changed(layer__0__norm__bias=torch.tensor([0.0, 0.0, -0.0, 0.0])),
        changed(layer__0__norm__weight=torch.ones(2, 2)),
        changed(layer__0__norm__weight=torch.ones(4).view(torch.int32)),
        changed(nothing=torch.zeros(0, 4)),
        changed(extra=torch.zeros(0)),
        {f"bert.{name}": tensor for name, tensor in TENSORS.items()},
        changed(layer__0__norm__weight=torch.zeros(4), layer__0__norm__bias=torch.ones(4)),
    ],
    ids=["one bit", "shape", "type", "empty shape", "one more", "renamed", "swapped"],
)
def test_changed_tensors_are_another_backbone(
    fingerprint: Callable[..., str], tensors: dict[str, torch.Tensor]
) -> None:
    assert fingerprint(CONFIG, tensors) != fingerprint()


@pytest.mark.parametrize("place", [-1, -12, -48])
def test_one_changed_byte_is_another_backbone(
    tiny_backbone: Callable[..., Path], tmp_path: Path, place: int
) -> None:
    def of(folder: Path) -> str:
        return backbone_fingerprint(folder / "config.json", [folder / "model.safetensors"])

    copy = Path(shutil.copytree(tiny_backbone(), tmp_path / "copy"))
    assert of(copy) == of(tiny_backbone())
    damaged = Path(shutil.copytree(tiny_backbone(), tmp_path / "damaged"))
    stored = bytearray((damaged / "model.safetensors").read_bytes())
    stored[place] ^= 1
    (damaged / "model.safetensors").write_bytes(stored)
    assert of(damaged) != of(copy)


def tokenizer_of(folder: Path) -> str:
    return tokenizer_digest(tokenizer_files(folder))


@pytest.fixture
def copies(tiny_backbone: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same tokenizer."""
    one, other = (Path(shutil.copytree(tiny_backbone(), tmp_path / name)) for name in "ab")
    assert tokenizer_of(one) == tokenizer_of(other)
    return one, other


def test_a_changed_word_is_another_tokenizer(copies: tuple[Path, Path]) -> None:
    one, other = copies
    file = other / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"happy"', '"sunny"'), "utf-8")
    assert tokenizer_of(one) != tokenizer_of(other)


def test_a_file_more_is_another_tokenizer(copies: tuple[Path, Path]) -> None:
    one, other = copies
    (other / "vocab.txt").write_text("[PAD]\n", "utf-8")
    assert tokenizer_of(one) != tokenizer_of(other)


def test_files_that_are_not_the_tokenizers_do_not_matter(copies: tuple[Path, Path]) -> None:
    one, other = copies
    (other / "README.md").write_text("read me", "utf-8")
    (other / "model.safetensors").unlink()
    assert tokenizer_of(one) == tokenizer_of(other)


def test_how_a_tokenizer_lowers_case_is_part_of_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertTokenizer

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]), "utf-8"
    )
    tokens, digests = [], []
    for lower in (True, False):
        folder = tmp_path / f"lower {lower}"
        BertTokenizer(str(vocabulary)).save_pretrained(folder)
        file = folder / "tokenizer_config.json"
        told = json.loads(file.read_text("utf-8")) | {"do_lower_case": lower}
        file.write_text(json.dumps(told), "utf-8")
        tokens.append(AutoTokenizer.from_pretrained(folder)("Good")["input_ids"])
        digests.append(tokenizer_of(folder))
    assert tokens[0] != tokens[1]
    assert digests[0] != digests[1]


def test_a_digest_is_computed_once_until_a_file_changes(tmp_path: Path) -> None:
    computed = []

    @_cached_by_files
    def digest(files: list[Path]) -> str:
        computed.append(files)
        return "".join(file.read_text("utf-8") for file in files)

    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name, "utf-8")
    assert [digest(files) for _ in range(3)] == ["ab"] * 3
    assert len(computed) == 1

    files[1].write_text("longer", "utf-8")
    assert digest(files) == "alonger"
    files[0].write_text("A", "utf-8")
    os.utime(files[0], ns=(0, 0))
    assert [digest(files) for _ in range(2)] == ["Alonger"] * 2
    assert len(computed) == 3

    assert digest(files[:1]) == "A"
    assert len(computed) == 4


def test_a_changed_file_changes_the_fingerprint_in_place(copies: tuple[Path, Path]) -> None:
    folder, _ = copies
    weights = folder / "model.safetensors"
    before = backbone_fingerprint(folder / "config.json", [weights])
    stored = bytearray(weights.read_bytes())
    stored[-1] ^= 1
    weights.write_bytes(stored)
    os.utime(weights, ns=(0, 0))
    assert backbone_fingerprint(folder / "config.json", [weights]) != before
