"""How much each token of a text contributed to an output, by integrated gradients.

Sundararajan, Taly, Yan (2017), "Axiomatic Attribution for Deep Networks", section 3. The path
goes through the outputs of the backbone's table of token embeddings, from a baseline to the
text; all else, such as positions, stays as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.checking import n_embeddings
from sklearn_lntune.backbone.placement import STEP_TOKENS, check_gradients_after_fork
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.inputs.base import Table
from sklearn_lntune.inputs.batches import ordered_batches
from sklearn_lntune.inputs.windows import WindowTable
from sklearn_lntune.network import Network, in_memory

BASELINES = ("auto", "mask", "mean")
#: A row is computed with this many times as many steps at most.
MOST_STEPS = 16
_ROWS = 4096  # of the table of embeddings, read at a time


@dataclass(frozen=True)
class TokenAttributions:
    """Attributions of the tokens of many rows.

    Attributes
    ----------
    values : list of ndarray of shape (n_tokens,)
        One array per row. Tokens that are the same in the baseline have zero.
    at_baseline : ndarray of shape (n_rows,)
        The explained output of each row at the baseline.
    """

    values: list[np.ndarray]
    at_baseline: np.ndarray


def attribute(
    network: Network,
    table: Table,
    places: np.ndarray,
    outputs: np.ndarray,
    replaced: Sequence[np.ndarray],
    baseline: torch.Tensor,
    n_steps: int,
    tolerance: float,
) -> TokenAttributions:
    """Integrate the gradients of one output per row over the way from the baseline to the text.

    Parameters
    ----------
    network : Network
        In its own module tree: hooks are put into it.
    table : Table
        The rows.
    places : ndarray of int of shape (n_rows, n_axes)
        The output to explain of each row: its column, or its word and its column.
    outputs : ndarray of shape (n_rows,)
        These outputs.
    replaced : sequence of ndarray of bool of shape (n_tokens,)
        For each row, the tokens that the baseline replaces.
    baseline : torch.Tensor of shape (embedding_size,)
        What replaces their embeddings.
    n_steps : int
        Points at which gradients are computed. Rows that miss their sum by more than the
        tolerance are computed again with twice as many, `MOST_STEPS` times as many at most.
    tolerance : float
        As a share of the sum of the absolute attributions.
    """
    check_gradients_after_fork()
    values: list[np.ndarray] = [np.zeros(0)] * len(table)
    at_baseline, gaps = np.zeros(len(table)), np.full(len(table), np.inf)
    is_rounded = any(torch.finfo(weight.dtype).bits < 32 for weight in network.parameters())
    rows, most = np.arange(len(table)), MOST_STEPS * n_steps
    while len(rows) and n_steps <= most:
        found = in_memory(
            partial(
                _attribute,
                network,
                table.take(rows),
                places[rows],
                [replaced[row] for row in rows.tolist()],
                baseline,
                n_steps,
            ),
            STEP_TOKENS[network.device.type],
            table,
        )
        before = gaps[rows]
        at_baseline[rows] = found.at_baseline
        for row, own in zip(rows.tolist(), found.values, strict=True):
            values[row] = own
            missing = abs(outputs[row] - at_baseline[row] - own.sum())
            # The floor is the rounding of outputs in float32.
            gaps[row] = missing / (np.abs(own).sum() + 1e-4 * max(abs(outputs[row]), 1.0))
        again = gaps[rows] > tolerance
        if is_rounded:  # more points do not help against that
            again &= gaps[rows] < 0.9 * before
        rows = rows[again]
        n_steps *= 2
    if n_far := int((gaps > tolerance).sum()):
        warnings.warn(
            f"the attributions of {n_far} of {len(gaps)} rows miss their sum by more than "
            f"{tolerance:.2g} of their size ({gaps.max():.2g} at most): raise n_steps, or choose "
            "another baseline.",
            UserWarning,
            stacklevel=2,
        )
    return TokenAttributions(values, at_baseline)


def _attribute(
    network: Network,
    table: Table,
    places: np.ndarray,
    replaced: Sequence[np.ndarray],
    baseline: torch.Tensor,
    n_steps: int,
    n_tokens: int,
) -> TokenAttributions:
    positions, weights = _quadrature(n_steps)
    values = [np.zeros(len(mask)) for mask in replaced]
    at_baseline = np.zeros(len(values))
    # Each row at each position is a row of a batch: so memory is bounded for any number of
    # steps, and short texts are still computed together.
    rows = np.repeat(np.arange(len(table)), len(positions))
    steps = np.tile(np.arange(len(positions)), len(table))
    with torch.enable_grad(), _watched(network) as path:
        for batch in ordered_batches(_padded_lengths(table)[rows], n_tokens):
            own, at = rows[batch], steps[batch]
            inputs = network.batch(table, own)
            masks = [replaced[row] for row in own]
            n_each = np.array([len(mask) for mask in masks])
            counts, lengths = np.ones(len(own), np.int64), n_each
            if inputs.windows is not None:  # the texts of pairs, each a row of the backbone
                counts, lengths = inputs.windows.counts, inputs.windows.lengths
            outputs, found = path.gradients(
                network,
                inputs,
                places[own],
                _padded(_split(np.concatenate(masks), lengths)),
                np.repeat(positions[at], counts),
                baseline,
            )
            flat = np.concatenate([part[:n] for part, n in zip(found, lengths, strict=True)])
            for row, step, output, part in zip(own, at, outputs, _split(flat, n_each), strict=True):
                if step == 0:
                    at_baseline[row] = output
                values[row] += weights[step] * part
    return TokenAttributions(values, at_baseline)


def _padded_lengths(table: Table) -> np.ndarray:
    """What each row takes of a batch; all windows of a row are as long as its longest."""
    if not isinstance(table, WindowTable):
        return table.lengths
    starts = np.cumsum(table.counts) - table.counts
    return table.counts * np.maximum.reduceat(table.window_lengths, starts)


def _split(flat: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(flat, np.cumsum(lengths)[:-1])


def _quadrature(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions on the way and their weights: the baseline, then those of Gauss and Legendre.

    Outputs change smoothly along the way, so these need fewer points than equal distances.
    """
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return np.append(0.0, (points + 1) / 2), np.append(0.0, weights / 2)


