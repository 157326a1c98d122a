"""What the estimators with one answer per row share: images, pairs, windows of long texts."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from sklearn_lntune.checks import check_choice
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.inputs.base import Input, Opened
from sklearn_lntune.inputs.text.windows import LONG_TEXTS, PAIRS


@dataclass(eq=False, repr=False)
class RowEstimator(BaseTuned):
    """An estimator whose head reads one vector per row, or one made of several."""

    _: KW_ONLY
    image_column: str = "auto"
    long_texts: str = "truncate"
    stride: int = 0
    window_pooling: str = "mean"
    pairs: str = "auto"

    def _open(self, X: Any, y: Any = None, *, reset: bool, taken: Input | None = None) -> Opened:
        """The rows of ``X``; sentence pairs have no windows."""
        if reset:
            check_choice("long_texts", self.long_texts, LONG_TEXTS)
            check_choice("pairs", self.pairs, PAIRS)
        opened = super()._open(X, y, reset=reset, taken=taken)
        if reset and self.n_features_in_ == 2 and self.long_texts == "windows":
            raise ValueError(
                "long_texts='windows' cuts texts, and X holds sentence pairs, of which it is not "
                "clear what a window would be: pass long_texts='truncate', or join the two texts "
                "into one."
            )
        return opened
