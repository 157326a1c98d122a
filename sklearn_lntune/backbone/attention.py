"""transformers' attention, with a mask that is made without waiting for the device.

transformers leaves out a mask that hides nothing, which lets the fused kernels run at their
best. To find out, it reads the mask from the device, and so waits for it in each forward pass.
The host knows already whether a batch is padded: `padding` passes it on to variants of the
attention implementations that are registered here.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

#: Per thread, since threads share shells. Not an argument, since the model's forward passes on
#: only what it knows.
_running = threading.local()


@contextlib.contextmanager
def padding(is_padded: bool | None) -> Iterator[None]:
    """Tell whether the batch that runs in this context is padded; None if that is unknown."""
    before = getattr(_running, "is_padded", None)
    _running.is_padded = is_padded
    try:
        yield
    finally:
        _running.is_padded = before


def attention_of(implementation: str, module: nn.Module) -> Callable[..., Any]:
    """The function that computes the attention of ``module`` by ``implementation``."""
    if implementation != "eager":
        found: Callable[..., Any] = AttentionInterface()[implementation]
        return found
    # Each architecture defines its plain attention in its own module.
    plain: Callable[..., Any] = inspect.unwrap(type(module).forward).__globals__[
        "eager_attention_forward"
    ]
    return plain


def mask_of(implementation: str) -> Callable[..., Any]:
    """The function that makes the mask for ``implementation``, without waiting if it can."""
    return partial(_mask, AttentionMaskInterface()[implementation])


def without_waiting(implementation: str) -> str:
    """The variant of ``implementation`` whose mask is made without waiting for the device."""
    return VARIANTS.get(implementation, implementation)


def _attend(implementation: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return attention_of(implementation, module)(module, *args, **kwargs)


def _mask(make: Callable[..., Any], **kwargs: Any) -> Any:
    # While torch.compile traces, the model never reads the mask.
    is_padded = None if torch.compiler.is_compiling() else getattr(_running, "is_padded", None)
    if is_padded:
        kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    elif is_padded is not None:
        kwargs |= {"attention_mask": None}
    return make(**kwargs)


VARIANTS = {name: f"lntune_{name}" for name in ("eager", "sdpa")}
for _name, _variant in VARIANTS.items():
    AttentionInterface.register(_variant, partial(_attend, _name))
    AttentionMaskInterface.register(_variant, mask_of(_name))
