"""Tuning methods, one per module; their sums and their names.

Every module here is imported with the package, so that the methods in it are registered.
None of them imports torch; `layers`, which does, is imported when a method is attached.
"""

from importlib import import_module
from pkgutil import iter_modules

from sklearn_lntune.tuning.adapter import AdapterTuning
from sklearn_lntune.tuning.base import Array, AttachContext, PeftRef, TuningMethod, TuningSum
from sklearn_lntune.tuning.bias import BiasTuning
from sklearn_lntune.tuning.full import FullTuning
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.lora import LoraTuning
from sklearn_lntune.tuning.prefix import PrefixTuning
from sklearn_lntune.tuning.registry import PRESETS, methods_of
from sklearn_lntune.tuning.scale import ScaleTuning

__all__ = [
    "PRESETS",
    "AdapterTuning",
    "Array",
    "AttachContext",
    "BiasTuning",
    "FullTuning",
    "LayerNormTuning",
    "LoraTuning",
    "PeftRef",
    "PrefixTuning",
    "ScaleTuning",
    "TuningMethod",
    "TuningSum",
    "methods_of",
]

for _module in iter_modules(__path__):
    if not _module.ispkg:
        import_module(f"{__name__}.{_module.name}")
