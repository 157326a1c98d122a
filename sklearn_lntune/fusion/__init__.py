"""Many fits run as one: the joblib backend, the coordinator and the lock-step trainer."""

from sklearn_lntune.fusion.context import fused_fits

__all__ = ["fused_fits"]
