"""Example data: an embedded set of support tickets, and real sets by name."""

from sklearn_lntune.datasets.real import fetch_text_dataset
from sklearn_lntune.datasets.support_tickets import load_support_tickets

__all__ = ["fetch_text_dataset", "load_support_tickets"]
