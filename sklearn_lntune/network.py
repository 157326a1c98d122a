"""Shell, pooling and head in one module: a batch in, logits out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sklearn_lntune.backbone.compiled import CompiledBody
from sklearn_lntune.backbone.native import last_linear, with_native_head
from sklearn_lntune.backbone.placement import delta_type, padded_length
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.trunk import Inlet, Trunk, padded
from sklearn_lntune.text.batches import ordered_batches, tensors
from sklearn_lntune.text.table import TokenTable
from sklearn_lntune.tuning.base import Ground, TuningMethod
from sklearn_lntune.tuning.grouped import assigned, per_row, product
from sklearn_lntune.tuning.plan import plan

#: Tokens, padding included, in one batch of a prediction. On a CPU more do not fit its caches.
PREDICT_TOKENS = {"cpu": 1024, "cuda": 65536, "mps": 16384}
_HEAD_SPREAD = 0.02
#: No model's own head reads vectors narrower than the states by this factor.
_NARROWEST = 8


class Network(nn.Module):
    """A backbone with tuning methods attached, pooling, and a linear head.

    Parameters
    ----------
    backbone : Backbone
    methods : tuple of TuningMethod
    pooling : {"cls", "mean", "max", "last", "native"}
    n_outputs : int
        Logits a row.
    dtype : torch.dtype
        Of the frozen weights.
    device : torch.device
    attention : str
        The attention implementation.
    dropout : float
        On the pooled vector, while training.
    generator : torch.Generator
        On the CPU: first values of the head, and dropout.
    n_fits : int
        Fits side by side. The batch is as many equal groups of rows, unless `forward` is
        told which fit each row belongs to.
    """

    #: Whether the head reads the pooler that some backbones have.
    reads_pooler = False

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
    ) -> None:
        super().__init__()
        self.n_fits = n_fits
        private = any(method.private for method in methods)
        # Master weights stay wide; the narrow type is then autocast's.
        held = delta_type(dtype) if private else dtype
        body = (backbone.private if private else backbone.shell)(held, device, attention)
        _switch_off_cache(body)
        if not self.reads_pooler and getattr(body, "pooler", None) is not None:
            setattr(body, "pooler", None)  # noqa: B010 - mypy knows no optional modules
        self.autocast = dtype if held != dtype else None
        self._compute_type = dtype
        self._pad_id = backbone.pad_id
        self._n_positions = backbone.n_positions
        self.pooling = pooling
        self.dropout = dropout
        self.generator = generator
        #: The type of what is learnt, of pooled vectors and of logits.
        self.delta_type = delta_type(dtype)
        #: Delta name to parameter; those in `unstacked` have no leading axis of fits.
        self.learnt: dict[str, nn.Parameter] = {}
        self.unstacked: set[str] = set()
        #: What each method learns.
        self.planned = plan(methods, backbone.anatomy, with_pooler=self.reads_pooler)
        ground = Ground(body, backbone.anatomy, n_fits, generator)
        for method, arrays in self.planned.items():
            attached = method.attach(ground, arrays)
            self._learn(method.name, attached, stacked=not method.private)
        # Hidden from the module tree, where it stands as `body` or inside it.
        self._shell = (body, backbone.anatomy)
        self._inlet: Inlet | None = None
        self._add_head(body, backbone, n_outputs, n_fits)
        self._compiled: CompiledBody | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @property
    def lowest_block(self) -> int:
        """Number of the lowest block that must be computed anew in each step."""
        if any(method.private for method in self.planned):
            return 0
        arrays = [array for arrays in self.planned.values() for array in arrays]
        top = self._shell[1].n_blocks - 1  # with nothing but a head, the last one
        return min((array.block or 0 for array in arrays), default=top)

    def enter_at(self, trunk: Trunk, table: TokenTable, pad_id: int) -> bool:
        """Skip the blocks below the lowest that learns, if the model allows it.

        It is tried out on the first rows of ``table``: some models (T5) make something
        in their first block that later ones need. Batches then carry ``trunk``, what
        enters the block.
        """
        body, anatomy = self._shell
        rows = np.arange(min(3, len(table)))
        inputs = tensors(table, rows, pad_id, self.device)
        self._inlet = inlet = Inlet(body, anatomy.blocks, self.lowest_block)
        self.eval()  # no dropout is drawn; each step of a fit sets its own mode
        inputs["fits"] = torch.zeros(len(rows), dtype=torch.int64, device=self.device)
        with torch.no_grad():
            with inlet.watching():
                expected = self.pool(**inputs)
            inlet.open()
            try:
                found = self.pool(trunk=trunk.entering(table, rows), **inputs)
                if torch.allclose(found, expected, rtol=1e-5, atol=1e-6):
                    return True
            except (TypeError, ValueError, IndexError, RuntimeError, AttributeError):
                pass  # what passes on is not what this model's blocks hand over
        inlet.remove()
        self._inlet = None
        return False

    def try_stacked(self, table: TokenTable, pad_id: int) -> None:
        """Run a few rows, each for another fit.

        Raises
        ------
        NotStackableError
            If a layer reads something other than the rows of the batch.
        """
        rows = np.arange(3) % len(table)
        fits = torch.arange(len(rows), device=self.device) % self.n_fits
        with torch.inference_mode():
            self.eval()(fits=fits, **tensors(table, rows, pad_id, self.device))

    def compile_body(self) -> None:
        """Run the backbone through torch.compile; to be called when all is attached.

        With a trunk it stays as it is: what enters the block comes from outside the graph.
        So it does for several fits, for which the same holds of whose row is whose.
        """
        if self._inlet is None and self.n_fits == 1:
            self._compiled = CompiledBody(self.body)

    def _add_head(self, body: nn.Module, backbone: Backbone, n_outputs: int, n_fits: int) -> None:
        """Set ``body``, ``head`` and ``embedding_size``; note what the head learns."""
        self.body = body
        self.embedding_size = _hidden_size(backbone.config)
        head = StackedHead(
            self.embedding_size, n_outputs, n_fits, self.delta_type, self.generator
        ).to(next(body.parameters()).device)
        self._learn("head", dict(head.named_parameters()), stacked=True)
        self.head: nn.Module = head

    def _learn(self, method: str, weights: Mapping[str, nn.Parameter], *, stacked: bool) -> None:
        named = {f"{method}/{path}": weight for path, weight in weights.items()}
        self.learnt |= named
        if not stacked:
            self.unstacked |= set(named)

    def train(self, mode: bool = True) -> Network:
        """Switch our own dropout; the backbone always runs in eval mode."""
        self.training = mode
        return self

    def forward(
        self,
        sample_weight: Any = None,
        trunk: torch.Tensor | None = None,
        fits: torch.Tensor | None = None,
        kept: torch.Tensor | None = None,
        own: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs), in the type of the delta.

        Parameters
        ----------
        sample_weight : unused
            skorch hands over all that a batch holds.
        trunk : torch.Tensor, optional
            What enters the lowest block that learns, after `enter_at`.
        fits : torch.Tensor of int64 of shape (n_rows,), optional
            The fit that each row belongs to.
        kept : torch.Tensor of shape (n_rows, embedding_size), optional
            Factors of dropout, in place of those that the network would draw.
        own : torch.Tensor of bool, optional
            Which rows of a batch these are, where other processes compute the rest.
        """
        pooled = self.pool(trunk, fits, **inputs)
        if kept is None and self.training and self.dropout:
            kept = self.dropout_factors(pooled.shape, own)
        with assigned(fits):
            return self.head(pooled if kept is None else pooled * kept)

    def pool(
        self,
        trunk: torch.Tensor | None = None,
        fits: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """What the head reads: one vector a row; ``trunk`` and ``fits`` as for `forward`."""
        mask = inputs["attention_mask"]
        with assigned(fits):
            states = self._run(trunk, inputs).last_hidden_state[:, : mask.shape[1]]
        return _pool(states.to(self.delta_type), mask, self.pooling)

    def delta(self) -> dict[str, np.ndarray]:
        """The learnt values of the first fit, as arrays of their own."""
        values: dict[str, dict[str, np.ndarray]] = {}
        for name, weight in self.learnt.items():
            method, _, key = name.partition("/")
            own = (weight if name in self.unstacked else weight[0]).detach().cpu().numpy().copy()
            values.setdefault(method, {})[key] = own
        for method, arrays in self.planned.items():
            values[method.name] = method.folded(arrays, values[method.name])
        return {f"{name}/{key}": own for name in values for key, own in values[name].items()}

    def load_delta(self, delta: Mapping[str, np.ndarray], fit: int = 0) -> None:
        """Set the learnt values of one fit.

        Where several fits stand side by side, a head of fewer classes than the widest
        leaves the other logits at minus infinity.
        """
        _check_names(delta.keys(), self.learnt.keys())
        with torch.no_grad():
            for name, weight in self.learnt.items():
                own = weight if name in self.unstacked else weight[fit]
                values = torch.from_numpy(delta[name])
                if name in ("head/weight", "head/bias") and len(weight) > 1:
                    own.fill_(0.0 if name == "head/weight" else -torch.inf)
                    own = own[: len(values)]
                _check_shape(name, tuple(values.shape), tuple(own.shape))
                own.copy_(values)

    def _run(self, trunk: torch.Tensor | None, inputs: dict[str, torch.Tensor]) -> Any:
        """The output of the body; its states may go on beyond the end of the rows."""
        inputs, more = self._filled_up(inputs)
        if trunk is not None and self._inlet is not None:
            self._inlet.put(functional.pad(trunk, (0, 0, 0, more)) if more else trunk)
        with self._computing():
            return (self._compiled or self.body)(**inputs)

    def _filled_up(self, inputs: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
        """``inputs`` with tokens of padding added to each row, and how many."""
        n_tokens = inputs["input_ids"].shape[1]
        more = padded_length(n_tokens, self._compute_type, self.device) - n_tokens
        if more and self._n_positions is not None:
            more = min(more, self._n_positions - n_tokens)
        if not more:
            return inputs, 0
        fill = {"input_ids": self._pad_id}
        return {
            name: functional.pad(tensor, (0, more), value=fill.get(name, 0))
            for name, tensor in inputs.items()
        }, more

    def _computing(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def dropout_factors(
        self, shape: Sequence[int], own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What vectors of ``shape`` are multiplied by in a training step, drawn anew.

        Where they are only some rows of a batch, ``own`` says which; it is drawn for all.
        """
        n_rows = shape[0] if own is None else len(own)
        kept = torch.empty(n_rows, *shape[1:], dtype=torch.float32)
        kept.bernoulli_(1 - self.dropout, generator=self.generator)
        kept = kept if own is None else kept[own]
        return kept.to(self.device, self.delta_type) / (1 - self.dropout)


class NativeNetwork(Network):
    """A network whose head is that of the model's own ``...ForSequenceClassification``."""

    reads_pooler = True

    def _add_head(self, body: nn.Module, backbone: Backbone, n_outputs: int, n_fits: int) -> None:
        if n_fits != 1:
            raise ValueError("pooling='native' has a head that does not stack.")
        self.body, weights = with_native_head(
            body, body.config, n_outputs, self.generator, backbone.trust_remote_code
        )
        named = {"/".join(path.rsplit(".", 1)): weight for path, weight in weights.items()}
        self._learn("head", named, stacked=False)
        head = last_linear(self.body, weights, n_outputs)
        self.embedding_size = head.in_features
        head.register_forward_pre_hook(self._before_head)
        self.head = head
        # What the head read last and reads next; a thread's own, since threads share a network.
        self._last = threading.local()

    def forward(
        self,
        sample_weight: Any = None,
        trunk: torch.Tensor | None = None,
        fits: torch.Tensor | None = None,
        kept: torch.Tensor | None = None,
        own: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs), in the type of the delta."""
        self._last.own = own
        logits: torch.Tensor = self._run(trunk, inputs).logits
        return logits.to(self.delta_type)

    def pool(
        self,
        trunk: torch.Tensor | None = None,
        fits: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """What the last layer of the head reads: one vector a row."""
        self(trunk=trunk, **inputs)
        pooled = self._last.pooled
        # Heads of decoders read every token and choose the last one's logits.
        return pooled if pooled.dim() == 2 else _pool(pooled, inputs["attention_mask"], "last")

    def _before_head(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        read = inputs[0]
        self._last.pooled = read.detach()
        if not self.training or not self.dropout:
            return inputs
        return (read * self.dropout_factors(read.shape, self._last.own),)


def build_network(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    pooling: str,
    n_outputs: int,
    deltas: Sequence[Mapping[str, np.ndarray]] = (),
    **options: Any,
) -> Network:
    """The network for ``pooling``; ``options`` are those of `Network`.

    With ``deltas`` it holds their values side by side, and methods are settled.
    """
    kind = NativeNetwork if pooling == "native" else Network
    if not deltas:
        return kind(backbone, methods, pooling, n_outputs, **options)
    check_deltas(backbone, methods, pooling, n_outputs, deltas)
    settled = tuple(method.settled() for method in methods)
    network = kind(backbone, settled, pooling, n_outputs, n_fits=len(deltas), **options)
    for fit, delta in enumerate(deltas):
        network.load_delta(delta, fit)
    return network


def check_deltas(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    pooling: str,
    n_outputs: int,
    deltas: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """Raise a ValueError if one of ``deltas`` is of another network than these make.

    No memory is taken for the network: files may claim sizes that they do not hold.
    """
    planned = plan(methods, backbone.anatomy, with_pooler=pooling == "native")
    shapes = {f"{m.name}/{a.key}": a.shape for m, arrays in planned.items() for a in arrays}
    for delta in deltas:
        head = {name: value for name, value in delta.items() if name.startswith("head/")}
        _check_names(delta.keys() - head.keys(), shapes.keys())
        for name, shape in shapes.items():
            _check_shape(name, delta[name].shape, shape)
        _check_head(head, _hidden_size(backbone.config), pooling, n_outputs)


def _check_head(head: Mapping[str, np.ndarray], width: int, pooling: str, n_outputs: int) -> None:
    """Raise a ValueError if ``head`` is of another model; a native one is compared later."""
    if pooling != "native":
        _check_names(head.keys(), {"head/weight", "head/bias"})
        n_own = len(head["head/weight"])
        _check_shape("head/weight", head["head/weight"].shape, (n_own, width))
        _check_shape("head/bias", head["head/bias"].shape, (n_own,))
    elif _NARROWEST * sum(v.size for v in head.values() if v.ndim > 1) < n_outputs * width:
        raise ValueError(
            f"this delta belongs to another model: its head is too small for {n_outputs} outputs."
        )


def _check_names(found: Iterable[str], needed: Iterable[str]) -> None:
    if odd := set(found) ^ set(needed):
        raise ValueError(f"this delta belongs to another tuning: {sorted(odd)[:4]} do not match.")


def _check_shape(name: str, found: tuple[int, ...], needed: tuple[int, ...]) -> None:
    if found != needed:
        raise ValueError(
            f"this delta belongs to another model: {name} has the shape {found}, and {needed} is "
            "needed."
        )


class StackedHead(nn.Module):
    """A linear layer for each of ``n_fits``."""

    def __init__(
        self,
        width: int,
        n_outputs: int,
        n_fits: int,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        start = torch.empty(n_fits, n_outputs, width, dtype=dtype)
        self.weight = nn.Parameter(start.normal_(0.0, _HEAD_SPREAD, generator=generator))
        self.bias = nn.Parameter(torch.zeros(n_fits, n_outputs, dtype=dtype))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n_rows, n_outputs)."""
        return product(pooled, self.weight) + per_row(self.bias, pooled)


def compute(
    network: Network,
    table: TokenTable,
    pad_id: int,
    output: str = "logits",
    fits: np.ndarray | None = None,
    states: list[torch.Tensor] | None = None,
) -> np.ndarray:
    """Run ``network`` over all rows of ``table``, without gradients.

    Parameters
    ----------
    output : {"logits", "pooled"}
    fits : ndarray of int of shape (n_rows,), optional
        The fit that each row belongs to.
    states : list of torch.Tensor, optional
        What enters the lowest block that learns, after `Network.enter_at`.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs) or (n_rows, hidden_size)
        In the order of the table. When a GPU's memory does not hold a batch, the batch
        is halved and tried again.
    """
    device = network.device
    network.eval()
    n_tokens = PREDICT_TOKENS[device.type]
    while True:
        try:
            return _compute(network, table, pad_id, output, fits, states, n_tokens)
        except torch.OutOfMemoryError:
            if n_tokens <= int(table.lengths.max()):
                raise
        n_tokens //= 2
        torch.cuda.empty_cache()


def _compute(
    network: Network,
    table: TokenTable,
    pad_id: int,
    output: str,
    fits: np.ndarray | None,
    states: list[torch.Tensor] | None,
    n_tokens: int,
) -> np.ndarray:
    batches = list(ordered_batches(table.lengths, n_tokens))
    step = network if output == "logits" else network.pool
    device = network.device

    def one(rows: np.ndarray) -> torch.Tensor:
        inputs = tensors(table, rows, pad_id, device)
        if fits is not None:
            inputs["fits"] = torch.from_numpy(fits[rows]).to(device)
        if states is not None:
            inputs["trunk"] = padded([states[row] for row in rows], device)
        return step(**inputs).cpu()

    with torch.inference_mode():
        parts = [one(rows) for rows in batches]
    found = torch.cat(parts).numpy()
    answers = np.empty_like(found)
    answers[np.concatenate(batches)] = found
    return answers


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a row from its tokens' last hidden states."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(states.shape[0], device=states.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "max":
        return states.masked_fill(weights == 0, -torch.inf).amax(1)
    return (states * weights).sum(1) / weights.sum(1)


def _hidden_size(config: Any) -> int:
    text = config.get_text_config()
    # OPT's smallest large model projects its last states down to this.
    return int(getattr(text, "word_embed_proj_dim", text.hidden_size))


def _switch_off_cache(body: nn.Module) -> None:
    """Decoders would keep keys and values of every batch."""
    config: Any = body.config
    if getattr(config, "use_cache", False):
        config.use_cache = False
