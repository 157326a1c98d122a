"""Cache the activations that enter the lowest trained block, for all epochs and fits.

If only upper blocks are trained, the input of the lowest of them is always the same for a
given text. `ActivationCache` stores it. `CacheInjector` makes the blocks below it return
their input unchanged, and feeds the stored activations to the block. Masks and position
embeddings are still computed by the forward of the model itself.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.placement import CACHE_TOKENS
from sklearn_lntune.forking import ForkSafeLock, remove_with
from sklearn_lntune.inputs.base import Table
from sklearn_lntune.inputs.batches import ordered_batches, to_device

#: Bytes of activations kept in memory; the rest is in a temporary file.
MEMORY_BYTES = 1 << 30
#: Bytes of activations in total; with more, the lower blocks are computed in every step.
MAX_BYTES = 16 << 30


class ActivationCache:
    """The activations that enter block ``block`` of ``shell``, by text.

    Parameters
    ----------
    shell : torch.nn.Module
        Frozen, with nothing attached.
    blocks : str
        Path of the list of blocks.
    block : int
        Number of the block.
    padded_length : callable
        As `Table.collate` takes it; that of the networks which the activations enter,
        since rounding depends on the padding.
    """

    def __init__(
        self, shell: nn.Module, blocks: str, block: int, padded_length: Callable[[int], int]
    ) -> None:
        self._shell = shell
        self._block = shell.get_submodule(f"{blocks}.{block}")
        self._padded_length = padded_length
        self._known: dict[bytes, torch.Tensor] = {}
        self._held = 0
        self._folder: str | None = None
        self._lock = ForkSafeLock()

    def states(self, table: Table) -> list[torch.Tensor] | None:
        """One tensor (n_tokens, size) per row, or None if there is no room for them."""
        keys = [table.key(row) for row in range(len(table))]
        with self._lock:
            rows = {key: row for row, key in enumerate(keys) if key not in self._known}
            missing = np.fromiter(rows.values(), np.int64, len(rows))
            if len(missing) and not self._compute(table, missing, list(rows)):
                return None
            return [self._known[key] for key in keys]

    def _compute(self, table: Table, rows: np.ndarray, keys: list[bytes]) -> bool:
        """Compute and store ``rows``; return whether there was room."""
        lengths = table.lengths[rows]
        store, start = None, 0
        for batch in ordered_batches(lengths, CACHE_TOKENS):
            arrays = table.collate(rows[batch], self._padded_length)
            entering = self._entering(arrays)
            if store is None:
                store = self._room(int(lengths.sum()), entering)
                if store is None:
                    return False
            # Token after token: a row may consist of several windows.
            mask = torch.from_numpy(arrays["attention_mask"]).to(entering.device)
            store[start : start + int(lengths[batch].sum())] = entering[mask]
            for at in batch:
                end = start + int(lengths[at])
                self._known[keys[at]] = store[start:end]
                start = end
        return True

    def entering(self, table: Table, rows: np.ndarray) -> torch.Tensor:
        """The input of the block for a batch of ``rows``; the forward pass stops there."""
        return self._entering(table.collate(rows, self._padded_length))

    def _entering(self, arrays: dict[str, np.ndarray]) -> torch.Tensor:
        inputs = to_device(arrays, next(self._shell.parameters()).device)
        n_rows, n_tokens = arrays["attention_mask"].shape
        most = max(1, CACHE_TOKENS // n_tokens)  # fewer than a long text has windows
        parts = [
            self._reached({name: value[start : start + most] for name, value in inputs.items()})
            for start in range(0, n_rows, most)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _reached(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        hook = self._block.register_forward_pre_hook(_stop, with_kwargs=True)
        try:
            with torch.no_grad():
                self._shell(**inputs)
        except _ReachedError as reached:
            return reached.states
        finally:
            hook.remove()
        raise RuntimeError("the forward pass never came to the block.")

    def _room(self, n_tokens: int, like: torch.Tensor) -> torch.Tensor | None:
        """Space for ``n_tokens`` states in memory or on disk; None if there is none."""
        shape = (n_tokens, like.shape[-1])
        size = n_tokens * like.shape[-1]
        held = self._held + size * like.element_size()
        if held > MAX_BYTES:
            return None
        if held > MEMORY_BYTES and shutil.disk_usage(tempfile.gettempdir()).free < 2 * held:
            return None
        # Twice the size has to be free: other programs write to the same file system.
        self._held = held
        if held <= MEMORY_BYTES:
            return torch.empty(shape, dtype=like.dtype)
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="sklearn_lntune-")
            remove_with(self, self._folder)
        file = str(Path(self._folder, str(held)))
        return torch.from_file(file, shared=True, size=size, dtype=like.dtype).view(shape)


class CacheInjector:
    """Make a shell skip the blocks below ``block``, and feed stored activations to it.

    Parameters
    ----------
    shell : torch.nn.Module
    blocks : str
        Path of the list of blocks.
    block : int
        The lowest block that is trained.
    """

    def __init__(self, shell: nn.Module, blocks: str, block: int) -> None:
        self._seen = threading.local()  # threads may share a shell
        self._below = [shell.get_submodule(f"{blocks}.{below}") for below in range(block)]
        self._block = shell.get_submodule(f"{blocks}.{block}")
        self._hooks: list[Any] = []
        self._n_given: int | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record in which form blocks return their states, in a forward pass in this context."""

        def note(module: nn.Module, args: Any, output: Any) -> None:
            self._n_given = len(output) if isinstance(output, tuple) else None

        hook = self._below[0].register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()

    def open(self) -> None:
        """Let the blocks below return their input from now on."""
        # The forward is replaced on the instance. A hook could not prevent the computation.
        self._hooks = [self._block.register_forward_pre_hook(self._enter, with_kwargs=True)]
        for module in self._below:
            module.forward = self._pass_on

    def put(self, states: torch.Tensor) -> None:
        """Set the input of the block in this thread's next forward pass."""
        self._seen.states = states

    def remove(self) -> None:
        """Let the shell compute all its blocks again."""
        for hook in self._hooks:
            hook.remove()
        for module in self._below:
            module.__dict__.pop("forward", None)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        states = self._seen.states
        if args:
            return (states, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": states}

    def _pass_on(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._n_given is None:
            return hidden_states
        return hidden_states, *(None for _ in range(self._n_given - 1))


class _ReachedError(Exception):
    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = states


def _stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise _ReachedError(args[0] if args else kwargs["hidden_states"])
