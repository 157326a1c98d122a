"""Inspect an estimator: what it trains, how a fit went, and which words decide."""

from sklearn_lntune.inspection.attribution_display import AttributionDisplay
from sklearn_lntune.inspection.delta_display import DeltaDisplay
from sklearn_lntune.inspection.explaining import explain
from sklearn_lntune.inspection.explanations import Explanation, Explanations
from sklearn_lntune.inspection.history_display import HistoryDisplay
from sklearn_lntune.inspection.parameter_display import ParameterDisplay
from sklearn_lntune.inspection.parameters import parameter_report

__all__ = [
    "AttributionDisplay",
    "DeltaDisplay",
    "Explanation",
    "Explanations",
    "HistoryDisplay",
    "ParameterDisplay",
    "explain",
    "parameter_report",
]
