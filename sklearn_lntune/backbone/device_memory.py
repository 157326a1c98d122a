"""The memory of devices: running out of it, and giving back what PyTorch holds for later."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the memory of a device does not suffice.

    Examples
    --------
    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    True
    >>> is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    True
    >>> is_out_of_memory(RuntimeError("shapes differ"))
    False
    """
    # For Apple's GPUs, PyTorch has no exception of its own.
    told = isinstance(error, RuntimeError) and str(error).startswith("MPS backend out of memory")
    return told or isinstance(error, torch.OutOfMemoryError)


def give_back_memory() -> None:
    """Let GPUs free the memory that PyTorch holds without using it."""
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
