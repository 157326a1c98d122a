"""Cache the activations that enter the lowest trained block, for all epochs and fits.

If only upper blocks are trained, the input of the lowest of them is always the same for a
given text. `ActivationCache` stores it. `CacheInjector` makes the blocks below it return
their input unchanged, and feeds the stored activations to the block. Masks and position
embeddings are still computed by the forward of the model itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
#: Bytes of activations in total. To stay below, those that were not used for longest are
#: dropped; a fit that needs more computes the lower blocks in every step.
MAX_BYTES = 16 << 30


class NoRoomError(Exception):
    """The activations of a fit take more than the cache may hold; the message says how much."""


@dataclass
class _Part:
    """Activations that were computed together, and are dropped together."""

    keys: list[bytes]
    nbytes: int
    file: Path | None


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
        #: The activations of each text, and the number of the part that they are in.
        self._known: dict[bytes, tuple[torch.Tensor, int]] = {}
        #: By number, the least recently used first.
        self._parts: OrderedDict[int, _Part] = OrderedDict()
        self._numbers = itertools.count()
        self._folder: str | None = None
        self._lock = ForkSafeLock()

    @property
    def nbytes(self) -> int:
        """Bytes that it holds, in memory and in files."""
        return sum(part.nbytes for part in self._parts.values())

    def states(self, table: Table) -> list[torch.Tensor]:
        """One tensor (n_tokens, size) per row.

        Raises
        ------
        NoRoomError
            If they take more than `MAX_BYTES`.
        """
        keys = [table.key(row) for row in range(len(table))]
        with self._lock:
            rows = {key: row for row, key in enumerate(keys) if key not in self._known}
            used = {self._known[key][1] for key in set(keys) - rows.keys()}
            for number in used:
                self._parts.move_to_end(number)
            if rows:
                missing = np.fromiter(rows.values(), np.int64, len(rows))
                self._compute(table, missing, list(rows), used)
            return [self._known[key][0] for key in keys]

    def _compute(self, table: Table, rows: np.ndarray, keys: list[bytes], used: set[int]) -> None:
        """Compute and store ``rows``; the parts in ``used`` stay."""
        store, start, found = None, 0, {}
        for batch in ordered_batches(table.lengths[rows], CACHE_TOKENS):
            entering = self.entering(table, rows[batch])
            if store is None:
                store, part = self._room(int(table.n_tokens(rows).sum()), entering, used)
            # Token after token: a row may consist of several windows. One copy for the batch, as
            # each copy waits for the device.
            sizes = table.n_tokens(rows[batch])
            mask = torch.from_numpy(table.mask(rows[batch], self._padded_length))
            store[start : start + int(sizes.sum())] = entering.cpu()[mask]
            for at, size in zip(batch, sizes.tolist(), strict=True):
                end = start + size
                found[keys[at]] = store[start:end]
                start = end
        number = next(self._numbers)
        self._parts[number] = dataclasses.replace(part, keys=keys)
        self._known |= {key: (states, number) for key, states in found.items()}

    def _drop(self, number: int) -> None:
        """Forget a part; fits that are running keep what they have got."""
        part = self._parts.pop(number)
        for key in part.keys:
            del self._known[key]
        if part.file is not None:
            with contextlib.suppress(OSError):  # some systems keep files that are mapped
                part.file.unlink()

    def entering(self, table: Table, rows: np.ndarray) -> torch.Tensor:
        """The input of the block for a batch of ``rows``; the forward pass stops there."""
        weight = next(self._shell.parameters())
        arrays = table.collate(rows, self._padded_length)
        inputs = to_device(arrays, weight.device, weight.dtype)
        n_rows, n_tokens = next(iter(inputs.values())).shape[:2]
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

    def _room(
        self, n_tokens: int, like: torch.Tensor, used: set[int]
    ) -> tuple[torch.Tensor, _Part]:
        """Space for ``n_tokens`` states, in memory or on disk; other parts may have to go."""
        shape = (n_tokens, like.shape[-1])
        size = n_tokens * like.shape[-1]
        nbytes = size * like.element_size()
        needed = nbytes + sum(self._parts[number].nbytes for number in used)
        if needed > MAX_BYTES:
            raise NoRoomError(
                f"the activations take {needed:,} bytes, and {MAX_BYTES:,} may be held"
            )
        for number in [number for number in self._parts if number not in used]:
            if self.nbytes + nbytes <= MAX_BYTES:
                break
            self._drop(number)
        in_memory = sum(part.nbytes for part in self._parts.values() if part.file is None)
        if in_memory + nbytes <= MEMORY_BYTES:
            return torch.empty(shape, dtype=like.dtype), _Part([], nbytes, None)
        # Twice the size has to be free: other programs write to the same file system.
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < 2 * nbytes:
            raise NoRoomError(f"the activations take {nbytes:,} bytes, and the disk has {free:,}")
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="sklearn_lntune-")
            remove_with(self, self._folder)
        file = Path(self._folder, str(next(self._numbers)))
        mapped = torch.from_file(str(file), shared=True, size=size, dtype=like.dtype)
        return mapped.view(shape), _Part([], nbytes, file)


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
