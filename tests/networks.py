"""Networks with tuning methods on tiny backbones, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModel

from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tuning import TuningMethod, methods_of
from sklearn_lntune.tuning.registry import registered_methods

Make = Callable[..., Path]
Arrays = Mapping[str, np.ndarray]

CPU = torch.device("cpu")
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}


def built_in_methods() -> dict[str, type[TuningMethod]]:
    """The package's own methods by name, in the order of attaching."""
    return {
        name: method
        for name, method in registered_methods().items()
        if method.__module__.startswith("sklearn_lntune.")
    }


def build(
    folder: Path,
    tuning: Any,
    n_fits: int = 1,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float64,
    attention: str = "sdpa",
    pooling: str = "mean",
    window_pooling: str | None = None,
) -> Network:
    """A network with fused attention: several families' plain one has a softmax in float32."""
    return Network(
        get_backbone(folder),
        methods_of(tuning),
        pooling,
        3,
        dtype=dtype,
        device=CPU,
        attention=attention,
        generator=torch.Generator().manual_seed(seed),
        n_fits=n_fits,
        window_pooling=window_pooling,
    )


def batch_of(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Rows of random tokens with these lengths, and padding behind them."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids.where(mask == 1, 0), "attention_mask": mask}


def batch(rows: int = 4, length: int = 7) -> dict[str, torch.Tensor]:
    """Rows of three lengths, ``length`` at most."""
    return batch_of([length - row % 3 for row in range(rows)])


def scatter(network: Network, spread: float = 0.1) -> Network:
    """Move what is learnt away from its start, so that nothing about it is special."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.learnt.values():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.add_(noise, alpha=spread)
    return network


def states(body: nn.Module) -> torch.Tensor:
    """Last hidden states of the tokens that are not padding."""
    inputs = batch()
    with torch.no_grad():
        found: torch.Tensor = body(**inputs).last_hidden_state
    return found[inputs["attention_mask"].bool()]


def private(folder: Path) -> nn.Module:
    """A model that shares no weights."""
    return get_backbone(folder).private(torch.float64, CPU, "sdpa")


def by_method(delta: Arrays) -> dict[str, dict[str, np.ndarray]]:
    """Learnt values by method, then by name behind it."""
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, value in delta.items():
        method, _, key = name.partition("/")
        values.setdefault(method, {})[key] = value
    return values


def descend(values: torch.Tensor) -> None:
    """Gradients of a sum that treats each of ``values`` differently."""
    weights = torch.linspace(-1, 1, values.numel(), dtype=torch.float64)
    torch.autograd.backward(values, weights.view_as(values))


def check_stacking(folder: Path, tuning: Any, tolerance: float = 1e-12) -> None:
    """Three fits in one network have the logits and gradients of three networks."""
    stacked, inputs = scatter(build(folder, tuning, n_fits=3)), batch(rows=6)
    logits = stacked(Batch(inputs))
    weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    torch.autograd.backward(logits, weights)
    for fit in range(3):
        single, rows = build(folder, tuning), slice(2 * fit, 2 * fit + 2)
        single.load_delta({key: w[fit].detach().numpy() for key, w in stacked.learnt.items()})
        own = single(Batch({key: tensor[rows] for key, tensor in inputs.items()}))
        torch.autograd.backward(own, weights[rows])
        torch.testing.assert_close(own, logits[rows], **EXACT)
        for key, weight in single.learnt.items():
            expected = stacked.learnt[key].grad
            assert expected is not None
            assert weight.grad is not None
            torch.testing.assert_close(
                weight.grad[0], expected[fit], rtol=tolerance, atol=tolerance
            )


def tuned_by_hand(clf: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The plain model with what ``clf`` has learnt copied in, and all that it has learnt."""
    model = AutoModel.from_pretrained(clf.backbone, dtype=torch.float64).eval()
    learnt = {name: torch.from_numpy(value) for name, value in clf.delta_.items()}
    with torch.no_grad():
        for name, value in learnt.items():
            method, _, key = name.partition("/")
            if method == "layernorm":
                path, _, term = key.rpartition("/")
                norm = model.get_submodule(path)
                (norm.weight if term == "gain" else norm.bias).copy_(value)
    return model, learnt
