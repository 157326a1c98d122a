"""Read a backbone's files with transformers, quietly and without side effects."""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sklearn_lntune.backbone.resolve import Source

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# transformers' verbosity, torch's default type and random state are global: one at a time.
_loading = threading.Lock()


def load_config(source: Source, trust_remote_code: bool) -> Any:
    """The configuration in ``source``."""
    config = AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code)
    # A file must not choose code: the name of an attention kernel may be one on the hub.
    config._attn_implementation = "eager"  # noqa: SLF001
    return config


def load_tokenizer(source: Source, trust_remote_code: bool) -> Any:
    """The tokenizer in ``source``."""
    with quiet():
        try:
            return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=trust_remote_code)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"backbone {source.name!r}: no tokenizer could be read from {source.folder} "
                f"({type(error).__name__}: {error}). Save one there with "
                "tokenizer.save_pretrained(folder)."
            ) from error


def load_model(
    source: Source, config: Any, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> nn.Module:
    """The frozen encoder in ``source``: no task head, no decoder beside an encoder.

    Weights go straight into ``dtype``. What the files lack (a pooler, mostly) is drawn
    from a fixed seed, so that two loads agree.
    """
    with quiet(), _seeded():
        model, report = AutoModel.from_pretrained(
            source.folder,
            config=config,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    lacking = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if lacking:
        warnings.warn(
            f"backbone {source.name!r}: {len(lacking)} tensors are not in its files and stay at "
            f"random values ({', '.join(lacking[:3])}, ...). Do the files belong to this model?",
            UserWarning,
            stacklevel=2,
        )
    return freeze(encoder_of(model)).to(device)


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of an encoder-decoder model; any other model itself."""
    config: Any = model.config
    return model.get_encoder() if config.is_encoder_decoder else model  # type: ignore[operator]


def skeleton(config: Any, trust_remote_code: bool = False) -> nn.Module:
    """The encoder that ``config`` describes, without memory for its weights."""
    with without_memory():
        model = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    return encoder_of(model)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Build models on the meta device inside."""
    with _loading, torch.device("meta"):
        yield


def freeze(model: nn.Module) -> nn.Module:
    """``model`` in eval mode, none of its parameters trainable."""
    return model.requires_grad_(False).eval()


def stored_type(source: Source) -> torch.dtype:
    """The type that most of the stored tensors have."""
    with open(source.weight_files[0], "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    kinds = [entry["dtype"] for name, entry in header.items() if name != "__metadata__"]
    return _TYPES.get(max(set(kinds), key=kinds.count), torch.float32)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' bars and reports; its loading is not the user's business."""
    with _loading:
        level = transformers_logging.get_verbosity()
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """A fixed seed inside, the global random state outside as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
