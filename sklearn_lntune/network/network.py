"""Shell, pooling and head in one module: a batch in, logits out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_lntune.backbone.activation_cache import ActivationCache, CacheInjector
from sklearn_lntune.backbone.attention import padding
from sklearn_lntune.backbone.compiled import CompiledBody
from sklearn_lntune.backbone.device_memory import is_out_of_memory
from sklearn_lntune.backbone.placement import (
    PREDICT_TOKENS_INT8,
    STEP_TOKENS,
    delta_type,
    float_type,
)
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.poolings import COMPARED, WITH_POOLER, head_width
from sklearn_lntune.inputs.base import Table
from sklearn_lntune.inputs.batches import moved, ordered_batches, placed, to_device
from sklearn_lntune.inputs.per_word import PerWord
from sklearn_lntune.inputs.windows import WindowTable
from sklearn_lntune.network.batch import Batch, Windows
from sklearn_lntune.network.deltas import check_names, check_shape
from sklearn_lntune.network.heads import RowHead, TokenHead
from sklearn_lntune.network.pooling import attend, compare, pool
from sklearn_lntune.tensors import tensor_of
from sklearn_lntune.tuning.base import AttachContext, TuningMethod
from sklearn_lntune.tuning.layers.grouped import expand_rows, fit_assignment
from sklearn_lntune.tuning.plan import attach, check_type, plan


class Network(nn.Module):
    """A backbone with tuning methods attached, pooling, and a linear head.

    Parameters
    ----------
    backbone : Backbone
    methods : tuple of TuningMethod
    pooling : {"cls", "mean", "max", "last", "pooler", "native"}
    n_outputs : int
        Logits per row.
    dtype : torch.dtype
        Of the frozen weights; int8 has products of integers in the blocks, and no gradients.
    device : torch.device
    attention : str
        The attention implementation.
    dropout : float
        On the pooled vector, while training.
    generator : torch.Generator
        On the CPU: for the initial values of the head, and dropout.
    n_fits : int
        Fits side by side.
    window_pooling : {"mean", "max", "attention", "compared"}, optional
        How the vectors of a row's windows become one, if rows consist of several; "compared" is
        for rows of two, the texts of a pair.
    per_token : bool
        Whether there are outputs for words rather than for rows.
    """

    def __init__(
        self,
        backbone: Backbone,
        methods: tuple[TuningMethod, ...],
        pooling: str,
        n_outputs: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        attention: str,
        generator: torch.Generator,
        dropout: float = 0.0,
        n_fits: int = 1,
        window_pooling: str | None = None,
        per_token: bool = False,
    ) -> None:
        super().__init__()
        check_type(methods, dtype)
        self.n_fits = n_fits
        self.window_pooling = window_pooling
        self.per_token = per_token
        private = any(method.private for method in methods)
        # Private weights are trained as float32 masters, and computed under autocast.
        held = delta_type(dtype) if private else dtype
        body = (backbone.private if private else backbone.shell)(held, device, attention)
        _switch_off_cache(body)
        reads_pooler = pooling in WITH_POOLER
        if not reads_pooler and getattr(body, "pooler", None) is not None:
            setattr(body, "pooler", None)  # noqa: B010 - mypy knows no optional modules
        self.autocast = dtype if held != dtype else None
        self._held_type = float_type(held)
        self._padded_length = backbone.padded_length(dtype, device)
        #: The most tokens of a prediction's batch, if it had no memory for more, or in int8.
        self._is_int8 = dtype == torch.int8
        self.tokens_at_once = PREDICT_TOKENS_INT8 if self._is_int8 else None
        self.pooling = pooling
        #: Tokens that belong to no patch of an image.
        self._n_added = 0 if backbone.grid is None else backbone.grid.n_added
        self.dropout = dropout
        self.generator = generator
        #: The type of learnt values, pooled vectors and logits.
        self.delta_type = delta_type(dtype)
        #: Parameters by name in a delta; those in `unstacked` have no leading axis of fits.
        self.learnt: dict[str, nn.Parameter] = {}
        self.unstacked: set[str] = set()
        #: The arrays that each method learns.
        self.planned = plan(methods, backbone.anatomy, with_pooler=reads_pooler)
        context = AttachContext(body, backbone.anatomy, n_fits, generator)
        for method, arrays in self.planned.items():
            attached = attach(method, context, arrays)
            self._learn(method.name, attached, stacked=not method.private)
        # In a tuple, since it is in the module tree already, as `body` or inside it.
        self._shell = (body, backbone.anatomy)
        self._injector: CacheInjector | None = None
        self._add_head(body, backbone, n_outputs, n_fits)
        self._compiled: CompiledBody | None = None

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def lowest_block(self) -> int:
        """Number of the lowest block that has to be computed in each step."""
        if any(method.private for method in self.planned):
            return 0
        arrays = [array for arrays in self.planned.values() for array in arrays]
        top = self._shell[1].n_blocks - 1  # if only a head is trained
        return min((array.block or 0 for array in arrays), default=top)

    def batch(
        self,
        table: Table,
        rows: np.ndarray,
        fits: np.ndarray | None = None,
        states: Sequence[torch.Tensor] | None = None,
        n_tokens: int | None = None,
    ) -> Batch:
        """The batch of ``rows``, on the device of this network.

        Parameters
        ----------
        table : Table
        rows : ndarray of int
            Row numbers.
        fits : ndarray of int of shape (len(table),), optional
            The fit that each row of the table belongs to.
        states : sequence of torch.Tensor of length len(table), optional
            Activations that enter the lowest trained block, after `enter_at`.
        n_tokens : int, optional
            Tokens that run through the backbone at once, where rows consist of windows.
        """
        arrays, device = table.collate(rows, self._padded_length), self.device
        entering = None
        if states is not None:
            at = torch.from_numpy(table.mask(rows, self._padded_length))
            entering = moved(placed([states[row] for row in rows], at), device)
        chosen = None if fits is None else moved(torch.from_numpy(fits[rows]), device)
        windows = words = None
        mask = arrays.get("attention_mask")
        if isinstance(table, WindowTable):
            own = table.take(rows)
            n_tokens = n_tokens or STEP_TOKENS[device.type]
            windows = Windows(own.counts, own.window_lengths, n_tokens)
        if isinstance(table, PerWord):
            words = moved(torch.from_numpy(table.positions(rows)), device).long()
        return Batch(
            to_device(arrays, device, self._held_type),
            fits=chosen,
            entering=entering,
            windows=windows,
            words=words,
            is_padded=mask is not None and not bool(mask.all()),
        )

    def enter_at(self, cache: ActivationCache, table: Table) -> bool:
        """Skip the blocks below the lowest trained one, if the model allows it.

        Batches then have to contain the activations that enter this block. Whether the model
        allows it is found out on the first rows of ``table``: some models (T5) compute
        something in their first block that later ones need.
        """
        body, anatomy = self._shell
        rows = np.arange(min(3, len(table)))
        self._injector = injector = CacheInjector(body, anatomy.blocks, self.lowest_block)
        self.eval()  # without dropout; each step of a fit sets the mode it needs
        batch = self.batch(table, rows, np.zeros(len(table), np.int64))
        with torch.no_grad():
            with injector.watching():
                expected = self.pool(batch)  # the slow way, to compare with
            injector.open()
            try:
                entering = cache.entering(table, rows)
                found = self.pool(dataclasses.replace(batch, entering=entering))
                if torch.allclose(found, expected, rtol=1e-5, atol=1e-6):
                    return True
            except (TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
                # Otherwise the blocks of this model do not simply return their states.
                if is_out_of_memory(error):
                    injector.remove()
                    self._injector = None
                    raise
        injector.remove()
        self._injector = None
        return False

    def try_stacked(self, table: Table) -> None:
        """Run a few rows, each for a different fit, to find out whether the model can be stacked.

        Raises
        ------
        NotStackableError
            If a layer reads something other than the rows of the batch.
        """
        rows = np.arange(3) % len(table)
        batch = self.batch(table, rows)
        fits = torch.arange(len(rows), device=self.device) % self.n_fits
        with self.without_gradients():
            self.eval()(dataclasses.replace(batch, fits=fits))

    def without_gradients(self) -> contextlib.AbstractContextManager[Any]:
        """The fastest context to compute in, if no gradients are needed.

        Not inference mode if the network is trained: some models (ESM in transformers 5.0) keep
        tensors from one forward pass to the next, and those of inference mode cannot be trained
        with.
        """
        trained = any(weight.requires_grad for weight in self.learnt.values())
        return torch.no_grad() if trained else torch.inference_mode()

    def compile_body(self) -> None:
        """Run the backbone through torch.compile; to be called after everything is attached.

        Nothing is compiled with cached activations or with several fits: the activations, or
        the assignment of rows to fits, come from outside the graph. Nor is anything in int8,
        whose layers write floats into the memory of integers.
        """
        if self._injector is None and self.n_fits == 1 and not self._is_int8:
            self._compiled = CompiledBody(self.body)

    def _add_head(self, body: nn.Module, backbone: Backbone, n_outputs: int, n_fits: int) -> None:
        """Set ``body``, ``head`` and ``embedding_size``; record the parameters of the head."""
        self.body = body
        self.embedding_size = head_width(backbone.hidden_size, self.window_pooling)
        kind = TokenHead if self.per_token else RowHead
        head = kind(self.embedding_size, n_outputs, n_fits, self.delta_type, self.generator).to(
            next(body.parameters()).device
        )
        self._learn("head", dict(head.named_parameters()), stacked=True)
        self.head: nn.Module = head
        if self.window_pooling == "attention":
            # Nothing is drawn, so that all else starts as without windows.
            start = torch.zeros(n_fits, self.embedding_size, dtype=self.delta_type)
            self.query = nn.Parameter(start.to(self.device))
            self._learn("head", {"query": self.query}, stacked=True)

    def _learn(self, method: str, weights: Mapping[str, nn.Parameter], *, stacked: bool) -> None:
        named = {f"{method}/{path}": weight for path, weight in weights.items()}
        self.learnt |= named
        if not stacked:
            self.unstacked |= set(named)

    def train(self, mode: bool = True) -> Network:
        """Switch dropout of pooled vectors; the backbone always runs in eval mode."""
        self.training = mode
        return self

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs), in the type of the delta.

        With outputs for words, the shape is (n_rows, n_words, n_outputs).
        """
        vectors = self.read(batch)
        factors = batch.dropout
        if factors is None and self.training and self.dropout:
            # All words of a row share their factors: a row needs as many as without words.
            factors = self.dropout_factors((len(vectors), vectors.shape[-1]), batch.share)
        if factors is not None:
            vectors = vectors * (factors[:, None] if self.per_token else factors)
        with fit_assignment(batch.fits):
            return self.head(vectors)

    def read(self, batch: Batch) -> torch.Tensor:
        """The input of the head: one vector per row, or one for each of its words."""
        return TokenHead.read(self._states(batch), batch) if self.per_token else self.pool(batch)

    def pool(self, batch: Batch) -> torch.Tensor:
        """One vector per row, whatever the head reads."""
        if batch.windows is None and self.window_pooling == COMPARED:
            # In an exported graph, the first and second texts of pairs by turns.
            vectors = self._vectors(batch)
            vectors = vectors.view(-1, 2, vectors.shape[-1])
            return compare(vectors[:, 0], vectors[:, 1])
        if batch.windows is None:
            return self._vectors(batch)
        vectors, mask = self._window_vectors(batch, batch.windows)
        assert self.window_pooling is not None
        if self.window_pooling == COMPARED:
            return compare(vectors[:, 0], vectors[:, 1])
        if self.window_pooling != "attention":
            return pool(vectors, mask, self.window_pooling)
        with fit_assignment(batch.fits):
            return attend(vectors, mask, expand_rows(self.query, vectors))

    def _vectors(self, batch: Batch) -> torch.Tensor:
        """One vector for each row of the inputs."""
        if self.pooling == "pooler":
            with fit_assignment(batch.fits):
                pooled: torch.Tensor = self._run(batch).pooler_output
            return pooled.to(self.delta_type)
        return pool(self._states(batch), batch.mask, self.pooling, self._n_added)

    def _states(self, batch: Batch) -> torch.Tensor:
        with fit_assignment(batch.fits):
            states: torch.Tensor = self._run(batch).last_hidden_state
        return states.to(self.delta_type)

    def _window_vectors(self, batch: Batch, windows: Windows) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the windows of each row, with zeros behind them, and a mask.

        No more than ``windows.n_tokens`` run at once, or the two windows of one row. If a backward
        pass would need the activations of more, none are saved: it computes them again, piece by
        piece.
        """
        counts, lengths = windows.counts, windows.lengths
        there = np.arange(counts.max()) < counts[:, None]
        flat = Batch(
            batch.inputs,
            fits=self._fits_of_windows(batch),
            entering=batch.entering,
            is_padded=batch.is_padded,
        )
        most = min(windows.n_tokens, STEP_TOKENS[self.device.type])
        fits = len(lengths) * lengths.max() <= most or len(counts) * counts.max() <= 2
        if counts.max() == 1 or fits:
            found, order = self._vectors(flat), np.arange(len(lengths))
        else:
            pieces = list(ordered_batches(lengths, most))
            again = torch.is_grad_enabled() and lengths.sum() > windows.n_tokens
            vectors = []
            for numbers in pieces:
                width = self._padded_length(int(lengths[numbers].max()))
                piece = flat.take(self._moved(numbers)).narrowed(width)
                if again:
                    # Nothing in the backbone is random, and the global state is not ours.
                    found = checkpoint(
                        self._vectors, piece, use_reentrant=False, preserve_rng_state=False
                    )
                    vectors.append(found)
                else:
                    vectors.append(self._vectors(piece))
            found, order = torch.cat(vectors), np.concatenate(pieces)
        places = self._moved(np.flatnonzero(there)[order])
        whole = found.new_zeros(there.size, found.shape[1]).index_copy(0, places, found)
        return whole.view(*there.shape, -1), self._moved(there)

    def _fits_of_windows(self, batch: Batch) -> torch.Tensor | None:
        """The fit of each window of ``batch``."""
        assert batch.windows is not None
        fits = batch.fits
        if fits is None:
            if self.n_fits == 1:
                return None
            fits = torch.arange(self.n_fits, device=self.device)
            fits = fits.repeat_interleave(len(batch) // self.n_fits)
        rows = np.repeat(np.arange(len(batch)), batch.windows.counts)
        return fits[self._moved(rows)]

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        return moved(torch.from_numpy(array), self.device)

    def delta(self) -> dict[str, np.ndarray]:
        """The learnt values of the first fit, copied to arrays."""
        values: dict[str, dict[str, np.ndarray]] = {}
        for name, weight in self.learnt.items():
            method, _, key = name.partition("/")
            own = (weight if name in self.unstacked else weight[0]).detach().cpu().numpy().copy()
            values.setdefault(method, {})[key] = own
        for method, arrays in self.planned.items():
            values[method.name] = method.export_values(arrays, values[method.name])
        return {f"{name}/{key}": own for name in values for key, own in values[name].items()}

    def load_delta(self, delta: Mapping[str, np.ndarray], fit: int = 0) -> None:
        """Set the learnt values of one fit.

        With several fits side by side, a head with fewer classes than the network has outputs
        leaves the other logits at minus infinity.
        """
        check_names(delta.keys(), self.learnt.keys())
        with torch.no_grad():
            for name, weight in self.learnt.items():
                own = weight if name in self.unstacked else weight[fit]
                values = tensor_of(delta[name])
                if name in ("head/weight", "head/bias") and len(weight) > 1:
                    own.fill_(0.0 if name == "head/weight" else -torch.inf)
                    own = own[: len(values)]
                check_shape(name, tuple(values.shape), tuple(own.shape))
                own.copy_(values)

    def _run(self, batch: Batch) -> Any:
        """The output of the body."""
        if batch.entering is not None and self._injector is not None:
            self._injector.put(batch.entering)
        with self._computing(), padding(batch.is_padded):
            return (self._compiled or self.body)(**batch.inputs)

    def _computing(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def dropout_factors(
        self, shape: Sequence[int], share: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw the dropout factors of a training step for pooled vectors of ``shape``.

        If the vectors are only some rows of a batch, ``share`` says which: factors are drawn
        for the whole batch, so that the result does not depend on the number of processes.
        """
        n_rows = shape[0] if share is None else len(share)
        # On the CPU and in float32, so that the same seed draws the same factors on any device.
        factors = torch.empty(n_rows, *shape[1:], dtype=torch.float32)
        factors.bernoulli_(1 - self.dropout, generator=self.generator)
        factors = factors if share is None else factors[share]
        return moved(factors.to(self.delta_type), self.device) / (1 - self.dropout)


def _switch_off_cache(body: nn.Module) -> None:
    """Prevent decoders from returning the keys and values of every batch."""
    config: Any = body.config
    if getattr(config, "use_cache", False):
        config.use_cache = False
