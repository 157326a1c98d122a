"""The result of a fit as plain values, and its files."""

from sklearn_lntune.persistence.state import FittedState, check_format, portable, with_format

__all__ = ["FittedState", "check_format", "portable", "with_format"]
