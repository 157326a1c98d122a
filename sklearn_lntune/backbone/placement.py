"""Choose device, number types and attention implementation.

This is the only module that interprets an estimator's ``device``, ``precision`` and ``compile``.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch

from sklearn_lntune.backbone.compiled import has_compiler
from sklearn_lntune.backbone.int8 import has_exact_int8
from sklearn_lntune.backbone.where import Where
from sklearn_lntune.forking import is_forked

_PRECISIONS = {
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}

#: Tokens, padding included, in one batch of a prediction. On a CPU more do not fit its caches;
#: of other devices than CUDA's little is known.
PREDICT_TOKENS = defaultdict(lambda: 16384, cpu=1024, cuda=65536)
#: The same in int8. With more, what each layer writes is so large that the C library gets it from
#: the system anew each time, which takes as long as half of the products.
PREDICT_TOKENS_INT8 = 512
#: Tokens, padding included, of fused fits that run forward and backward at once.
STEP_TOKENS = defaultdict(lambda: 8192, cpu=1024, cuda=32768)
#: Tokens, padding included, whose activations are computed at once to be cached.
CACHE_TOKENS = 4096


@dataclass(frozen=True)
class Placement:
    """Resolved ``device``, ``precision`` and ``compile``.

    Attributes
    ----------
    device : torch.device
    train_type, predict_type : torch.dtype
        Types of the frozen weights while fitting and while predicting. Delta, head, loss and
        optimiser use `delta_type` of it. Predictions in int8 have integers in the products
        with weights of the blocks; all else has `float_type` of it.
    compiled : bool
        Whether the backbone runs through torch.compile.
    """

    device: torch.device
    train_type: torch.dtype
    predict_type: torch.dtype
    compiled: bool = False

    def attention(self, *, training: bool) -> str:
        """The attention implementation that is fastest for this call.

        On a CPU in bfloat16, the backward pass of the fused attention takes over a third
        of a step at length 32; with the plain one, a step takes half the time. In all other
        cases the fused one is at least as fast.
        """
        plain = training and self.device.type == "cpu" and self.train_type == torch.bfloat16
        return "eager" if plain else "sdpa"

    def with_gradients(self) -> Placement:
        """Where gradients of predictions are computed: they go through no integers."""
        return replace(self, predict_type=float_type(self.predict_type), compiled=False)


def float_type(compute_type: torch.dtype) -> torch.dtype:
    """The type of activations: ``compute_type`` itself, or float32 around integer products."""
    return compute_type if compute_type.is_floating_point else torch.float32


def delta_type(compute_type: torch.dtype) -> torch.dtype:
    """The type of learnt values: float32, or float64 if everything is."""
    return torch.float64 if compute_type == torch.float64 else torch.float32


def padded_length(
    n_tokens: int,
    compute_type: torch.dtype,
    device: torch.device,
    n_positions: int | None = None,
) -> int:
    """The length to which a batch is padded, if its longest row has ``n_tokens``.

    On a CPU, products in bfloat16 are compiled anew for each shape they meet, which takes
    time and memory (``docs/guide/placement.rst``). So lengths near each other share one, at
    most a sixteenth or one token away, and never beyond the model's ``n_positions``. All
    others compute just what is there.

    Examples
    --------
    >>> cpu = torch.device("cpu")
    >>> [padded_length(n, torch.bfloat16, cpu) for n in (7, 8, 33, 65, 130, 257)]
    [8, 8, 34, 68, 136, 272]
    >>> padded_length(7, torch.float32, cpu)
    7
    """
    if device.type != "cpu" or compute_type != torch.bfloat16:
        return n_tokens
    step = 1 << max(1, n_tokens.bit_length() - 5)
    wanted = -(-n_tokens // step) * step
    return wanted if n_positions is None else max(n_tokens, min(wanted, n_positions))


def place_fit(
    where: Where, stored_type: torch.dtype, *, own: torch.device | None = None
) -> Placement:
    """The placement of a fit.

    Parameters
    ----------
    where : Where
        The device ``"auto"`` is CUDA, then Apple's GPU, then the CPU.
    stored_type : torch.dtype
        Of the backbone's files. Weights in bfloat16 also predict in it under "auto" where
        the hardware computes it: a wider type adds nothing to them. Those in float16 do
        not, since activations beyond 65,504 would be infinite.
    own : torch.device, optional
        The device ``"auto"`` in this process, if several processes fit together.

    Raises
    ------
    ValueError
        If the device is missing or does not support the precision, or a compiler is missing.

    Notes
    -----
    With ``"int8"`` a fit trains as with ``"auto"``.
    """
    device, precision, compiled = _device(where.device, own), where.precision, where.compile
    if not isinstance(compiled, bool):
        raise ValueError(f"compile must be True or False; got {compiled!r}.")
    if compiled and device.type == "cpu" and not has_compiler():
        raise MissingCompilerError(
            "compile=True needs a C++ compiler on a CPU, and there is none: install one (g++, "
            "clang++ or MSVC), name it in the environment variable CXX, or use compile=False."
        )
    if not isinstance(precision, str) or precision not in ("auto", "int8", *_PRECISIONS):
        raise ValueError(
            "precision must be 'auto', 'int8', 'bfloat16', 'float32' or 'float64'; got "
            f"{precision!r}."
        )
    if precision in _PRECISIONS:
        if precision == "float64" and device.type == "mps":
            raise ValueError("precision='float64' is not possible on device 'mps'; use 'cpu'.")
        return Placement(device, _PRECISIONS[precision], _PRECISIONS[precision], compiled)
    train_type = torch.bfloat16 if _has_native_bfloat16(device) else torch.float32
    predict_type = train_type if stored_type == torch.bfloat16 else torch.float32
    if precision == "int8":
        _check_int8(device, where.device)
        predict_type = torch.int8
    return Placement(device, train_type, predict_type, compiled)


def place_prediction(where: Where, stored_type: torch.dtype) -> Placement:
    """As `place_fit`, but what is missing on this machine is a warning, not an error."""
    try:
        return place_fit(where, stored_type)
    except MissingDeviceError as error:
        warnings.warn(f"{error} Predicting on the CPU.", UserWarning, stacklevel=2)
        return place_prediction(replace(where, device="cpu"), stored_type)
    except MissingCompilerError as error:
        warnings.warn(f"{error} Predicting without.", UserWarning, stacklevel=2)
        return place_prediction(replace(where, compile=False), stored_type)
    except MissingInt8Error as error:
        warnings.warn(f"{error} Predicting with 'auto'.", UserWarning, stacklevel=2)
        return place_prediction(replace(where, precision="auto"), stored_type)


class MissingDeviceError(ValueError):
    """The requested device is not available."""


class MissingCompilerError(ValueError):
    """Compilation was requested, and there is no compiler."""


class MissingInt8Error(ValueError):
    """Products of integers were requested where they cannot be computed."""


def _check_int8(device: torch.device, requested: Any) -> None:
    if device.type != "cpu":
        here = f"device={str(requested)!r}" + (" is that here" if requested == "auto" else "")
        raise MissingInt8Error(
            f"precision='int8' predicts on a CPU, not on {device.type!r}, and {here}: choose "
            "device='cpu', or precision='auto'."
        )
    if not has_exact_int8():
        raise MissingInt8Error(
            "precision='int8' needs a CPU that multiplies 8-bit integers exactly (such as one with "
            "VNNI), and this one does not: choose precision='auto'."
        )


def _device(device: Any, own: torch.device | None) -> torch.device:
    if isinstance(device, str) and device == "auto":
        if own is not None:
            return own
        if torch.cuda.is_available():
            check_after_fork("cuda")
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "device must be 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or a torch.device; got "
            f"{device!r:.80}."
        ) from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        _try_device(chosen)
    if chosen.type == "cuda":
        if not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count():
            raise MissingDeviceError(f"device={str(device)!r}, but there is no such GPU here.")
        check_after_fork("cuda")
        index = torch.cuda.current_device() if chosen.index is None else chosen.index
        return torch.device("cuda", index)
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise MissingDeviceError("device='mps', but there is no Apple GPU here.")
    return chosen


def _try_device(device: torch.device) -> None:
    """Raise a `MissingDeviceError` if ``device`` does not compute, as "meta" never does."""
    try:
        torch.zeros((), device=device).add(1).item()
    except Exception as error:  # each kind of device has errors of its own
        raise MissingDeviceError(
            f"device={str(device)!r} cannot be used here ({type(error).__name__}); choose 'cpu', "
            "'cuda' or 'mps', or install what PyTorch needs for it."
        ) from error


def check_after_fork(device_type: str) -> None:
    """Raise a `MissingDeviceError` if a fork has cut this process off from its device."""
    if device_type == "cuda" and torch.cuda._is_in_bad_fork():  # noqa: SLF001 - as torch checks
        raise MissingDeviceError(
            "this process was forked from one that had used the GPU, and CUDA does not work in it: "
            "start processes with 'spawn' or 'forkserver', or pass device='cpu'."
        )


def check_gradients_after_fork() -> None:
    """Raise a ValueError if a fork has cut this process off from PyTorch's gradients."""
    # On a machine with a GPU, PyTorch computes them in threads.
    if not is_forked():
        return
    try:
        torch.autograd.backward(torch.ones((), requires_grad=True))
    except RuntimeError as error:
        raise ValueError(
            "this process was forked from one that had trained, and PyTorch cannot train in both "
            "of them on a machine with a GPU: start processes with 'spawn' or 'forkserver', or "
            "fork before the first fit."
        ) from error


def _has_native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        if hasattr(torch.cpu, "get_capabilities"):
            can = torch.cpu.get_capabilities()
            return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
        return torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - torch before 2.10
    return False
