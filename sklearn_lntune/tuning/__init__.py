"""What is trained: one file a method; how methods add up and are named."""

from sklearn_lntune.tuning.adapter import AdapterTuning
from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.bias import BiasTuning
from sklearn_lntune.tuning.full import FullTuning
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.lora import LoraTuning
from sklearn_lntune.tuning.prefix import PrefixTuning
from sklearn_lntune.tuning.registry import PRESETS, methods_of

__all__ = [
    "PRESETS",
    "AdapterTuning",
    "BiasTuning",
    "FullTuning",
    "LayerNormTuning",
    "LoraTuning",
    "PrefixTuning",
    "TuningMethod",
    "TuningSum",
    "methods_of",
]
