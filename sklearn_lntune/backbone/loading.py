"""Load a backbone with transformers, without output and without side effects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sklearn_lntune.backbone.checking import (
    check_computes,
    check_config,
    check_counts,
    check_input,
    check_kinds,
    check_loaded,
    check_size,
    foreign_errors,
    is_finite,
)
from sklearn_lntune.backbone.image_files import TWO_TOWERS, image_processor_config
from sklearn_lntune.backbone.resolve import Source
from sklearn_lntune.backbone.safetensors_reader import StoredTensor, stored_tensors
from sklearn_lntune.backbone.vocabulary import (
    check_tokenizer,
    check_tokenizer_files,
    no_tokenizer,
)
from sklearn_lntune.forking import ForkSafeLock

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
#: Model types whose encoder is often saved alone.
_ENCODER_DECODERS = ("longt5", "mt5", "switch_transformers", "t5", "umt5")
# transformers' verbosity and torch's default type and random state are global, so that only one
# thread may load at a time.
_loading = ForkSafeLock()


def load_config(source: Source, trust_remote_code: bool) -> Any:
    """The configuration in ``source``."""
    with errors_of(source):
        check_config(file := source.folder / "config.json")
        with quiet(), foreign_errors(f"{file} does not describe a model that transformers knows"):
            config = AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code)
            if config.model_type in TWO_TOWERS and image_processor_config(source.folder):
                config = config.vision_config
            # A file must not choose code: the name of an attention kernel may be one on the hub.
            config._attn_implementation = "eager"  # noqa: SLF001
    # T5EncoderModel, and so sentence-transformers, writes that there is no decoder; of either
    # only the encoder is used.
    if config.model_type in _ENCODER_DECODERS and not getattr(config, "is_decoder", False):
        config.is_encoder_decoder = True
    return config


def check_files(source: Source) -> None:
    """Refuse files of weights or of the tokenizer that are not whole.

    Raises
    ------
    ValueError
    """
    with errors_of(source):
        stored_tensors(source.weight_files)
        check_tokenizer_files(source.folder)


def load_tokenizer(source: Source, trust_remote_code: bool, n_rows: int | None = None) -> Any:
    """The tokenizer in ``source``.

    Parameters
    ----------
    source : Source
    trust_remote_code : bool
    n_rows : int, optional
        Rows of the model's table of tokens.

    Raises
    ------
    ValueError
        If there is none, it has no vocabulary, or tokens beyond ``n_rows``.
    """
    problem = (
        f"{no_tokenizer(source.folder)}; save one there with tokenizer.save_pretrained(folder)"
    )
    with errors_of(source), quiet():
        with foreign_errors(problem):
            tokenizer = AutoTokenizer.from_pretrained(
                source.folder, trust_remote_code=trust_remote_code
            )
        check_tokenizer(source.folder, tokenizer, n_rows)
    return tokenizer


def load_skeleton(source: Source, config: Any, trust_remote_code: bool) -> nn.Module:
    """The encoder in ``source``, on the meta device.

    Raises
    ------
    ValueError
        If ``config`` describes no model, or one that the weights cannot be those of.
    """
    empty = _checked_empty(source, config, trust_remote_code)
    with errors_of(source), foreign_errors(f"{source.folder / 'config.json'} describes no encoder"):
        return encoder_of(empty).eval()


def _checked_empty(source: Source, config: Any, trust_remote_code: bool) -> Any:
    file = source.folder / "config.json"
    with errors_of(source):
        stored = stored_tensors(source.weight_files)
        check_counts(file, config, len(stored))
        empty = _empty(config, trust_remote_code)
        check_size(file, empty, stored)
        check_kinds(empty, stored)
    return empty


def load_model(
    source: Source, config: Any, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> nn.Module:
    """The frozen encoder in ``source``, without a task head or a decoder.

    Weights stored in ``dtype`` are mapped from the files; others are converted one by one, so
    that memory never holds two copies. A pooler that is not in the files is initialised from
    a fixed seed, so that two loads agree.

    Raises
    ------
    ValueError
        If the weights are not those that ``config`` describes, or not finite.
    """
    options = {
        "config": config,
        "dtype": dtype,
        "attn_implementation": "eager",
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # `check_loaded` refuses them with a better message
    }
    empty = _checked_empty(source, config, trust_remote_code)
    with errors_of(source):
        problem = f"{source.folder}: transformers could not load the weights"
        plain = _is_plain(empty)
        with foreign_errors(problem):
            # Gigabytes may be read: before any lock is taken that other backbones need.
            weights, damaged = _weights(source, empty, dtype) if plain else (None, [])
        with quiet(), _seeded(), foreign_errors(problem):
            if plain:
                model, report = type(empty).from_pretrained(None, state_dict=weights, **options)
            else:
                model, report = AutoModel.from_pretrained(
                    source.folder,
                    use_safetensors=True,
                    trust_remote_code=trust_remote_code,
                    **options,
                )
                damaged = [name for name, w in model.named_parameters() if not is_finite(w)]
            encoder = freeze(encoder_of(model))
        check_loaded(source.folder, model, encoder, report, damaged)
        encoder = encoder.to(device)
        check_computes(source.folder, encoder)
    return encoder


@contextlib.contextmanager
def errors_of(source: Source) -> Iterator[None]:
    """Prefix the messages of errors with the name of the backbone."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"backbone {source.name!r}: {error}") from error


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of an encoder-decoder model; any other model itself."""
    config: Any = model.config
    # A T5 saved as an encoder alone is still built with a decoder, which then has no weights.
    both = hasattr(model, "encoder") and hasattr(model, "decoder")
    encoder: nn.Module = model
    if config.is_encoder_decoder or both:
        encoder = model.get_encoder()  # type: ignore[operator]
    return encoder


def skeleton(config: Any, trust_remote_code: bool = False) -> nn.Module:
    """The encoder that ``config`` describes, on the meta device.

    Raises
    ------
    ValueError
        If it describes no model, or one for something other than texts or images.
    """
    return encoder_of(_empty(config, trust_remote_code))


def _empty(config: Any, trust_remote_code: bool) -> Any:
    """The whole model that ``config`` describes, on the meta device."""
    where = getattr(config, "name_or_path", None) or type(config).__name__
    problem = f"{where}: transformers cannot build the model that its configuration describes"
    with without_memory(), foreign_errors(problem):
        model = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    check_input(where, model)
    return model


def _is_plain(empty: Any) -> bool:
    """Whether all floating-point weights of the model may have the same type."""
    mixed = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    quantised = getattr(empty.config, "quantization_config", None) is not None
    return not quantised and not any(getattr(empty, name, None) for name in mixed)


def _weights(
    source: Source, empty: nn.Module, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors in ``source`` in ``dtype``, and the names of those that are not finite.

    Buffers and integers stay as they are stored.
    """
    buffers = tuple(name for name, _ in empty.named_buffers())
    weights, damaged = {}, []
    for path in source.weight_files:
        with safe_open(path, framework="pt") as file:
            for tensor in stored_tensors([path]):
                if tensor.kind not in _TYPES or tensor.name.endswith(buffers):
                    weights[tensor.name] = file.get_tensor(tensor.name)
                    continue
                if _TYPES[tensor.kind] == dtype:
                    weights[tensor.name] = file.get_tensor(tensor.name)
                    # The file is read once more, since a page of the mapping counts as memory
                    # as soon as it is touched, and most rows of the embeddings never are.
                    finite = all(map(is_finite, _parts(tensor)))
                else:
                    weights[tensor.name], finite = _converted(tensor, dtype)
                if not finite:
                    damaged.append(tensor.name)
    return weights, damaged


