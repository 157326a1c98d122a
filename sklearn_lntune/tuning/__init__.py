"""What is trained: one file a method; how methods add up and are named."""

from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.full import FullTuning
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.names import methods_of

__all__ = ["FullTuning", "LayerNormTuning", "TuningMethod", "TuningSum", "methods_of"]
