"""The optimiser: AdamW, a group for each learning rate and decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sklearn_lntune.network import Network

# PyTorch's defaults.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def build_optimizer(
    network: Network, rates: Mapping[str, float], weight_decay: float
) -> torch.optim.Optimizer:
    """PyTorch's AdamW over what ``network`` learns for one fit.

    Parameters
    ----------
    network : Network
    rates : mapping of str to float
        Peak learning rate of each tuning method, by name, and of ``"head"``.
    weight_decay : float
        On matrices only: gains, biases and other vectors never decay.
    """
    return torch.optim.AdamW(
        [
            {
                "params": weights,
                "lr": rates[method],
                "peak_lr": rates[method],
                "weight_decay": weight_decay if matrix else 0.0,
            }
            for (method, matrix), weights in _groups(network).items()
        ],
        fused=network.device.type in ("cpu", "cuda"),
    )


def build_stacked_optimizer(
    network: Network, rates: Sequence[Mapping[str, float]], weight_decays: Sequence[float]
) -> StackedAdamW:
    """As `build_optimizer`, with rates and decay of their own for each fit."""

    def by_fit(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=network.delta_type, device=network.device)

    return StackedAdamW(
        [
            {
                "params": weights,
                "peak_lr": by_fit([own[method] for own in rates]),
                "weight_decay": by_fit([decay if matrix else 0.0 for decay in weight_decays]),
            }
            for (method, matrix), weights in _groups(network).items()
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
    """AdamW for several fits at once; PyTorch's own takes no rate for each.

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


def moments_of(
    optimizer: torch.optim.Optimizer, network: Network
) -> dict[str, dict[str, np.ndarray]]:
    """The state of ``optimizer``, by name of what it steps."""
    return {
        name: {key: value.cpu().numpy().copy() for key, value in optimizer.state[weight].items()}
        for name, weight in network.learnt.items()
        if weight in optimizer.state
    }


def load_moments(
    optimizer: torch.optim.Optimizer,
    network: Network,
    moments: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Set what `moments_of` gave."""
    for name, state in moments.items():
        if name not in network.learnt:  # of a projection that has been folded away
            continue
        weight = network.learnt[name]
        optimizer.state[weight] = {
            key: torch.tensor(value).to(weight.device) for key, value in state.items()
        }
