"""What each method of a sum learns: no array twice.

Two methods may claim one array: BitFit and LayerNorm tuning both learn the bias of a
norm. It goes to the method that comes first in `METHODS`, whatever the order of the sum.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from sklearn_lntune.tuning.adapter import AdapterTuning
from sklearn_lntune.tuning.base import Array, TuningMethod
from sklearn_lntune.tuning.registry import METHODS

if TYPE_CHECKING:
    from sklearn_lntune.backbone.anatomy import Anatomy


def plan(
    methods: tuple[TuningMethod, ...], anatomy: Anatomy, *, with_pooler: bool = True
) -> dict[TuningMethod, tuple[Array, ...]]:
    """The arrays that each method learns, in the order of attaching.

    Parameters
    ----------
    methods : tuple of TuningMethod
    anatomy : Anatomy
    with_pooler : bool
        Whether the backbone's pooler is in use.

    Raises
    ------
    ValueError
        If a method does not fit the backbone, or others leave nothing for it to learn.
    """
    claimed: set[str] = set()
    planned: dict[TuningMethod, tuple[Array, ...]] = {}
    for method in sorted(methods, key=_rank):
        wanted = method.arrays(anatomy)
        left = tuple(
            array
            for array in wanted
            if array.key not in claimed
            and (with_pooler or array.path.partition(".")[0] != "pooler")
        )
        if not left:
            raise ValueError(
                f"tuning: the other methods learn all that {method!r} would; leave it out."
            )
        claimed |= {array.key for array in left}
        planned[method] = left
    return planned


def _rank(method: TuningMethod) -> int:
    order = list(METHODS)
    return order.index(method.name) if method.name in order else len(order)


def warn_of_bad_sums(methods: tuple[TuningMethod, ...]) -> None:
    """Say so where the paper found that a sum hurts."""
    names = {method.name for method in methods}
    beside_ffn = any(
        isinstance(method, AdapterTuning) and method.sites in ("ffn", "both") for method in methods
    )
    if beside_ffn and "layernorm" in names:
        warnings.warn(
            "tuning adds adapters at the feed-forward output to LayerNorm tuning. Qi et al. (2022, "
            "arXiv:2211.08682, section 5) found that this sum does worse than the adapters alone; "
            "AdapterTuning(sites='attention') is the one that gains.",
            UserWarning,
            stacklevel=5,  # the line that calls fit
        )
