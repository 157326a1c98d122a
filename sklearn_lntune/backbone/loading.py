"""Read a backbone's files with transformers, quietly and without side effects."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sklearn_lntune.backbone.resolve import Source
from sklearn_lntune.backbone.stored import StoredTensor, stored_tensors
from sklearn_lntune.forking import ForkSafeLock

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
#: Kinds of models of which the encoder is often saved alone.
_ENCODER_DECODERS = ("longt5", "mt5", "switch_transformers", "t5", "umt5")
# transformers' verbosity, torch's default type and random state are global: one at a time.
_loading = ForkSafeLock()


def load_config(source: Source, trust_remote_code: bool) -> Any:
    """The configuration in ``source``."""
    config = AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code)
    # A file must not choose code: the name of an attention kernel may be one on the hub.
    config._attn_implementation = "eager"  # noqa: SLF001
    # T5EncoderModel, and so sentence-transformers, writes that there is no decoder; of either
    # only the encoder is used.
    if config.model_type in _ENCODER_DECODERS and not getattr(config, "is_decoder", False):
        config.is_encoder_decoder = True
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

    Weights stored in ``dtype`` are mapped from the files; others go straight into it, so
    that memory holds them once. What the files lack (a pooler, mostly) is drawn from a
    fixed seed, so that two loads agree.
    """
    options = {
        "config": config,
        "dtype": dtype,
        "attn_implementation": "eager",
        "output_loading_info": True,
    }
    empty = _empty(config, trust_remote_code)
    with quiet(), _seeded():
        if stored_type(source) == dtype or not _is_plain(empty):
            model, report = AutoModel.from_pretrained(
                source.folder,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                **options,
            )
        else:
            weights = _weights(source, empty, dtype)
            model, report = type(empty).from_pretrained(None, state_dict=weights, **options)
    used = {id(tensor) for tensor in encoder_of(model).state_dict(keep_vars=True).values()}
    unused = {
        name for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) not in used
    }
    lacking = sorted(name for name in set(report["missing_keys"]) - unused if "pooler" not in name)
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
    return encoder_of(_empty(config, trust_remote_code))


def _empty(config: Any, trust_remote_code: bool) -> Any:
    """The whole model that ``config`` describes, without memory for its weights."""
    with without_memory():
        return AutoModel.from_config(config, trust_remote_code=trust_remote_code)


def _is_plain(empty: Any) -> bool:
    """Whether all floating weights of the model take one type."""
    mixed = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    quantised = getattr(empty.config, "quantization_config", None) is not None
    return not quantised and not any(getattr(empty, name, None) for name in mixed)


def _weights(source: Source, empty: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors in ``source`` in ``dtype``; buffers and integers as they are stored."""
    buffers = tuple(name for name, _ in empty.named_buffers())
    return {
        tensor.name: _as_stored(tensor)
        if tensor.kind not in _TYPES or tensor.name.endswith(buffers)
        else _converted(tensor, dtype)
        for tensor in stored_tensors(source.weight_files)
    }


def _as_stored(tensor: StoredTensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        return file.get_tensor(tensor.name)


def _converted(tensor: StoredTensor, dtype: torch.dtype) -> torch.Tensor:
    whole = torch.empty(tensor.shape, dtype=dtype)
    flat, start = whole.view(-1), 0
    for chunk in tensor.chunks():
        part = torch.frombuffer(chunk, dtype=_TYPES[tensor.kind])
        flat[start : start + len(part)] = part
        start += len(part)
    return whole


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
    kinds = [tensor.kind for tensor in stored_tensors(source.weight_files[:1])]
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
