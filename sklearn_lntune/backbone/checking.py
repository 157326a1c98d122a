"""Check that configuration and weights belong together before anything trains on them.

They often come from strangers, or lost something on the way. Nothing may take more memory
or time than its files weigh.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sklearn_lntune.backbone.device_memory import is_out_of_memory
from sklearn_lntune.backbone.files import AGAIN, read_json
from sklearn_lntune.backbone.safetensors_reader import StoredTensor

#: Counts in a configuration, by the end of their names, and the largest value accepted:
#: building a skeleton takes time for each layer or head.
_LARGEST = (
    (re.compile(r"(layer|block|group|repeat|network|function|depth)s?(_num)?$"), 1_000),
    (re.compile(r"(head|expert|lang|language)s$"), 1 << 16),
    (re.compile(r"(label|classe)s$"), 1 << 16),
)
_EPSILON = re.compile(r"(^|_)eps(ilon)?$")
#: Number of layers that may share their tensors; with more, each needs a stored tensor.
_SHARED_LAYERS = 100
#: A skeleton may be larger than the stored tensors by this factor, for unused parts.
_SPARE_FACTOR, _SPARE_NUMBERS, _SPARE_BYTES = 4, 1 << 24, 1 << 28
_PROBE_LENGTH, _LONG_PROBE_LENGTH = 2, 32
#: The relative error from rounding products beyond which predictions would be arbitrary.
_MAX_ROUNDING = 0.3
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


@contextlib.contextmanager
def foreign_errors(message: str) -> Iterator[None]:
    """Convert errors of other libraries to a ValueError with ``message`` and the cause.

    Interrupts, and errors of a GPU that is out of memory, are not converted.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # A panic of the tokenizers library derives from BaseException, not from Exception.
    except BaseException as error:
        if is_out_of_memory(error):
            raise
        why = " ".join(str(error).split())
        raise ValueError(f"{message} ({type(error).__name__}: {why:.1000}).") from error


def check_config(file: Path) -> None:
    """Refuse a configuration that is malformed or claims absurd sizes.

    Raises
    ------
    ValueError
    """
    config = read_json(file, dict)
    kind = config.get("model_type")
    if not isinstance(kind, str) and not isinstance(config.get("auto_map"), dict):
        raise ValueError(
            f"{file} does not name an architecture: its 'model_type' is {kind!r:.80}. Is it the "
            "configuration of a transformers model? If you know its kind, add it, for instance "
            '"model_type": "bert".'
        )
    if "configuration_files" in config:
        raise ValueError(
            f"{file} refers to other configuration files, by version of transformers, which is not "
            "supported; put the one that you need in its place."
        )
    _check_numbers(file, "", config)


