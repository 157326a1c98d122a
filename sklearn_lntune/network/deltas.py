"""Check that deltas fit a network, before memory is allocated for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.poolings import WITH_POOLER, head_width
from sklearn_lntune.tuning.base import TuningMethod
from sklearn_lntune.tuning.plan import plan

#: No native head reads vectors that are narrower than the states by more than this factor.
_NARROWEST = 8


def check_deltas(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    pooling: str,
    n_outputs: int,
    deltas: Sequence[Mapping[str, np.ndarray]],
    window_pooling: str | None,
) -> None:
    """Raise a ValueError if one of ``deltas`` does not fit the network of these arguments.

    The network is not built, since a damaged file may claim sizes that would fill the memory.
    """
    planned = plan(methods, backbone.anatomy, with_pooler=pooling in WITH_POOLER)
    shapes = {f"{m.name}/{a.key}": a.shape for m, arrays in planned.items() for a in arrays}
    for delta in deltas:
        head = {name: value for name, value in delta.items() if name.startswith("head/")}
        check_names(delta.keys() - head.keys(), shapes.keys())
        for name, shape in shapes.items():
            check_shape(name, delta[name].shape, shape)
        width = head_width(backbone.hidden_size, window_pooling)
        if window_pooling == "attention":
            check_names(head.keys() & {"head/query"}, {"head/query"})
            check_shape("head/query", head.pop("head/query").shape, (width,))
        _check_head(head, width, pooling, n_outputs)


def _check_head(head: Mapping[str, np.ndarray], width: int, pooling: str, n_outputs: int) -> None:
    """Raise a ValueError if ``head`` does not fit; a native head is compared later."""
    if pooling != "native":
        check_names(head.keys(), {"head/weight", "head/bias"})
        n_rows = len(head["head/weight"])
        check_shape("head/weight", head["head/weight"].shape, (n_rows, width))
        check_shape("head/bias", head["head/bias"].shape, (n_rows,))
    elif _NARROWEST * sum(v.size for v in head.values() if v.ndim > 1) < n_outputs * width:
        raise ValueError(
            f"this delta belongs to another model: its head is too small for {n_outputs} outputs."
        )


def check_names(found: Iterable[str], needed: Iterable[str]) -> None:
    """Raise a ValueError if the names of the learnt values are not those of the network."""
    if odd := set(found) ^ set(needed):
        raise ValueError(f"this delta belongs to another tuning: {sorted(odd)[:4]} do not match.")


def check_shape(name: str, found: tuple[int, ...], needed: tuple[int, ...]) -> None:
    """Raise a ValueError if the learnt value ``name`` does not have the shape ``needed``."""
    if found != needed:
        raise ValueError(
            f"this delta belongs to another model: {name} has the shape {found}, and {needed} is "
            "needed."
        )
