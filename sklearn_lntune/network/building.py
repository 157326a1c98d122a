"""Build the network for a pooling, with or without deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.network.deltas import check_deltas
from sklearn_lntune.network.native_network import NativeNetwork
from sklearn_lntune.network.network import Network
from sklearn_lntune.tuning.base import TuningMethod


def build_network(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    pooling: str,
    n_outputs: int,
    deltas: Sequence[Mapping[str, np.ndarray]] = (),
    *,
    window_pooling: str | None = None,
    **options: Any,
) -> Network:
    """The network for ``pooling``; ``options`` are those of `Network`.

    With ``deltas`` it contains their values side by side, with the methods for inference.
    """
    kind = NativeNetwork if pooling == "native" else Network
    options["window_pooling"] = window_pooling
    if not deltas:
        return kind(backbone, methods, pooling, n_outputs, **options)
    check_deltas(backbone, methods, pooling, n_outputs, deltas, window_pooling)
    methods = tuple(method.for_inference() for method in methods)
    network = kind(backbone, methods, pooling, n_outputs, n_fits=len(deltas), **options)
    for fit, delta in enumerate(deltas):
        network.load_delta(delta, fit)
    return network
