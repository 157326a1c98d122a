"""The optimiser: AdamW, a group for each learning rate and decay."""

from __future__ import annotations

from collections.abc import Mapping

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
