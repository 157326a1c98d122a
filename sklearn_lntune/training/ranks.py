"""Several processes that fit one delta together, launched by Hugging Face Accelerate.

Each process has all rows and draws the same batches. Of every batch it computes its share, and
every sum over rows is then summed over the processes. So a step is the same as that of one
process with the whole batch.

A process that waits for one that never comes would wait for ever. So before they exchange
anything, the processes tell each other whether one of them has failed, and where they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import joblib
import numpy as np
import torch

from sklearn_lntune.exceptions import OtherProcessError, without_locals
from sklearn_lntune.network import Batch

Value = TypeVar("Value")


class Ranks:
    """The processes of a fit; in this class, only the current one.

    Attributes
    ----------
    rank, size : int
        Number of this process, and number of processes.
    device : torch.device or None
        The device for ``device="auto"``; None leaves it to the placement.
    """

    rank = 0
    size = 1
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process makes decisions, shows progress and writes files."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """The share of ``batch`` that this process computes."""
        return batch

    def spread(self, values: torch.Tensor, n_rows: int) -> torch.Tensor:
        """The values of this process's rows in their places among ``n_rows``, else zero."""
        return values

    def sum_(self, tensors: Sequence[torch.Tensor], what: str) -> int:
        """Add ``tensors`` up over the processes, in place; return the bytes of the buffer.

        Of ``what`` they are, for the others to know that they sum the same.
        """
        return 0

    def broadcast(self, value: Value, what: str) -> Value:
        """The ``value`` of the main process; ``what`` it is."""
        return value

    def agree(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError in every process if one of ``values`` differs between them."""

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """If this context fails in one process, let it fail in all of them."""
        yield

    @contextlib.contextmanager
    def holding_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C in one process stop all of them at the same batch."""
        yield


#: Where the processes meet after a fit.
_END = "the end of the fit"
#: The processes of a fit that is not distributed.
ALONE = Ranks()


class Launched(Ranks):
    """The processes that ``accelerate launch`` started.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.rank = accelerator.process_index
        self.size = accelerator.num_processes
        self.device = accelerator.device
        self._interrupted = self._leaving = False

    def part(self, batch: Batch) -> Batch:
        """A share of ``batch``, as large as those of the other processes, or one row less.

        If there are fewer rows than processes, some compute the first with weight zero.
        """
        rows = self._share(len(batch))
        idle = rows.start == rows.stop
        taken = slice(0, 1) if idle else rows
        share = torch.zeros(len(batch), dtype=torch.bool)
        share[taken] = True
        part = dataclasses.replace(batch.take(taken), share=share)
        if idle and part.weights is not None:
            part = dataclasses.replace(part, weights=torch.zeros_like(part.weights))
        return part

    def spread(self, values: torch.Tensor, n_rows: int) -> torch.Tensor:
        """The values of this process's rows in their places among ``n_rows``, else zero."""
        rows = self._share(n_rows)
        whole = values.new_zeros(n_rows, *values.shape[1:])
        whole[rows] = values[: rows.stop - rows.start]
        return whole

    def sum_(self, tensors: Sequence[torch.Tensor], what: str) -> int:
        """One all-reduce of one buffer."""
        flat = torch.cat([each.detach().reshape(-1) for each in tensors])
        self._meet(f"{what} ({flat.numel()} numbers)")
        total = self._reduced(flat.to(self.device)).to(flat.device)
        parts = torch.split(total, [each.numel() for each in tensors])
        with torch.no_grad():
            for each, part in zip(tensors, parts, strict=True):
                each.copy_(part.view_as(each))
        return flat.nbytes

    def broadcast(self, value: Value, what: str) -> Value:
        """The ``value`` of the main process."""
        from accelerate.utils import broadcast_object_list

        self._meet(what)
        found: list[Value] = broadcast_object_list([value])
        return found[0]

    def agree(self, values: Mapping[str, Any]) -> None:
        """Compare digests, without sending the values."""
        mine = {name: joblib.hash(value) for name, value in values.items()}
        self._meet("the comparison of data and parameters")
        found = _gathered(mine)
        for rank, digests in enumerate(found):
            odd = [name for name in values if digests[name] != found[0][name]]
            if odd:
                raise ValueError(
                    "distributed=True needs the same call in every process, but processes 0 and "
                    f"{rank} differ in {', '.join(odd)}. Load the data in the same order "
                    "everywhere, and give whatever splits or samples it a fixed seed."
                )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """If this context fails in one process, raise an `OtherProcessError` in the others."""
        try:
            yield
        except OtherProcessError:
            raise  # all of them know
        except (Exception, KeyboardInterrupt) as error:
            if not self._leaving:
                self._meet(_END, error)
            raise
        if not self._leaving:
            self._meet(_END)

    @contextlib.contextmanager
    def holding_interrupts(self) -> Iterator[None]:
        """Hold the first Ctrl-C until all processes meet; raise a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python lets only the main thread handle signals
            return
        before = signal.signal(signal.SIGINT, self._note_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note_interrupt(self, *signal_and_frame: Any) -> None:
        if self._interrupted:
            self._leaving = True  # without waiting for the others, which may hang
            raise KeyboardInterrupt
        self._interrupted = True

    def _meet(self, where: str, error: BaseException | None = None) -> None:
        """Wait for the other processes; raise in each of them if they cannot go on together.

        Parameters
        ----------
        where : str
            What this process has come to; the others must have come to the same.
        error : Exception, optional
            The one that this process has failed with. Nothing is raised then.

        Raises
        ------
        OtherProcessError
            If another process has failed, has ended, or has come to something else.
        KeyboardInterrupt
            If one of them was interrupted.
        """
        place = zlib.crc32(where.encode()) >> 8  # so that squares of it can be added up
        mine = [error is not None, self._interrupted, place, place**2]
        sums = self._reduced(torch.tensor(mine, dtype=torch.int64, device=self.device)).tolist()
        n_failed, n_interrupted, total, squares = sums
        if n_failed:
            told = _gathered(None if error is None else f"{type(error).__name__}: {error}")
            if error is None:
                raise OtherProcessError(_failure(told))
        elif n_interrupted:
            self._interrupted = False
            if error is None:
                raise KeyboardInterrupt
        elif self.size * squares != total**2:  # equal only if all are at the same place
            raise OtherProcessError(
                f"the processes of distributed=True have parted: process {self.rank} is at "
                f"{where}, and another one is not. A callback that ends a fit within an epoch has "
                "to do so in all of them."
            )

    def _reduced(self, values: torch.Tensor) -> torch.Tensor:
        try:
            total: torch.Tensor = self._accelerator.reduce(values, "sum")
        except RuntimeError as error:
            raise OtherProcessError(
                "another process of distributed=True has ended, or cannot be reached: "
                f"{error}. Its output says why."
            ) from without_locals(error)
        return total

    def _share(self, n_rows: int) -> slice:
        first, stop = (-(-n_rows * rank // self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, stop)


def _gathered(value: Value) -> list[Value]:
    """The ``value`` of each process."""
    from accelerate.utils import gather_object

    found: list[Value] = gather_object([value])
    return found


def _failure(told: Sequence[str | None]) -> str:
    """The message about the processes that ``told`` of an error.

    Examples
    --------
    >>> _failure([None, "OSError: no file."])
    'process 1 of distributed=True failed, so the fit ends in all of them: OSError: no file.'
    """
    rank, error = next((rank, error) for rank, error in enumerate(told) if error is not None)
    return f"process {rank} of distributed=True failed, so the fit ends in all of them: {error}"


def find_ranks(distributed: Any) -> Ranks:
    """The processes that fit together.

    Parameters
    ----------
    distributed : bool
        The estimator's parameter.

    Raises
    ------
    ValueError
        If it is no bool, or the processes that were launched cannot work together.
    ImportError
        If accelerate is not installed.

    Examples
    --------
    >>> find_ranks(False).size
    1
    """
    if not isinstance(distributed, bool | np.bool_):
        raise ValueError(f"distributed must be True or False; got {distributed!r}.")
    if not distributed:
        return ALONE
    if importlib.util.find_spec("accelerate") is None:
        raise ImportError(
            "distributed=True needs accelerate: pip install 'sklearn-lntune[distributed]'."
        )
    n_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if n_launched > 1 and joblib.parallel.get_active_backend()[0].nesting_level:
        raise ValueError(
            "distributed=True cannot fit inside a parallel joblib task: each fit already takes all "
            f"{n_launched} processes. Set n_jobs=None in the search around it."
        )
    from accelerate import Accelerator

    # Without a GPU, Accelerate connects the processes only with cpu=True.
    accelerator = Accelerator(cpu=n_launched > 1 and not torch.cuda.is_available())
    if accelerator.num_processes > 1:
        return Launched(accelerator)
    if n_launched > 1:
        raise ValueError(
            f"distributed=True: {n_launched} processes were launched, but Accelerate sees one. It "
            "was set up before, without cpu=True, on a machine without GPUs: leave that to the fit."
        )
    return ALONE
