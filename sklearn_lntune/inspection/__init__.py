"""Look inside a classifier: what is trained, and how much of it."""

from sklearn_lntune.inspection.parameters import parameter_report

__all__ = ["parameter_report"]
