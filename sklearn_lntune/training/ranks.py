"""Several processes that fit one delta together, launched by Hugging Face Accelerate.

Each process has all rows and draws the same batches. Of every batch it computes its share, and
every sum over rows is then summed over the processes. So a step is the same as that of one
process with the whole batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import joblib
import numpy as np
import torch

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

    def sum_(self, tensors: Sequence[torch.Tensor]) -> int:
        """Add ``tensors`` up over the processes, in place; return the bytes of the buffer."""
        return 0

    def broadcast(self, value: Value) -> Value:
        """The ``value`` of the main process."""
        return value

    def agree(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError in every process if one of ``values`` differs between them."""

    @contextlib.contextmanager
    def holding_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C in one process stop all of them at the same batch."""
        yield


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
        self._interrupted = False

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

    def sum_(self, tensors: Sequence[torch.Tensor]) -> int:
        """One all-reduce of one buffer, which also tells whether a process was interrupted."""
        stop = tensors[0].new_full((1,), float(self._interrupted))
        flat = torch.cat([each.detach().reshape(-1) for each in (*tensors, stop)])
        total = self._accelerator.reduce(flat.to(self.device), "sum").to(flat.device)
        if total[-1]:
            raise KeyboardInterrupt
        parts = total[:-1].split([each.numel() for each in tensors])
        with torch.no_grad():
            for each, part in zip(tensors, parts, strict=True):
                each.copy_(part.view_as(each))
        return flat.nbytes

    def broadcast(self, value: Value) -> Value:
        """The ``value`` of the main process."""
        from accelerate.utils import broadcast_object_list

        found: list[Value] = broadcast_object_list([value])
        return found[0]

    def agree(self, values: Mapping[str, Any]) -> None:
        """Compare digests, without sending the values."""
        from accelerate.utils import gather_object

        found = gather_object([{name: joblib.hash(value) for name, value in values.items()}])
        for rank, digests in enumerate(found):
            odd = [name for name in values if digests[name] != found[0][name]]
            if odd:
                raise ValueError(
                    "distributed=True needs the same call in every process, but processes 0 and "
                    f"{rank} differ in {', '.join(odd)}. Load the data in the same order "
                    "everywhere, and give whatever splits or samples it a fixed seed."
                )

    @contextlib.contextmanager
    def holding_interrupts(self) -> Iterator[None]:
        """Hold the first Ctrl-C for `sum_`, which tells the others; raise a second one at once."""
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
            raise KeyboardInterrupt
        self._interrupted = True

    def _share(self, n_rows: int) -> slice:
        first, stop = (-(-n_rows * rank // self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, stop)


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
