"""The optimiser: AdamW, a group for each learning rate and decay."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sklearn_lntune.network import Network


def build_optimizer(
    network: Network, rates: Mapping[str, float], weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW over what ``network`` learns.

    Parameters
    ----------
    network : Network
    rates : mapping of str to float
        Peak learning rate of each tuning method, by name, and of ``"head"``.
    weight_decay : float
        On matrices only: gains, biases and other vectors never decay.
    """
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, weight in network.learnt.items():
        matrix = weight.dim() - (name not in network.unstacked) >= 2
        groups.setdefault((name.partition("/")[0], matrix), []).append(weight)
    return torch.optim.AdamW(
        [
            {
                "params": weights,
                "lr": rates[method],
                "peak_lr": rates[method],
                "weight_decay": weight_decay if matrix else 0.0,
            }
            for (method, matrix), weights in groups.items()
        ],
        fused=next(network.parameters()).device.type in ("cpu", "cuda"),
    )


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
