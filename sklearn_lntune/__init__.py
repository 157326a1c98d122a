"""LayerNorm tuning of frozen transformers for scikit-learn.

One frozen backbone, many tiny deltas. Names are imported when first used, so that
``import sklearn_lntune`` brings in neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn_lntune.backbone.pool import clear_backbones
    from sklearn_lntune.bank.delta_bank import DeltaBank
    from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
    from sklearn_lntune.estimators.loading import load
    from sklearn_lntune.estimators.regressor import LNTunedTransformerRegressor
    from sklearn_lntune.estimators.tagger import LNTunedTransformerTagger
    from sklearn_lntune.exceptions import (
        BackboneMismatchError,
        DamagedFileError,
        TrainingDivergedError,
    )
    from sklearn_lntune.fusion.context import fused_fits

__version__ = "0.1.0"

__all__ = [
    "BackboneMismatchError",
    "DamagedFileError",
    "DeltaBank",
    "LNTunedTransformerClassifier",
    "LNTunedTransformerRegressor",
    "LNTunedTransformerTagger",
    "TrainingDivergedError",
    "clear_backbones",
    "fused_fits",
    "load",
]

_HOMES = {
    "BackboneMismatchError": "exceptions",
    "DamagedFileError": "exceptions",
    "DeltaBank": "bank.delta_bank",
    "LNTunedTransformerClassifier": "estimators.classifier",
    "LNTunedTransformerRegressor": "estimators.regressor",
    "LNTunedTransformerTagger": "estimators.tagger",
    "TrainingDivergedError": "exceptions",
    "clear_backbones": "backbone.pool",
    "fused_fits": "fusion.context",
    "load": "estimators.loading",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in ("datasets", "inspection", "tuning"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "datasets", "inspection", "tuning"})
