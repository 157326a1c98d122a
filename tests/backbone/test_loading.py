"""Weights come from the files into the type asked for, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, T5EncoderModel

from sklearn_lntune import clear_backbones
from sklearn_lntune.backbone import safetensors_reader
from sklearn_lntune.backbone.loading import encoder_of, load_config, load_model, skeleton
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.resolve import resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", ["bert", "t5", "gpt2", "esm"])
def test_every_tensor_is_the_one_that_transformers_loads(
    family: str,
    dtype: torch.dtype,
    tiny_backbone: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(safetensors_reader, "_CHUNK_BYTES", 64)  # no tensor fits into one
    source = resolve(tiny_backbone(family))
    model = load_model(source, load_config(source, False), dtype, CPU, False)
    plain = encoder_of(AutoModel.from_pretrained(source.folder, dtype=dtype))
    expected = dict(plain.named_parameters()) | dict(plain.named_buffers())
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name


def test_a_model_that_keeps_some_weights_wide_is_left_to_transformers(
    tiny_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(tiny_backbone())
    config = load_config(source, False)
    kind = type(skeleton(config))
    monkeypatch.setattr(kind, "_keep_in_fp32_modules_strict", ["LayerNorm"])
    model = load_model(source, config, torch.bfloat16, CPU, False)
    assert model.embeddings.LayerNorm.weight.dtype == torch.float32
    assert model.embeddings.word_embeddings.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_encoder_that_was_saved_without_its_decoder(
    dtype: torch.dtype, tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    whole = resolve(tiny_backbone("t5"))
    T5EncoderModel.from_pretrained(whole.folder).save_pretrained(tmp_path)
    alone = resolve(tmp_path)
    expected, found = (  # a warning about the decoder would be an error here
        load_model(source, load_config(source, False), dtype, CPU, False).state_dict()
        for source in (whole, alone)
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_bytes_that_are_missing_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    file.write_bytes(b"1234")
    tensor = safetensors_reader.StoredTensor("weight", "F32", [2], file, 0, 8)
    with pytest.raises(ValueError, match="ends before tensor 'weight'"):
        list(tensor.chunks())


def test_loading_leaves_the_random_states_of_gpus_alone(
    tiny_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seeds = tiny_backbone(), []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    before = torch.random.get_rng_state()
    clear_backbones()
    get_backbone(folder).model(torch.float32, torch.device("cpu"))
    assert seeds == []
    assert torch.equal(torch.random.get_rng_state(), before)
