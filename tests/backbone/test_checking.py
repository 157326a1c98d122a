"""A malformed folder is a clear error, soon: it names backbone, file, fault and remedy."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WORDS, save_backbone
from families import known_families
from safetensors.torch import load_file, save, save_file
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    ByT5Tokenizer,
    CanineConfig,
    CanineModel,
    CLIPConfig,
    T5EncoderModel,
    ViTConfig,
    Wav2Vec2Config,
)

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.resolve import resolve

Clf = Callable[..., LNTunedTransformerClassifier]
CPU = torch.device("cpu")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def copy(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """``copy(family)``: a tiny backbone to be spoilt."""
    return lambda family="bert": Path(shutil.copytree(tiny_backbone(family), tmp_path / family))


@pytest.fixture
def refused(tiny_clf: Clf, texts: list[str], labels: list[str]) -> Callable[..., str]:
    """``refused(folder)``: the message with which a fit refuses it."""

    def message(folder: Path, **params: Any) -> str:
        with pytest.raises(ValueError, match="backbone") as error:
            tiny_clf(**params).set_params(backbone=folder).fit(texts, labels)
        assert type(error.value) is ValueError
        assert str(error.value).startswith(f"backbone {str(folder)!r}: ")
        return str(error.value)

    return message


def change_config(folder: Path, **entries: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})
    return folder


def without_tokenizer(folder: Path) -> Path:
    for file in (*folder.glob("tokenizer*"), *folder.glob("special_tokens_map.json")):
        file.unlink()
    return folder


# -- the configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[1, 2]", "must hold an object"),
        (b'"bert"', "must hold an object"),
        (b"null", "must hold an object"),
        (b"{}", "does not name an architecture"),
        (b'{"model_type": 5}', "does not name an architecture"),
        (b'{"model_type": ["bert"]}', "does not name an architecture"),
        (b'{"model_type": "no-such-kind"}', "does not describe a model that transformers knows"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        ('{"model_type": "bert"}'.encode("utf-16"), "not JSON in plain UTF-8"),
        (b'\xef\xbb\xbf{"model_type": "bert"}', "not JSON in plain UTF-8"),
        (b'{"model_type": "b\xe9rt"}', "not JSON in plain UTF-8"),
        (POINTER, "git lfs pull"),
        (b"<!DOCTYPE html><title>403</title>", "web page"),
    ],
    ids=range(16),
)
def test_a_configuration_that_is_none(
    copy: Callable[..., Path], refused: Callable[..., str], content: bytes, what: str
) -> None:
    folder = copy()
    (folder / "config.json").write_bytes(content)
    message = refused(folder)
    assert "config.json" in message
    assert what in message


@pytest.mark.parametrize(
    "entries",
    [
        {"hidden_size": "16"},
        {"hidden_size": 16.5},
        {"hidden_size": [16]},
        {"hidden_size": -16},
        {"hidden_size": 0},
        {"hidden_size": 32},
        {"hidden_size": 10**9},
        {"hidden_size": 10**30},
        {"intermediate_size": 10**9},
        {"vocab_size": 10**12},
        {"vocab_size": 119},
        {"vocab_size": None},
        {"max_position_embeddings": 10**9},
        {"max_position_embeddings": -5},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 900},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"num_attention_heads": 10**9},
        {"num_labels": 10**9},
        {"id2label": [1, 2]},
        {"hidden_act": "no-such-function"},
        {"hidden_dropout_prob": 7},
        {"layer_norm_eps": math.nan},
        {"layer_norm_eps": -1.0},
        {"layer_norm_eps": "small"},
        {"pad_token_id": 5000},
        {"chunk_size_feed_forward": 7},
        {"quantization_config": 5},
        {"is_encoder_decoder": True},
        {"model_type": "vit"},
        {"model_type": "gpt2"},
        {"configuration_files": ["config.5.0.0.json"]},
        {"transformers_weights": "../model.safetensors"},
        {"transformers_weights": "pytorch_model.bin"},
        {"transformers_weights": "missing.safetensors"},
    ],
    ids=str,
)
def test_a_configuration_that_the_weights_are_not_of(
    copy: Callable[..., Path], refused: Callable[..., str], entries: dict[str, Any]
) -> None:
    folder = change_config(copy(), **entries)
    message = refused(folder)
    assert "config.json" in message or folder.name in message


@pytest.mark.parametrize(
    ("family", "entries"),
    [
        ("albert", {"num_hidden_layers": 10**9}),
        ("albert", {"inner_group_num": 10**9}),
        ("distilbert", {"n_layers": 10**9}),
        ("distilbert", {"max_position_embeddings": 10**9, "sinusoidal_pos_embds": True}),
        ("t5", {"num_decoder_layers": 10**9}),
        ("bart", {"encoder_layers": 10**9}),
        ("qwen3", {"num_key_value_heads": 3}),
        ("llama", {"head_dim": 10**9}),
    ],
    ids=str,
)
def test_absurd_claims_in_other_families(
    copy: Callable[..., Path],
    refused: Callable[..., str],
    family: str,
    entries: dict[str, Any],
) -> None:
    refused(change_config(copy(family), **entries))


@pytest.mark.parametrize(
    "config", [ViTConfig, CLIPConfig, Wav2Vec2Config], ids=lambda kind: kind.__name__
)
def test_a_model_of_something_other_than_text(
    copy: Callable[..., Path], refused: Callable[..., str], config: Any
) -> None:
    folder = copy()
    (folder / "config.json").write_text(config().to_json_string(), "utf-8")
    refused(folder)


def test_an_image_model_without_an_image_processor_says_so(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    from transformers import ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTConfig(intermediate_size=24, image_size=8, patch_size=4, **sizes)
    ViTModel(config).save_pretrained(tmp_path)
    assert "no image processor could be read" in refused(tmp_path)


def test_a_configuration_that_is_a_folder(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        resolve(folder)


# -- the weights ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (POINTER, "git lfs pull"),
        (b"../../.git/annex/objects/ab", "download it again"),
        (b"/annex/objects/SHA256E-s9--ab.safetensors\n", "git annex get"),
        (b"<!DOCTYPE html>403", "download it again"),
        (b"\n <HTML><body>", "download it again"),
        (b"", "download it again"),
        (b"abc", "download it again"),
        (b"\xff" * 5000, "download it again"),
        (b"PK\x03\x04" + b"\0" * 100, "save_pretrained"),
        ((2**40).to_bytes(8, "little") + b"{}", "download it again"),
        ((2).to_bytes(8, "little") + b"[]", "download it again"),
    ],
    ids=range(11),
)
def test_weights_that_are_none(
    copy: Callable[..., Path], refused: Callable[..., str], content: bytes, remedy: str
) -> None:
    folder = copy()
    (folder / "model.safetensors").write_bytes(content)
    message = refused(folder)
    assert str(folder / "model.safetensors") in message
    assert remedy in message


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_weights_that_were_cut_off(
    copy: Callable[..., Path], refused: Callable[..., str], precision: str, kept: float
) -> None:
    folder = copy()
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    assert str(file) in refused(folder, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(
    "offsets", [(0, 4), (0, 2**50), (-8, 0), (8, 0)], ids=["short", "long", "negative", "turned"]
)
def test_offsets_that_do_not_fit_the_shape(
    copy: Callable[..., Path],
    refused: Callable[..., str],
    precision: str,
    offsets: tuple[int, int],
) -> None:
    """Converted weights would be filled with whatever the memory held."""
    folder = copy()
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    entry = header["embeddings.word_embeddings.weight"]
    entry["data_offsets"] = [entry["data_offsets"][0] + offset for offset in offsets]
    forged = json.dumps(header).encode()
    file.write_bytes(len(forged).to_bytes(8, "little") + forged + raw[8 + length :])
    assert str(file) in refused(folder, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(
    copy: Callable[..., Path], refused: Callable[..., str], value: float, precision: str
) -> None:
    name = "encoder.layer.1.output.dense.weight"
    folder = change_weights(copy(), lambda weights: weights[name][3].fill_(value))
    assert f"{name!r} holds values that are NaN or infinite" in refused(folder, precision=precision)


def test_weights_too_large_for_the_precision(
    copy: Callable[..., Path], refused: Callable[..., str]
) -> None:
    name = "encoder.layer.1.output.dense.weight"

    def enlarge(weights: dict[str, torch.Tensor]) -> None:
        weights[name] = torch.full_like(weights[name], 1e300, dtype=torch.float64)

    folder = change_weights(copy(), enlarge)
    assert f"{name!r} holds values that are NaN" in refused(folder, precision="float32")


@pytest.mark.parametrize("kind", [torch.int32, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_weights_that_are_integers(
    copy: Callable[..., Path], refused: Callable[..., str], kind: torch.dtype, precision: str
) -> None:
    name = "encoder.layer.0.output.dense.weight"
    folder = change_weights(copy(), lambda w: w.update({name: w[name].to(kind)}))
    assert f"{name!r} holds integers" in refused(folder, precision=precision)


def test_a_tensor_of_another_shape_is_named(
    copy: Callable[..., Path], refused: Callable[..., str]
) -> None:
    name = "encoder.layer.0.output.dense.weight"
    folder = change_weights(copy(), lambda w: w.update({name: torch.zeros(16, 23)}))
    message = refused(folder)
    assert f"{name!r} has the shape (16, 23), and (16, 24) in config.json" in message


def test_tensors_that_are_missing_are_named(
    copy: Callable[..., Path], refused: Callable[..., str]
) -> None:
    name = "embeddings.word_embeddings.weight"
    folder = change_weights(copy(), lambda weights: weights.pop(name))
    assert f"lack 1 tensors that config.json describes ({name})" in refused(folder)


def test_a_file_without_tensors(copy: Callable[..., Path], refused: Callable[..., str]) -> None:
    folder = copy()
    (folder / "model.safetensors").write_bytes(save({}))
    refused(folder)


def test_what_is_not_used_may_be_missing(
    copy: Callable[..., Path],
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tiny_clf: Clf,
) -> None:
    """A pooler, and the decoder of an encoder-decoder model."""
    bert = copy()
    change_weights(bert, lambda w: [w.pop(f"pooler.dense.{end}") for end in ("weight", "bias")])
    t5 = copy("t5")
    # From another folder: files that are mapped must not be written over.
    encoder = T5EncoderModel.from_pretrained(tiny_backbone("t5"))
    encoder.save_pretrained(t5)
    encoder.config.is_encoder_decoder = True  # as Sentence-T5 says
    encoder.save_pretrained(Path(shutil.copytree(t5, t5.parent / "sentence-t5")))
    for folder in (bert, t5, t5.parent / "sentence-t5"):
        tiny_clf().set_params(backbone=folder).fit(texts, labels)


def test_a_model_that_takes_no_short_rows_is_taken(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    positions = {"max_position_embeddings": 64, "local_transformer_stride": 16}
    config = CanineConfig(intermediate_size=24, num_hash_buckets=64, **positions, **sizes)
    CanineModel(config).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError):
        CanineModel(config)(torch.zeros(1, 2, dtype=torch.int64))
    assert get_backbone(tmp_path).model(torch.float32, CPU) is not None


def test_weights_of_a_model_with_a_head_are_whole(
    copy: Callable[..., Path], tiny_backbone: Callable[..., Path]
) -> None:
    """Names have a prefix, and there are more of them."""
    folder = copy()
    BertForSequenceClassification.from_pretrained(folder).save_pretrained(folder)
    found = get_backbone(folder).model(torch.float32, CPU)
    expected = get_backbone(tiny_backbone()).model(torch.float32, CPU)
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(found.get_parameter(name), expected.get_parameter(name))


def test_damaged_weights_are_found_before_texts_are_tokenised(
    copy: Callable[..., Path],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sklearn_lntune.inputs.text.tokens import Tokens

    name = "encoder.layer.1.output.dense.weight"
    folder = change_weights(copy(), lambda weights: weights[name].fill_(math.nan))
    monkeypatch.setattr(Tokens, "table", lambda *_: pytest.fail("tokenised"))
    refused(folder)


def test_weights_that_are_damaged_after_they_were_loaded(
    copy: Callable[..., Path], tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    folder = copy()
    clf = tiny_clf().set_params(backbone=folder).fit(texts, labels)
    (folder / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(ValueError, match=r"backbone .*model\.safetensors .*'git lfs pull'"):
        clf.predict(texts)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_files_that_are_gone_after_they_were_loaded(
    copy: Callable[..., Path], tiny_clf: Clf, texts: list[str], labels: list[str], file: str
) -> None:
    folder = copy()
    clf = tiny_clf().set_params(backbone=folder).fit(texts, labels)
    (folder / file).unlink()
    with pytest.raises(ValueError, match=f"backbone .* no {file}"):
        clf.predict(texts)


# -- the tokenizer -------------------------------------------------------------------


@pytest.mark.parametrize("family", known_families())
def test_a_folder_without_tokenizer(
    family: str, copy: Callable[..., Path], refused: Callable[..., str]
) -> None:
    """transformers makes up a tokenizer that knows no word."""
    message = refused(without_tokenizer(copy(family)))
    assert "no tokenizer could be read" in message
    assert "tokenizer.save_pretrained(folder)" in message


@pytest.mark.parametrize(
    ("family", "files"),
    [
        ("bert", {"vocab.txt": b""}),
        ("bert", {"vocab.txt": POINTER}),
        ("bert", {"vocab.txt": b"<!DOCTYPE html>\n<html>\n<body>\n403"}),
        ("bert", {"vocab.txt": "\n".join(SPECIAL).encode()}),
        ("bert", {"vocab.txt": "\n".join(WORDS).encode()}),  # without [UNK]
        ("bert", {"tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}'}),
        ("bert", {"tokenizer.json": POINTER}),
        ("bert", {"tokenizer.json": b"{}"}),
        ("bert", {"tokenizer.json": b""}),
        ("bert", {"tokenizer_config.json": b"[1]"}),
        ("bert", {"tokenizer_config.json": b'{"tokenizer_class": 5}'}),
        ("gpt2", {"vocab.json": b'{"a": 0, "b": 1, "<|endoftext|>": 2}'}),  # without merges.txt
        ("gpt2", {"merges.txt": b"#version: 0.2\na b\n"}),  # without vocab.json
        ("gpt2", {"added_tokens.json": b'{"one": 0, "two": 1, "three": 2}'}),
        ("t5", {"spiece.model": POINTER}),
        ("t5", {"spiece.model": b"\x0a"}),
        ("deberta-v2", {"spm.model": b""}),
        ("llama", {"tokenizer.model": POINTER}),
    ],
)
def test_a_tokenizer_without_vocabulary(
    family: str,
    files: dict[str, bytes],
    copy: Callable[..., Path],
    refused: Callable[..., str],
) -> None:
    folder = without_tokenizer(copy(family))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    refused(folder)


def save_byt5(folder: Path) -> None:
    save_backbone(folder, "t5", vocab_size=384)
    ByT5Tokenizer().save_pretrained(without_tokenizer(folder))


def save_wordpiece(folder: Path) -> None:
    without_tokenizer(save_backbone(folder))
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + WORDS), "utf-8")


def save_characters(folder: Path) -> None:
    """A byte-level tokenizer that has learnt no merges."""
    without_tokenizer(save_backbone(folder, "gpt2"))
    letters = {letter: rank for rank, letter in enumerate("abcdefghijklmnopqrstuvwxyzĠ")}
    (folder / "vocab.json").write_text(json.dumps(letters | {"<|endoftext|>": 27}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")


def save_proteins(folder: Path) -> None:
    without_tokenizer(save_backbone(folder, "esm"))
    letters = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"LAGVSERTIDPKQNFYMHWC"]
    (folder / "vocab.txt").write_text("\n".join(letters), "utf-8")


def save_beside_an_unused_vocabulary(folder: Path) -> None:
    save_backbone(folder)
    (folder / "vocab.txt").write_bytes(b"")


@pytest.mark.parametrize(
    "prepare",
    [
        save_byt5,
        save_wordpiece,
        save_characters,
        save_proteins,
        save_beside_an_unused_vocabulary,
    ],
)
def test_a_tokenizer_of_every_kind_is_taken(
    prepare: Callable[[Path], None], tmp_path: Path
) -> None:
    prepare(tmp_path)
    backbone = Backbone(resolve(tmp_path), trust_remote_code=False)
    expected = backbone.tokenizer("good cat")["input_ids"]
    assert backbone.tokens.table(["good cat"], 30).lengths.tolist() == [len(expected)]
    assert torch.isfinite(
        backbone.model(torch.float32, CPU)(torch.tensor([expected])).last_hidden_state
    ).all()


def add_tokens(folder: Path, *tokens: str, special: bool = False) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"filler{rank}" for rank in range(120 - len(tokenizer))])
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("special", [False, True])
def test_more_tokens_than_embeddings(
    copy: Callable[..., Path], refused: Callable[..., str], special: bool
) -> None:
    folder = copy()
    add_tokens(folder, "newword", special=special)
    message = refused(folder)
    assert "'newword' with the number 120" in message
    assert "model.resize_token_embeddings" in message


def test_as_many_tokens_as_embeddings(copy: Callable[..., Path]) -> None:
    folder = copy()
    add_tokens(folder)
    assert len(get_backbone(folder).tokenizer) == 120


def test_a_token_for_images_may_lack_an_embedding_until_a_text_holds_it(
    copy: Callable[..., Path], tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    """Gemma 3 for text alone has such a tokenizer."""
    folder = copy()
    add_tokens(folder, "<image_soft_token>", special=True)
    clf = tiny_clf().set_params(backbone=folder).fit(texts, labels)
    with pytest.raises(ValueError, match="'<image_soft_token>', for which .* no embedding"):
        clf.predict(["good cat", "see <image_soft_token>"])


def test_a_padding_token_of_minus_one_says_that_there_is_none(
    copy: Callable[..., Path], tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    folder = change_config(copy("llama"), pad_token_id=-1)
    assert get_backbone(folder).pad_id == 0
    tiny_clf().set_params(backbone=folder).fit(texts, labels).predict(texts)
