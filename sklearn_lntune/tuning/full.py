"""Train every weight of the backbone, as an expensive baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sklearn_lntune.tuning.base import Array, AttachContext, PeftRef, TuningMethod

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


class FullTuning(TuningMethod):
    """Full fine-tuning: learn all weights of the backbone.

    Nothing is shared: each fitted estimator holds (and pickles) a whole model, in
    float32, trained under autocast if ``precision`` is bfloat16. Intended as a baseline.

    Examples
    --------
    >>> from sklearn_lntune.tuning import FullTuning
    >>> FullTuning()
    FullTuning()
    """

    name = "full"
    default_lr = 3e-5  # benchmarks/methods.py
    private = True
    attach_order = 60

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """All parameters of the backbone."""
        return tuple(
            Array(weight.path, weight.name, weight.site, weight.block, weight.shape)
            for weight in anatomy.weights
            if not weight.path.startswith("contact_head")  # ESM's; no output depends on it
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Make every parameter of the private copy trainable."""
        if context.n_fits != 1:
            raise ValueError("full tuning shares no weights, so its fits do not stack.")
        learnt = {}
        for array in arrays:
            learnt[array.key] = context.shell.get_submodule(array.path).get_parameter(array.name)
            learnt[array.key].requires_grad_(True)
        return learnt

    def taxonomy(self) -> PeftRef:
        """Describe a change of the weights themselves."""
        return PeftRef("all weights", "none", "direct addition")

    def check_sum(self, others: tuple[TuningMethod, ...]) -> None:
        """Refuse any sum."""
        if others:
            names = [method.name for method in (self, *others)]
            raise ValueError(
                f"tuning holds {names}: 'full' trains every weight already, so nothing adds to it."
            )

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Set the weights of the model."""
        from sklearn_lntune.tuning.layers.merging import set_weight

        for key, value in values.items():
            path, _, name = key.rpartition("/")
            set_weight(model, path, name, value)
