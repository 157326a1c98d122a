"""How a backbone is meant to be used: its pooling and its longest input."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
)

from sklearn_lntune.backbone.loading import skeleton
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.poolings import POOLINGS

#: Longest input for ``max_length="auto"`` where sentence-transformers' files give none.
DEFAULT_LENGTH = 512

_SENTENCE_TRANSFORMERS_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
# sentence-transformers writes one key "pooling_mode" since version 5.
_SENTENCE_TRANSFORMERS_MODES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}


def resolve_pooling(backbone: Backbone, pooling: Any) -> str:
    """One of `POOLINGS`.

    "auto" is what the backbone's sentence-transformers files say, else the last token
    for causal language models and the mean for all others.
    """
    if pooling in POOLINGS:
        return str(pooling)
    if not (isinstance(pooling, str) and pooling == "auto"):
        raise ValueError(f"pooling must be 'auto' or one of {POOLINGS}; got {pooling!r}.")
    file = backbone.source.folder / "1_Pooling" / "config.json"
    if file.is_file():
        said = json.loads(file.read_text("utf-8"))
        modes = [mode for key, mode in _SENTENCE_TRANSFORMERS_KEYS.items() if said.get(key)]
        mode = said.get("pooling_mode")
        if isinstance(mode, str) and mode in _SENTENCE_TRANSFORMERS_MODES:
            modes.append(_SENTENCE_TRANSFORMERS_MODES[mode])
        if len(modes) == 1:
            return modes[0]
    kind = type(backbone.config)
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    return "last" if causal and not backbone.config.is_encoder_decoder else "mean"


def resolve_max_length(backbone: Backbone, max_length: Any) -> int:
    """Longest input in tokens.

    "auto" is the limit in the backbone's sentence-transformers files, else the smaller
    of `DEFAULT_LENGTH` and the model's positions.

    Raises
    ------
    ValueError
        If ``max_length`` exceeds the model's positions or leaves no room for a token.
    """
    limit = position_limit(backbone)
    if isinstance(max_length, str) and max_length == "auto":
        file = backbone.source.folder / "sentence_bert_config.json"
        said = json.loads(file.read_text("utf-8")).get("max_seq_length") if file.is_file() else None
        wanted = int(said or DEFAULT_LENGTH)
        return wanted if limit is None else min(wanted, limit)
    if not hasattr(max_length, "__index__") or isinstance(max_length, bool):
        raise ValueError(f"max_length must be 'auto' or an int; got {max_length!r}.")
    special = backbone.tokenizer.num_special_tokens_to_add(pair=True)
    if max_length <= special:
        raise ValueError(
            f"max_length={max_length} leaves no room for text beside {special} special tokens."
        )
    if limit is not None and max_length > limit:
        raise ValueError(
            f"max_length={max_length} is beyond the {limit} positions of backbone "
            f"{backbone.source.name!r}; use at most {limit}."
        )
    return int(max_length)


def position_limit(backbone: Backbone) -> int | None:
    """Tokens that the model has positions for; None where any number will do (T5)."""
    if backbone not in _limits:
        _limits[backbone] = _position_limit(backbone)
    return _limits[backbone]


#: It takes a skeleton to tell, and each prediction asks.
_limits: WeakKeyDictionary[Backbone, int | None] = WeakKeyDictionary()


def _position_limit(backbone: Backbone) -> int | None:
    limit = backbone.n_positions
    if limit is None:
        return None
    # RoBERTa's kind numbers positions from padding_idx + 1, so the table is longer.
    encoder = skeleton(backbone.config, backbone.trust_remote_code)
    for path, module in encoder.named_modules():
        if path.rsplit(".", 1)[-1] == "position_embeddings" and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            return limit if padding is None else limit - padding - 1
    return limit
