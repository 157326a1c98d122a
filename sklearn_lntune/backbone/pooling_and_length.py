"""The intended use of a backbone: its pooling and its longest input."""

from __future__ import annotations

import math
import numbers
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
)

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.poolings import POOLINGS
from sklearn_lntune.backbone.sentence_files import named_length, named_pooling
from sklearn_lntune.inputs.image.pixels import Grid

#: Longest input for ``max_length="auto"`` if sentence-transformers' files give none.
DEFAULT_LENGTH = 512
#: Model types whose own last step is a pooler, so that their last states are not meant for use.
_ENDS_IN_POOLER = ("beit", "clip_vision_model", "siglip_vision_model")
_MAX_TOKENS = 2**31 - 1


def resolve_pooling(backbone: Backbone, pooling: Any) -> str:
    """The pooling to use, one of `POOLINGS`.

    For texts, "auto" is the pooling in the backbone's sentence-transformers files, else the last
    token for causal language models and the mean for all others. For images, it is what the
    architecture computes itself; see `_pooling_of_images`.

    Raises
    ------
    ValueError
        If those files name a pooling that is not computed here, or the backbone cannot compute
        ``pooling``.
    """
    known = isinstance(pooling, str) and pooling in POOLINGS
    if not known and not (isinstance(pooling, str) and pooling == "auto"):
        raise ValueError(f"pooling must be 'auto' or one of {POOLINGS}; got {pooling!r}.")
    if backbone.grid is not None:
        return _pooling_of_images(backbone, backbone.grid, str(pooling))
    if pooling == "pooler":
        raise ValueError(
            f"pooling='pooler' is for backbones of images, and {backbone.source.name!r} takes "
            "texts; choose 'cls', 'mean', 'max' or 'last'."
        )
    if known:
        return str(pooling)
    try:
        named = named_pooling(backbone.source.folder)
    except ValueError as error:
        raise ValueError(
            f"backbone {backbone.source.name!r}: {error} Choose a pooling yourself, with "
            "pooling='mean' or another of 'cls', 'max' and 'last'."
        ) from error
    if named is not None:
        return named
    kind = type(backbone.config)
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    return "last" if causal and not backbone.config.is_encoder_decoder else "mean"


def _pooling_of_images(backbone: Backbone, grid: Grid, pooling: str) -> str:
    """The pooling of images.

    "auto" is the pooler of the architectures that end in one (BEiT: the mean of the patches and
    a norm; CLIP: a norm of the class token; SigLIP: attention), else the class token, and
    without one the mean of the patches.
    """
    name = f"backbone {backbone.source.name!r} ({backbone.anatomy.model})"
    # A pooler that is not in the files would be at random values.
    random = getattr(backbone.skeleton, "pooler", None) is not None and not backbone.parts["pooler"]
    has_pooler = grid.n_pooled == backbone.hidden_size and not random
    if pooling == "auto":
        ends_in_it = has_pooler and backbone.config.model_type in _ENDS_IN_POOLER
        pooling = "pooler" if ends_in_it else "cls" if grid.n_added else "mean"
    if pooling == "last":
        raise ValueError("pooling='last' is for texts; images have no last token.")
    if pooling == "cls" and not grid.n_added:
        raise ValueError(
            f"pooling='cls': {name} has no class token; choose 'mean', 'max' or 'pooler'."
        )
    if pooling == "pooler" and not has_pooler:
        raise ValueError(
            f"pooling='pooler': {name} has no pooler in its files; choose 'cls', 'mean' or 'max'."
        )
    return pooling


def reads_separately(backbone: Backbone, pairs: str, pooling: str) -> bool:
    """Whether each text of a pair is read by itself.

    Under "auto" it is if the backbone has the files of sentence-transformers: it was trained to
    embed single sentences, and has never seen two at once.
    """
    if pairs == "auto":
        return pooling != "native" and named_pooling(backbone.source.folder) is not None
    return pairs == "separate"


def resolve_max_length(backbone: Backbone, max_length: Any) -> int:
    """Longest input in tokens; for images, their number of patches.

    "auto" is the limit in the backbone's sentence-transformers files, else the smaller
    of `DEFAULT_LENGTH` and the model's positions.

    Raises
    ------
    ValueError
        If ``max_length`` exceeds the model's positions or leaves no room for a token.
    """
    auto = isinstance(max_length, str) and max_length == "auto"
    if not auto and (not isinstance(max_length, numbers.Integral) or isinstance(max_length, bool)):
        raise ValueError(f"max_length must be 'auto' or an int; got {max_length!r}.")
    if not auto and max_length > _MAX_TOKENS:
        raise ValueError(f"max_length must be at most {_MAX_TOKENS}; got {max_length!r:.40}.")
    if backbone.grid is not None:
        n_patches = backbone.grid.n_patches
        if not auto and max_length < n_patches:
            raise ValueError(
                f"max_length={max_length}, but each image has {n_patches} patches with backbone "
                f"{backbone.source.name!r}, and images are not cut; leave it at 'auto'."
            )
        return n_patches
    limit = position_limit(backbone)
    special = backbone.tokenizer.num_special_tokens_to_add(pair=True)
    if auto:
        return _auto_length(backbone, limit, special)
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


def resolve_stride(backbone: Backbone, stride: int, max_length: int) -> int:
    """Tokens that neighbouring windows of ``max_length`` share.

    Raises
    ------
    ValueError
        If they leave no room for other tokens.
    """
    special = backbone.tokenizer.num_special_tokens_to_add(pair=False)
    if stride >= max_length - special:
        raise ValueError(
            f"stride={stride} leaves no room for other tokens in a window of max_length="
            f"{max_length}, of which {special} are special tokens: pass at most "
            f"{max_length - special - 1}."
        )
    return stride


def _auto_length(backbone: Backbone, limit: int | None, special: int) -> int:
    name = f"backbone {backbone.source.name!r}"
    try:
        named = named_length(backbone.source.folder, backbone.tokenizer)
    except ValueError as error:
        raise ValueError(
            f"{name}: {error} Choose a length yourself, with max_length=256 for instance."
        ) from error
    length = min(named or DEFAULT_LENGTH, math.inf if limit is None else limit)
    if length <= special:
        raise ValueError(
            f"{name}: its files name a longest input of {length} tokens, which leaves no room for "
            f"text beside {special} special tokens; pass max_length."
        )
    return int(length)


def position_limit(backbone: Backbone) -> int | None:
    """Number of tokens that the model has positions for; None without a limit (T5)."""
    if backbone not in _limits:
        _limits[backbone] = _position_limit(backbone)
    return _limits[backbone]


#: Cached, since finding the limit takes a skeleton, and each prediction needs it.
_limits: WeakKeyDictionary[Backbone, int | None] = WeakKeyDictionary()


def _position_limit(backbone: Backbone) -> int | None:
    limit = backbone.n_positions
    if limit is None or backbone.takes_images:
        return None
    # Models like RoBERTa number positions from padding_idx + 1, so their table is longer.
    for path, module in backbone.skeleton.named_modules():
        if path.rsplit(".", 1)[-1] == "position_embeddings" and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            return limit if padding is None else limit - padding - 1
    return limit
