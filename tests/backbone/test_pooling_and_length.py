from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save_backbone

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.pooling_and_length import (
    DEFAULT_LENGTH,
    POOLINGS,
    position_limit,
    resolve_max_length,
    resolve_pooling,
)
from sklearn_lntune.backbone.resolve import resolve

Load = Callable[..., Backbone]


@pytest.fixture
def load(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Load:
    """``load(family, {file: content})``: a backbone with these files added to its folder."""

    def make(family: str = "bert", files: dict[str, Any] | None = None) -> Backbone:
        folder = Path(shutil.copytree(tiny_backbone(family), tmp_path / family))
        for name, content in (files or {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content), "utf-8")
        return Backbone(resolve(folder), trust_remote_code=False)

    return make


def pooling_file(**content: Any) -> dict[str, Any]:
    return {"1_Pooling/config.json": {"word_embedding_dimension": 16, **content}}


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode": "cls", "pooling_mode_max_tokens": True}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}, "mean"),
    ],
)
def test_auto_pooling_is_what_sentence_transformers_say(
    load: Load, said: dict[str, Any], pooling: str
) -> None:
    # On a causal and on another model, so that neither's own default can be the answer.
    for family in ("bert", "gpt2"):
        assert resolve_pooling(load(family, pooling_file(**said)), "auto") == pooling


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls and mean"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": ["mean", "max"]}, "mean and max"),
        ({"pooling_mode": []}, ""),
        ({"pooling_mode": "attention"}, "attention"),
        ({"pooling_mode": 5}, "5"),
        ({"pooling_mode": {"a": 1}}, "{'a': 1}"),
    ],
)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_pooling_that_is_not_computed_is_an_error_that_names_the_parameter(
    load: Load, said: dict[str, Any], named: str, family: str
) -> None:
    backbone = load(family, pooling_file(**said))
    with pytest.raises(
        ValueError, match=r"backbone .*config\.json names .*pooling='mean'"
    ) as error:
        resolve_pooling(backbone, "auto")
    assert named in str(error.value)
    assert resolve_pooling(backbone, "mean") == "mean"


def test_a_file_that_names_no_pooling_leaves_the_models_default(load: Load) -> None:
    assert resolve_pooling(load("bert", pooling_file()), "auto") == "mean"
    assert resolve_pooling(load("gpt2", pooling_file()), "auto") == "last"


@pytest.mark.parametrize("content", ["", "[1]", "{", "<!DOCTYPE html>"])
def test_a_file_about_pooling_that_cannot_be_read_is_an_error(load: Load, content: str) -> None:
    backbone = load("bert", pooling_file())
    (backbone.source.folder / "1_Pooling" / "config.json").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"backbone .*1_Pooling/config\.json .*pooling="):
        resolve_pooling(backbone, "auto")
    assert resolve_pooling(backbone, "cls") == "cls"


def module_files(*modules: tuple[str, str], **files: Any) -> dict[str, Any]:
    """The list of ``modules``, by class and folder, and other files."""
    listed = [
        {"idx": rank, "name": str(rank), "path": path, "type": f"sentence_transformers.{kind}"}
        for rank, (kind, path) in enumerate(modules)
    ]
    return {"modules.json": listed, **files}


TRANSFORMER = ("base.modules.transformer.Transformer", "")
POOLING = "sentence_transformer.modules.pooling.Pooling"
CLS = {"pooling_mode": "cls"}


@pytest.mark.parametrize(
    "modules",
    [
        [("models.Transformer", ""), ("models.Pooling", "1_Pool"), ("models.Normalize", "2")],
        [TRANSFORMER, ("modules.Dropout", "0"), (POOLING, "1_Pool"), ("modules.dense.Dense", "2")],
    ],
)
def test_the_list_of_modules_says_where_the_pooling_is(load: Load, modules: list[Any]) -> None:
    elsewhere = pooling_file(pooling_mode="max")
    files = module_files(*modules, **{"1_Pool/config.json": CLS}, **elsewhere)
    for family in ("bert", "gpt2"):
        assert resolve_pooling(load(family, files), "auto") == "cls"


def test_a_list_of_modules_without_pooling_leaves_the_models_default(load: Load) -> None:
    files = module_files(TRANSFORMER, **pooling_file(pooling_mode="max"))
    assert resolve_pooling(load("gpt2", files), "auto") == "last"


