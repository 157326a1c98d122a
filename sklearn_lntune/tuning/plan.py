"""Decide which method of a sum learns which array: none is learnt twice.

Two methods may claim the same weight: BitFit and LayerNorm tuning both learn the bias of a
norm. The method that is attached first learns it, however the sum is written.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from sklearn_lntune.tuning.base import Array, AttachContext, TuningMethod, in_attach_order

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


def plan(
    methods: tuple[TuningMethod, ...], anatomy: Anatomy, *, with_pooler: bool = True
) -> dict[TuningMethod, tuple[Array, ...]]:
    """The arrays that each method learns, in the order in which methods are attached.

    Parameters
    ----------
    methods : tuple of TuningMethod
    anatomy : Anatomy
    with_pooler : bool
        Whether the backbone's pooler is in use.

    Raises
    ------
    ValueError
        If a method does not fit the backbone, or the others leave nothing for it to learn.
    """
    claimed: set[str | None] = set()
    planned: dict[TuningMethod, tuple[Array, ...]] = {}
    for method in in_attach_order(methods):
        wanted = method.arrays(anatomy)
        left = tuple(
            array
            for array in wanted
            if (array.claim is None or array.claim not in claimed)
            and (with_pooler or array.path.partition(".")[0] not in anatomy.pooler)
        )
        if not left:
            raise ValueError(
                f"tuning: the other methods learn all that {method!r} would; leave it out."
            )
        claimed |= {array.claim for array in left}
        planned[method] = left
    return planned


def check_type(methods: tuple[TuningMethod, ...], compute_type: torch.dtype) -> None:
    """Raise a ValueError if ``methods`` learn weights that are integers in ``compute_type``."""
    if compute_type.is_floating_point:
        return
    for method in methods:
        if method.private:
            raise ValueError(
                f"precision='int8' predicts with one backbone for all, and {method!r} changes its "
                "weights: choose another precision, or another tuning."
            )


def attach(
    method: TuningMethod, context: AttachContext, arrays: tuple[Array, ...]
) -> dict[str, nn.Parameter]:
    """Attach ``method``, and check the parameters that it returns.

    Without the check, a parameter that lacks the axis of fits would train, but all except
    its first element would be lost when the delta is read.

    Raises
    ------
    ValueError
        If a parameter is missing or its shape is not the declared one.
    """
    attached = method.attach(context, arrays)
    declared = {array.key: array.shape for array in arrays}
    # A method that exports values may train other parameters than the arrays that it declares,
    # such as a prefix's projection.
    converts = type(method).export_values is not TuningMethod.export_values
    if not converts and (odd := sorted(declared.keys() ^ attached.keys())):
        raise ValueError(
            f"tuning method {method.name!r}: attach must return a parameter for each array that "
            f"it is given, by Array.key, and no others; {odd[:4]} do not match."
        )
    fits = () if method.private else (context.n_fits,)
    for key, parameter in attached.items():
        shape = tuple(parameter.shape)
        expected = (*fits, *declared.get(key, shape[len(fits) :]))
        if shape != expected:
            raise ValueError(
                f"tuning method {method.name!r}: attach returned {key!r} of shape {shape}, and "
                f"{expected} was expected: the number of fits, then the shape of the array."
            )
    return attached


def warn_of_bad_sums(methods: tuple[TuningMethod, ...]) -> None:
    """Emit the warnings of methods about their sum with the others."""
    for method in methods:
        text = method.sum_warning(tuple(other for other in methods if other is not method))
        if text is not None:
            warnings.warn(text, UserWarning, stacklevel=5)  # the line that calls fit
