"""What a bank takes, measured on the first of its fits."""

from __future__ import annotations

import psutil
import torch

from sklearn_lntune.training.fitting import Job, network_of

#: Copies of what a fit learns: stacked and alone, gradient, two moments, last good and best.
_COPIES = 7
_TRIALS = 4


def bytes_a_fit(job: Job) -> int:
    """Memory that one more fit like ``job`` takes in a bank."""
    kept = [network_of(job)]  # the first one loads the backbone
    before = psutil.Process().memory_info().rss
    kept += [network_of(job) for _ in range(_TRIALS)]
    each = (psutil.Process().memory_info().rss - before) // _TRIALS
    learnt = sum(weight.nbytes for weight in kept[0].learnt.values())
    return (_COPIES - 1) * learnt + max(each, learnt) + bytes_of_rows(job)


def bytes_of_rows(job: Job) -> int:
    """Memory that the rows of ``job`` take."""
    tables = [(rows, rows.table) for rows in (job.train, job.valid) if rows is not None]
    return sum(
        array.nbytes
        for rows, table in tables
        for array in (table.tokens, table.starts, table.lengths, rows.codes, rows.weights)
    )


def half_of_free(device: torch.device | None = None) -> int:
    """Half of the memory that is free now."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info(device)[0] // 2
    return psutil.virtual_memory().available // 2