def _padded(masks: Sequence[np.ndarray]) -> torch.Tensor:
    whole = torch.zeros(len(masks), max(map(len, masks)), dtype=torch.bool)
    for row, mask in enumerate(masks):
        whole[row, : len(mask)] = torch.from_numpy(mask)
    return whole


class _Path:
    """A hook that moves what the table of embeddings returns towards a baseline."""

    def __init__(self) -> None:
        self._replaced: torch.Tensor | None = None
        self._point: torch.Tensor | None = None

    def gradients(
        self,
        network: Network,
        batch: Any,
        places: np.ndarray,
        replaced: torch.Tensor,
        positions: np.ndarray,
        baseline: torch.Tensor,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of a batch, and for each token gradient times distance from the baseline."""
        device, kind = network.device, network.delta_type
        self._replaced = replaced.to(device)
        self._positions = torch.from_numpy(positions).to(device, kind)[:, None, None]
        self._baseline = baseline
        self._point = None
        outputs = network(batch)[(torch.arange(len(batch)), *torch.from_numpy(places.T))]
        if self._point is None or not outputs.requires_grad:
            raise ValueError(
                f"{type(network.body).__name__} does not compute with the embeddings of its "
                "tokens in a way that gradients can follow, so its outputs cannot be explained."
            )
        (gradient,) = torch.autograd.grad(outputs.sum(), self._point)
        found = (gradient.to(kind) * self._distance).sum(-1)
        return outputs.detach().cpu().numpy(), found.cpu().numpy()

    def __call__(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if self._replaced is None:
            return output
        here = output.detach().to(self._baseline.dtype)
        mask = torch.zeros(output.shape[:2], dtype=torch.bool, device=output.device)
        mask[:, : self._replaced.shape[1]] = self._replaced
        self._distance = (here - self._baseline) * mask[..., None]
        moved = here - (1 - self._positions) * self._distance
        self._point = moved.to(output.dtype).requires_grad_()
        return self._point


@contextmanager
def _watched(network: Network) -> Iterator[_Path]:
    path = _Path()
    hook = embeddings_of(network).register_forward_hook(path)
    try:
        yield path
    finally:
        hook.remove()


def embeddings_of(network: Network) -> nn.Module:
    """The table of token embeddings in ``network``."""
    body: Any = network.body
    table: nn.Module = body.get_input_embeddings()
    return table


def check_explainable(backbone: Backbone) -> None:
    """Raise a ValueError if ``backbone`` has no table of token embeddings."""
    if n_embeddings(backbone.skeleton) is None:
        raise ValueError(
            f"{type(backbone.skeleton).__name__} has no table of token embeddings, which "
            "attributions are computed for; this backbone cannot be explained."
        )


def baseline_vector(network: Network, backbone: Backbone, baseline: str) -> torch.Tensor:
    """The embedding that stands for an absent word.

    Parameters
    ----------
    network : Network
    backbone : Backbone
    baseline : {"auto", "mask", "mean"}
        As in `inspection.explain`.
    """
    table, n_rows = embeddings_of(network), n_embeddings(backbone.skeleton) or 0
    mask = backbone.tokenizer.mask_token_id
    if mask is not None and mask >= n_rows:
        mask = None
    if baseline == "mask" and mask is None:
        raise ValueError(
            "baseline='mask', but the tokenizer of this backbone has no mask token; choose 'mean'."
        )
    by_mean = baseline == "mean" or mask is None
    rows = range(n_rows) if by_mean else range(mask, mask + 1)
    total: Any = 0.0
    with torch.no_grad():
        for start in range(rows.start, rows.stop, _ROWS):
            ids = torch.arange(start, min(start + _ROWS, rows.stop), device=network.device)
            # Called, not read: some tables scale their rows.
            total = total + table(ids).to(network.delta_type).sum(0)
    mean: torch.Tensor = total / len(rows)
    return mean