def _converted(tensor: StoredTensor, dtype: torch.dtype) -> tuple[torch.Tensor, bool]:
    """``tensor`` in ``dtype``, and whether it is finite there."""
    whole = torch.empty(tensor.shape, dtype=dtype)
    flat, start, finite = whole.view(-1), 0, True
    for part in _parts(tensor):
        piece = flat[start : start + len(part)]
        piece.copy_(part)
        finite = finite and is_finite(piece)
        start += len(part)
    return whole, finite


def _parts(tensor: StoredTensor) -> Iterator[torch.Tensor]:
    """The numbers in order; the next overwrite the last."""
    for chunk in tensor.chunks():
        yield torch.frombuffer(chunk, dtype=_TYPES[tensor.kind])


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Build models on the meta device in this context."""
    with _loading, torch.random.fork_rng(devices=[]), torch.device("meta"):
        yield


def freeze(model: nn.Module) -> nn.Module:
    """``model`` in eval mode, none of its parameters trainable."""
    return model.requires_grad_(False).eval()


def stored_type(source: Source) -> torch.dtype:
    """The most frequent type of the stored tensors."""
    kinds = [tensor.kind for tensor in stored_tensors(source.weight_files[:1])]
    return _TYPES.get(max(set(kinds), key=kinds.count, default=""), torch.float32)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and reports of transformers."""
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
    """Use a fixed seed in this context, and restore the global random state at the end."""
    with torch.random.fork_rng(devices=[]):
        # Only the CPU's: `torch.manual_seed` would also reset the user's states of all GPUs.
        torch.default_generator.manual_seed(0)
        yield
