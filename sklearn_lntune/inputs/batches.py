"""Batches of rows of like length: shuffled for training, ordered for prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

#: Rows are sorted by length only inside a shuffled window of this many batches, so
#: that padding all but goes away and batches still differ from epoch to epoch.
WINDOW = 50


def shuffled_batches(
    lengths: np.ndarray, batch_size: int, generator: torch.Generator
) -> list[np.ndarray]:
    """Every row once, in batches of like length and random order.

    Parameters
    ----------
    lengths : ndarray of int of shape (n_rows,)
        Tokens a row.
    batch_size : int
        Rows a batch; one of them, at random, takes the smaller rest.
    generator : torch.Generator
        Where the order comes from.

    Returns
    -------
    list of ndarray of int64
        Row numbers, a batch each. The first takes the most memory: too large a one shows at
        once, and the others fit in the room that it leaves.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> batches = shuffled_batches(np.array([3, 9, 3, 9]), 2, generator)
    >>> sorted(row for batch in batches for row in batch.tolist())
    [0, 1, 2, 3]
    """
    order = torch.randperm(len(lengths), generator=generator).numpy()
    batches: list[np.ndarray] = []
    # At least two windows: one alone would hold the same batches in every epoch.
    span = batch_size * min(WINDOW, max(1, len(order) // (2 * batch_size)))
    for start in range(0, len(order), span):
        window = order[start : start + span]
        window = window[np.argsort(lengths[window], kind="stable")]
        sizes = [batch_size] * (len(window) // batch_size)
        if rest := len(window) % batch_size:
            at = int(torch.randint(len(sizes) + 1, (1,), generator=generator))
            sizes.insert(at, rest)
        batches += np.split(window, np.cumsum(sizes)[:-1])
    mixed = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    padded = [len(batch) * int(lengths[batch[-1]]) for batch in mixed]
    mixed.insert(0, mixed.pop(int(np.argmax(padded))))
    return mixed


def ordered_batches(lengths: np.ndarray, n_tokens: int) -> Iterator[np.ndarray]:
    """Every row once, longest first, each batch at most ``n_tokens`` with its padding.

    The longest first, so that a batch too large for the memory shows at once.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, n_tokens // max(int(lengths[order[start]]), 1))
        yield order[start : start + size]
        start += size


def to_device(
    arrays: Mapping[str, np.ndarray], device: torch.device, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """What `Table.collate` gives, on ``device``: indices as int64, other numbers as ``dtype``."""
    return {
        name: moved(torch.from_numpy(array), device).to(
            dtype if array.dtype.kind == "f" else torch.int64
        )
        for name, array in arrays.items()
    }


def placed(rows: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """One tensor of ``rows``, their tokens where ``mask`` has them, and zeros elsewhere."""
    whole = rows[0].new_zeros(*mask.shape, *rows[0].shape[1:])
    whole[mask] = torch.cat(list(rows))
    return whole


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``tensor`` on ``device``; from pinned memory a GPU fetches it while Python goes on.

    Apple's GPUs have no float64, so that they get float32.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    if device.type == "mps" and tensor.dtype == torch.float64:
        tensor = tensor.float()
    # No other device waits with freeing memory until it has been copied: on Apple's, a copy that
    # Python does not wait for may read other values (pytorch/pytorch, issue 189690).
    return tensor.to(device)
