"""What a fit leaves behind, as plain values, and how it is kept."""

from sklearn_lntune.persistence.state import FittedState, check_format, portable, with_format

__all__ = ["FittedState", "check_format", "portable", "with_format"]