def _check_numbers(file: Path, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_numbers(file, str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(file, key, inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for words, largest in _LARGEST:
            if words.search(key) and not value <= largest:
                raise ValueError(
                    f"{file} claims {key}={value!r:.40}, and no known model has more than "
                    f"{largest}. Do not trust this folder, or correct the file."
                )
        if _EPSILON.search(key) and not 0 <= value < 1:
            raise ValueError(
                f"{file} claims {key}={value!r:.40}, which must be a small number above 0; correct "
                "the file."
            )


def check_counts(file: Path, config: Any, n_stored: int) -> None:
    """Refuse a claim of no layers or heads, or of more layers than there are stored tensors.

    Raises
    ------
    ValueError
    """
    text = config.get_text_config()
    for name in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads"):
        count = getattr(text, name, None)
        if isinstance(count, int) and count < 1:
            raise ValueError(f"{file} claims {name}={count}; correct it, or {AGAIN}.")
    n_layers = getattr(text, "num_hidden_layers", None)
    if isinstance(n_layers, int) and n_layers > max(n_stored, _SHARED_LAYERS):
        raise ValueError(
            f"{file} claims {n_layers} layers, but the weights beside it hold {n_stored} tensors. "
            "Do both belong to one model?"
        )


def takes_images(model: nn.Module) -> bool:
    """Whether ``model`` computes from the pixels of images, and from nothing else."""
    return getattr(model, "main_input_name", None) == "pixel_values"


def check_input(where: str, model: nn.Module) -> None:
    """Refuse models of sound or time series.

    Raises
    ------
    ValueError
    """
    takes = getattr(model, "main_input_name", "input_ids")
    if takes not in ("input_ids", "pixel_values"):
        raise ValueError(
            f"{where} holds a {type(model).__name__}, which takes {takes!r}; choose a model of "
            "texts or of images."
        )


def check_size(file: Path, model: nn.Module, stored: list[StoredTensor]) -> None:
    """Refuse a configuration whose ``model`` is far larger than what is stored.

    Weights missing from the files would be initialised, which could take any amount of memory.

    Raises
    ------
    ValueError
    """
    if getattr(model.config, "quantization_config", None) is not None:
        return  # quantised: several numbers are packed into one
    n_stored = sum(math.prod(tensor.shape) for tensor in stored)
    n_claimed = sum(weight.numel() for weight in model.parameters())
    n_bytes = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if (
        n_claimed > _SPARE_FACTOR * n_stored + _SPARE_NUMBERS
        or n_bytes > 4 * _SPARE_FACTOR * n_stored + _SPARE_BYTES
    ):
        raise ValueError(
            f"{file} describes a {type(model).__name__} of {max(n_claimed, n_bytes):,} numbers, "
            f"but the weights beside it hold {n_stored:,}. Do both belong to one model?"
        )


def check_kinds(model: nn.Module, stored: list[StoredTensor]) -> None:
    """Refuse integers where the model computes with fractions.

    Raises
    ------
    ValueError
    """
    if getattr(model.config, "quantization_config", None) is not None:
        return
    odd = {tensor.name: tensor for tensor in stored if tensor.kind in _INTEGERS}
    if not odd:
        return
    for name, weight in model.named_parameters():
        for full, tensor in odd.items():
            if weight.is_floating_point() and (full == name or full.endswith("." + name)):
                raise ValueError(
                    f"{tensor.file}: {full!r} holds integers ({tensor.kind}), and the model takes "
                    "floating-point numbers. Quantised weights need their 'quantization_config' in "
                    "config.json; else save the model again in float32 or bfloat16."
                )


def check_loaded(
    folder: Path, model: nn.Module, used: nn.Module, report: Any, damaged: list[str]
) -> None:
    """Refuse weights of other shapes than the configuration's, missing or not finite ones.

    Parameters
    ----------
    folder : Path
    model : torch.nn.Module
        As loaded.
    used : torch.nn.Module
        The part of it that is used.
    report : mapping
        transformers' report on loading.
    damaged : list of str
        Names of stored tensors that are not finite.

    Raises
    ------
    ValueError
    """
    inside = {id(weight) for weight in used.parameters()}
    names = {
        name
        for name, weight in model.named_parameters(remove_duplicate=False)
        if id(weight) in inside
    }
    for name, found, expected in sorted(report["mismatched_keys"]):
        if name in names:
            raise ValueError(
                f"{folder}: tensor {name!r} has the shape {tuple(found)}, and {tuple(expected)} in "
                "config.json. Do config.json and the weights belong to one model?"
            )
    missing = sorted(name for name in report["missing_keys"] & names if "pooler" not in name)
    if missing:
        raise ValueError(
            f"{folder}: its weights lack {len(missing)} tensors that config.json describes "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}), which would stay at "
            "random values. Do config.json and the weights belong to one model?"
        )
    unused = report["unexpected_keys"]
    for name in damaged:
        if not any(name == other or name.endswith(f".{other}") for other in unused):
            raise ValueError(
                f"{folder}: tensor {name!r} holds values that are NaN or infinite. The weights are "
                "damaged, or were when they were saved; take another copy or an earlier checkpoint."
            )


def is_finite(weight: torch.Tensor) -> bool:
    """Whether no number in ``weight`` is NaN or infinite; floats of 8 bits are not looked at."""
    if weight.dtype not in _FLOATS or not weight.numel():
        return True
    # NaN passes through minimum and maximum, which need no memory for each number.
    return bool(torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all())


def check_computes(folder: Path, model: nn.Module) -> None:
    """Run two short rows, so that a model that cannot compute is found before training.

    Raises
    ------
    ValueError
    """
    dtype = _float_weight(model).dtype
    states = _probe_states(folder, model)
    if not is_finite(states.cpu()):
        raise ValueError(
            f"{folder}: {type(model).__name__} computes values that are not finite in {dtype}. Was "
            "config.json changed? If it was not, choose another precision."
        )


def check_agrees(folder: Path, model: nn.Module, exact: nn.Module) -> None:
    """Check that ``model``, with products of integers, computes about the same as ``exact``.

    Raises
    ------
    ValueError
        If it does not: other layers read weights that are integers now, or single activations are
        so large that the others are rounded to nothing.
    """
    reason = "it cannot compute with rounded products"
    expected = _probe_states(folder, exact, _LONG_PROBE_LENGTH).flatten(0, 1)
    with contextlib.suppress(ValueError):
        found = _probe_states(folder, model, _LONG_PROBE_LENGTH).flatten(0, 1)
        # Of what differs between tokens: some models add the same large numbers to all of them.
        error = float((found - expected).norm() / (expected - expected.mean(0)).norm())
        if error <= _MAX_ROUNDING:
            return
        reason = f"rounded products change what it computes by {error:.0%}"
    raise ValueError(
        f"{folder}: {type(exact).__name__} cannot predict with precision='int8': {reason}. Choose "
        "precision='auto'."
    )


def _probe_states(folder: Path, model: nn.Module, n_tokens: int = _PROBE_LENGTH) -> torch.Tensor:
    """Hidden states of two rows of at most ``n_tokens``, or of two images."""
    dtype = _float_weight(model).dtype
    images = takes_images(model)
    noun = "pixels" if images else "tokens"
    problem = f"{folder}: {type(model).__name__} cannot compute from {noun} in {dtype}. "
    if dtype in (torch.bfloat16, torch.float16):  # some architectures know wider types only
        problem += "Try precision='float32'. If that fails, too: "
    kind = "an image" if images else "a text"
    problem += f"Is it {kind} model, and was its config.json changed?"
    if not images:
        return _states_of_texts(model, problem, n_tokens)
    with foreign_errors(problem):
        return _states_of_images(model)


def _states_of_texts(model: nn.Module, problem: str, n_tokens: int) -> torch.Tensor:
    """Hidden states of two rows; of another length if the model needs it (CANINE)."""
    with contextlib.suppress(ValueError), foreign_errors(problem):
        return _states(model, n_tokens)
    with foreign_errors(problem):
        return _states(model, _PROBE_LENGTH + _LONG_PROBE_LENGTH - n_tokens)


def _states(model: nn.Module, n_tokens: int) -> torch.Tensor:
    """Hidden states of two rows of at most ``n_tokens``, the second one shorter."""
    ids = torch.arange(2 * n_tokens, device=next(model.parameters()).device).view(2, -1)
    mask = torch.ones_like(ids)
    mask[1, -1] = 0
    with torch.no_grad():
        output = model(input_ids=ids % (n_embeddings(model) or 2), attention_mask=mask)
    states: torch.Tensor = output.last_hidden_state
    return states


def _states_of_images(model: nn.Module) -> torch.Tensor:
    """Hidden states of two images, a grey one and one with edges."""
    config: Any = model.config
    side = config.image_size
    height, width = side if isinstance(side, list | tuple) else (side, side)
    pixels = torch.arange(2 * config.num_channels * height * width).remainder(7) / 7
    pixels = pixels.view(2, config.num_channels, height, width)
    pixels[0] = 0.5
    weight = _float_weight(model)
    with torch.no_grad():
        output = model(pixel_values=pixels.to(weight.device, weight.dtype))
    states: torch.Tensor = output.last_hidden_state
    return states


def _float_weight(model: nn.Module) -> torch.Tensor:
    return next(weight for weight in model.parameters() if weight.is_floating_point())


def n_embeddings(model: nn.Module) -> int | None:
    """Rows of the token embedding; None if there is none (CANINE hashes characters)."""
    with contextlib.suppress(AttributeError, NotImplementedError):
        table = model.get_input_embeddings()  # type: ignore[operator]
        return int(table.num_embeddings)
    return None
