"""Train every weight of the backbone: the expensive end of the scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn_lntune.tuning.base import TuningMethod

if TYPE_CHECKING:
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


class FullTuning(TuningMethod):
    """Full fine-tuning: learn all weights of the backbone.

    Nothing is shared: each fitted estimator holds (and pickles) a whole model, in
    float32, trained under autocast where ``precision`` says bfloat16. For comparison,
    and for those who can afford it. Its default learning rate is a customary one, not
    one that was measured here.

    Examples
    --------
    >>> from sklearn_lntune.tuning import FullTuning
    >>> FullTuning()
    FullTuning()
    """

    name = "full"
    default_lr = 1e-4
    private = True

    def attach(self, shell: nn.Module, anatomy: Anatomy, n_fits: int) -> dict[str, nn.Parameter]:
        """Make every parameter of the private copy trainable."""
        if n_fits != 1:
            raise ValueError("full tuning shares no weights, so its fits do not stack.")
        shell.requires_grad_(True)
        return {"/".join(path.rsplit(".", 1)): weight for path, weight in shell.named_parameters()}

    def count(self, anatomy: Anatomy) -> int:
        """All parameters of the backbone."""
        return anatomy.n_parameters