@pytest.mark.parametrize(
    "files",
    [
        module_files(TRANSFORMER, ("modules.WeightedLayerPooling", "1"), (POOLING, "2")),
        module_files(TRANSFORMER, ("modules.LSTM", "1"), (POOLING, "2"), **{"2/config.json": CLS}),
        module_files(TRANSFORMER, ("sparse_encoder.modules.SpladePooling", "1")),
        module_files(TRANSFORMER, (POOLING, "1_Pooling")),  # which is missing
        module_files(TRANSFORMER, (POOLING, "../bert")),
        module_files(TRANSFORMER, (POOLING, "/etc")),
        module_files(TRANSFORMER, (POOLING, "C:\\pooling")),
        {"modules.json": {}},
        {"modules.json": [5]},
        {"modules.json": [{"type": 5, "path": ""}]},
        {"modules.json": [{"type": POOLING, "path": 5}]},
    ],
)
def test_modules_that_are_not_computed_are_an_error_that_names_the_parameter(
    load: Load, files: dict[str, Any]
) -> None:
    backbone = load("bert", files)
    with pytest.raises(ValueError, match="backbone .*pooling='mean'"):
        resolve_pooling(backbone, "auto")
    assert resolve_pooling(backbone, "last") == "last"


@pytest.mark.parametrize("family", ["gpt2", "opt", "gpt-neox", "llama", "qwen3", "gemma2"])
def test_auto_pooling_of_a_causal_model_is_the_last_token(load: Load, family: str) -> None:
    assert resolve_pooling(load(family), "auto") == "last"


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "esm", "t5", "bart"]
)
def test_auto_pooling_of_an_encoder_is_the_mean(load: Load, family: str) -> None:
    assert resolve_pooling(load(family), "auto") == "mean"


@pytest.mark.parametrize("pooling", [each for each in POOLINGS if each != "pooler"])
def test_a_named_pooling_is_taken_whatever_the_files_say(load: Load, pooling: str) -> None:
    said = pooling_file(pooling_mode_cls_token=True)
    assert resolve_pooling(load("gpt2", said), pooling) == pooling


@pytest.mark.parametrize("pooling", ["average", "", None, 1, ["mean"]])
def test_another_pooling_is_an_error_that_repeats_it(load: Load, pooling: Any) -> None:
    with pytest.raises(ValueError, match="pooling must be 'auto' or one of") as error:
        resolve_pooling(load(), pooling)
    assert f"got {pooling!r}" in str(error.value)


def test_the_default_backbone_takes_the_mean_of_256_tokens(default_backbone: str) -> None:
    backbone = Backbone(resolve(default_backbone), trust_remote_code=False)
    assert resolve_pooling(backbone, "auto") == "mean"
    assert resolve_max_length(backbone, "auto") == 256
    assert resolve_max_length(backbone, 512) == 512


@pytest.mark.parametrize(
    ("family", "limit"),
    [
        ("bert", 64),
        ("distilbert", 64),
        ("modernbert", 64),
        ("gpt2", 64),
        ("llama", 64),
        ("bart", 64),
        # These number positions from the padding token's id + 1 = 2.
        ("roberta", 62),
        ("xlm-roberta", 62),
        ("mpnet", 62),
        ("t5", None),
    ],
)
def test_limit_is_the_number_of_positions(load: Load, family: str, limit: int | None) -> None:
    backbone = load(family)
    assert position_limit(backbone) == limit
    assert resolve_max_length(backbone, "auto") == (limit or DEFAULT_LENGTH)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_model_runs_at_its_limit_and_not_beyond(load: Load, family: str) -> None:
    import torch

    backbone = load(family)
    model = backbone.model(torch.float32, torch.device("cpu"))
    limit = position_limit(backbone)
    assert limit is not None
    assert torch.isfinite(model(torch.full((1, limit), 5)).last_hidden_state).all()
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, limit + 1), 5))


def test_auto_length_stays_at_512_where_there_are_more_positions(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path, "bert", max_position_embeddings=600)
    backbone = Backbone(resolve(folder), trust_remote_code=False)
    assert resolve_max_length(backbone, "auto") == DEFAULT_LENGTH == 512
    assert resolve_max_length(backbone, 600) == 600


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ({"max_seq_length": 20}, 20),
        ({"max_seq_length": 5000}, 64),
        ({"max_seq_length": None}, 64),
        ({"do_lower_case": False}, 64),
    ],
)
def test_auto_length_is_what_sentence_transformers_say(
    load: Load, said: dict[str, Any], length: int
) -> None:
    backbone = load("bert", {"sentence_bert_config.json": said})
    assert resolve_max_length(backbone, "auto") == length


