"""The optimiser: AdamW, a group for each learning rate and decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from sklearn_lntune.network import Network
from sklearn_lntune.training.settings import Settings

#: The optimiser's state of one fit: by name of what is learnt, then by name of the quantity.
Moments: TypeAlias = dict[str, dict[str, np.ndarray]]

# PyTorch's defaults.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def build_optimizer(network: Network, settings: Sequence[Settings]) -> torch.optim.Optimizer:
    """AdamW over what ``network`` learns: PyTorch's for one fit, `StackedAdamW` for several.

    Parameters
    ----------
    network : Network
    settings : sequence of Settings
        Of each fit. The decay is that of matrices only: gains, biases and other vectors never
        decay.
    """

    def rates(method: str) -> list[float]:
        return [each.rates[method] for each in settings]

    def decays(matrix: bool) -> list[float]:
        return [each.weight_decay if matrix else 0.0 for each in settings]

    groups = _groups(network).items()
    if len(settings) == 1:
        return torch.optim.AdamW(
            [
                {
                    "params": weights,
                    "lr": rates(method)[0],
                    "peak_lr": rates(method)[0],
                    "weight_decay": decays(matrix)[0],
                }
                for (method, matrix), weights in groups
            ],
            fused=network.device.type in ("cpu", "cuda"),
        )

    def by_fit(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=network.delta_type, device=network.device)

    return StackedAdamW(
        [
            {
                "params": weights,
                "peak_lr": by_fit(rates(method)),
                "weight_decay": by_fit(decays(matrix)),
            }
            for (method, matrix), weights in groups
        ]
    )


def _groups(network: Network) -> dict[tuple[str, bool], list[torch.nn.Parameter]]:
    """What ``network`` learns, by method and whether it is matrices."""
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, weight in network.learnt.items():
        matrix = weight.dim() - (name not in network.unstacked) >= 2
        groups.setdefault((name.partition("/")[0], matrix), []).append(weight)
    return groups


class StackedAdamW(torch.optim.Optimizer):
    """AdamW for several fits at once, since PyTorch's has only one rate for a parameter.

    Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization",
    arXiv:1711.05101, algorithm 2, at a rate, a decay and a count of steps for each fit.

    Parameters
    ----------
    groups : list of dict
        ``params`` of shape (n_fits, ...), with ``peak_lr`` and ``weight_decay`` of shape
        (n_fits,).
    """

    def __init__(self, groups: list[dict[str, object]]) -> None:
        super().__init__(groups, {"lr": torch.zeros(())})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each fit by the ``lr`` of its group, of shape (n_fits,).

        A gradient of zero at a rate of zero leaves the values of a fit as they are.
        """
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: torch.Tensor, group: dict[str, torch.Tensor]) -> None:
        state = self.state[weight]
        n_fits = len(weight)
        if not state:
            state["step"] = torch.zeros(n_fits, dtype=weight.dtype, device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["step"] += 1

        def by_fit(values: torch.Tensor) -> torch.Tensor:
            return values.view(n_fits, *(1,) * (weight.dim() - 1))

        mean, square, step = state["exp_avg"], state["exp_avg_sq"], by_fit(state["step"])
        mean.lerp_(weight.grad, 1 - _BETA1)
        square.mul_(_BETA2).addcmul_(weight.grad, weight.grad, value=1 - _BETA2)
        spread = (square / (1 - _BETA2**step)).sqrt_().add_(_EPSILON)
        lr = by_fit(group["lr"])
        weight.mul_(1 - lr * by_fit(group["weight_decay"]))
        weight.sub_(lr * (mean / (1 - _BETA1**step)) / spread)


def moments_of(optimizer: torch.optim.Optimizer, network: Network, fit: int = 0) -> Moments:
    """The state of ``optimizer`` for one fit, by name of what it steps."""

    def part(key: str, value: torch.Tensor) -> np.ndarray:
        if network.n_fits > 1:
            value = value[fit] if key == "step" else value[fit : fit + 1]
        return value.cpu().numpy().copy()

    return {
        name: {key: part(key, value) for key, value in optimizer.state[weight].items()}
        for name, weight in network.learnt.items()
        if weight in optimizer.state
    }


def load_moments(
    optimizer: torch.optim.Optimizer, network: Network, moments: Sequence[Moments | None]
) -> None:
    """Restore the result of `moments_of` for each fit; missing state starts from zero."""
    for name, weight in network.learnt.items():
        states = [(each or {}).get(name) for each in moments]
        there = [state for state in states if state is not None]
        if len(there) < len(states):  # a prefix's projection, for instance, no longer exists
            continue
        optimizer.state[weight] = {
            key: _side_by_side([state[key] for state in there], weight) for key in there[0]
        }


def _side_by_side(values: list[np.ndarray], weight: torch.Tensor) -> torch.Tensor:
    """Values of several fits on a leading axis, like ``weight``; those of one as they are."""
    if len(values) == 1:
        return torch.tensor(values[0]).to(weight.device)
    return torch.tensor(np.concatenate([np.array(value, ndmin=1) for value in values])).to(weight)
