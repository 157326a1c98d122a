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
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.backbone.usage import (
    DEFAULT_LENGTH,
    POOLINGS,
    position_limit,
    resolve_max_length,
    resolve_pooling,
)

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
    ],
)
def test_auto_pooling_is_what_sentence_transformers_say(
    load: Load, said: dict[str, Any], pooling: str
) -> None:
    # On a causal and on another model, so that neither's own default can be the answer.
    for family in ("bert", "gpt2"):
        assert resolve_pooling(load(family, pooling_file(**said)), "auto") == pooling


@pytest.mark.parametrize(
    "said",
    [
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_weightedmean_tokens": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": ["mean", "max"]},
        {},
    ],
)
def test_a_pooling_that_is_not_ours_leaves_the_models_default(
    load: Load, said: dict[str, Any]
) -> None:
    assert resolve_pooling(load("bert", pooling_file(**said)), "auto") == "mean"
    assert resolve_pooling(load("gpt2", pooling_file(**said)), "auto") == "last"


@pytest.mark.parametrize("family", ["gpt2", "opt", "gpt-neox", "llama", "qwen3", "gemma2"])
def test_auto_pooling_of_a_causal_model_is_the_last_token(load: Load, family: str) -> None:
    assert resolve_pooling(load(family), "auto") == "last"


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "esm", "t5", "bart"]
)
def test_auto_pooling_of_an_encoder_is_the_mean(load: Load, family: str) -> None:
    assert resolve_pooling(load(family), "auto") == "mean"


@pytest.mark.parametrize("pooling", POOLINGS)
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


@pytest.mark.parametrize("max_length", [3, 1, 0, -5])
def test_a_length_without_room_for_text_is_an_error(load: Load, max_length: int) -> None:
    with pytest.raises(ValueError, match=f"max_length={max_length} leaves no room .* 3 special"):
        resolve_max_length(load(), max_length)


@pytest.mark.parametrize("max_length", [12.0, "long", "12", None, True, [12]])
def test_a_length_that_is_no_int_is_an_error_that_repeats_it(load: Load, max_length: Any) -> None:
    with pytest.raises(ValueError, match="max_length must be 'auto' or an int") as error:
        resolve_max_length(load(), max_length)
    assert f"got {max_length!r}" in str(error.value)
