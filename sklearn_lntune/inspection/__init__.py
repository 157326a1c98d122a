"""Inspect a classifier: which parameters are trained, and how many."""

from sklearn_lntune.inspection.parameters import parameter_report

__all__ = ["parameter_report"]