@pytest.mark.parametrize(
    "said",
    [
        {"max_seq_length": "20"},
        {"max_seq_length": 20.5},
        {"max_seq_length": -20},
        {"max_seq_length": 0},
        {"max_seq_length": True},
        {"max_seq_length": [20]},
        {"max_seq_length": 3},  # special tokens alone
        {"processing_kwargs": {"text": {"max_length": "20"}}},
        ["max_seq_length", 20],
    ],
    ids=str,
)
def test_an_auto_length_that_is_none_is_an_error(load: Load, said: Any) -> None:
    backbone = load("bert", {"sentence_bert_config.json": said})
    with pytest.raises(ValueError, match="backbone .* max_length"):
        resolve_max_length(backbone, "auto")
    assert resolve_max_length(backbone, 30) == 30


@pytest.mark.parametrize("file", ["sentence_roberta_config.json", "sentence_xlnet_config.json"])
def test_the_first_versions_named_the_file_after_the_model(load: Load, file: str) -> None:
    assert resolve_max_length(load("bert", {file: {"max_seq_length": 20}}), "auto") == 20


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ({}, 40),
        ({"max_seq_length": None}, 40),
        ({"max_seq_length": 20}, 20),
        ({"max_seq_length": 20, "processor_kwargs": {"model_max_length": 30}}, 30),
        ({"max_seq_length": 20, "tokenizer_args": {"model_max_length": 30}}, 30),
        ({"processing_kwargs": {"common": {"max_length": 10}}}, 10),
        ({"processing_kwargs": {"text": {"max_length": 9}, "common": {"max_length": 10}}}, 9),
        ({"max_seq_length": 10**30}, 64),
    ],
    ids=str,
)
def test_the_length_stands_in_the_tokenizer_since_version_5_4(
    load: Load, said: dict[str, Any], length: int
) -> None:
    backbone = load("bert", module_files(TRANSFORMER, **{"sentence_bert_config.json": said}))
    backbone.tokenizer.model_max_length = 40
    assert resolve_max_length(backbone, "auto") == length


def test_a_tokenizer_without_limit_leaves_the_default(load: Load) -> None:
    backbone = load("t5", module_files(TRANSFORMER))
    backbone.tokenizer.model_max_length = int(1e30)
    assert resolve_max_length(backbone, "auto") == DEFAULT_LENGTH


def test_the_tokenizers_limit_counts_with_sentence_transformers_only(load: Load) -> None:
    backbone = load("bert")
    backbone.tokenizer.model_max_length = 40
    assert resolve_max_length(backbone, "auto") == 64


def test_what_the_installed_sentence_transformers_writes_is_read(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    kinds = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    modules = [
        kinds.Transformer(str(save_backbone(tmp_path / "plain")), max_seq_length=20),
        kinds.Pooling(16, pooling_mode="lasttoken"),
    ]
    library.SentenceTransformer(modules=modules).save(str(tmp_path / "saved"))
    backbone = Backbone(resolve(tmp_path / "saved"), trust_remote_code=False)
    assert resolve_pooling(backbone, "auto") == "last"
    assert resolve_max_length(backbone, "auto") == 20


def test_auto_length_may_go_beyond_512_where_sentence_transformers_say_so(load: Load) -> None:
    backbone = load("t5", {"sentence_bert_config.json": {"max_seq_length": 1024}})
    assert resolve_max_length(backbone, "auto") == 1024


@pytest.mark.parametrize("max_length", [4, 64, np.int64(30)])
def test_a_length_within_the_limit_is_taken(load: Load, max_length: Any) -> None:
    found = resolve_max_length(load(), max_length)
    assert (found, type(found)) == (max_length, int)


def test_a_length_beyond_the_positions_is_an_error(load: Load) -> None:
    with pytest.raises(ValueError, match=r"max_length=63 is beyond the 62 positions"):
        resolve_max_length(load("roberta"), 63)


def test_any_length_will_do_without_positions(load: Load) -> None:
    assert resolve_max_length(load("t5"), 100_000) == 100_000


@pytest.mark.parametrize("max_length", [2**31, 10**400])
def test_a_length_beyond_all_reason_is_an_error(load: Load, max_length: int) -> None:
    with pytest.raises(ValueError, match="max_length must be at most"):
        resolve_max_length(load("t5"), max_length)


@pytest.mark.parametrize("max_length", [3, 1, 0, -5])
def test_a_length_without_room_for_text_is_an_error(load: Load, max_length: int) -> None:
    with pytest.raises(ValueError, match=f"max_length={max_length} leaves no room .* 3 special"):
        resolve_max_length(load(), max_length)


@pytest.mark.parametrize("max_length", [12.0, "long", "12", None, True, [12]])
def test_a_length_that_is_no_int_is_an_error_that_repeats_it(load: Load, max_length: Any) -> None:
    with pytest.raises(ValueError, match="max_length must be 'auto' or an int") as error:
        resolve_max_length(load(), max_length)
    assert f"got {max_length!r}" in str(error.value)
