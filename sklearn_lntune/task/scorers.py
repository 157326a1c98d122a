"""What the parameter ``scoring`` may be."""

from __future__ import annotations

from typing import Any

from sklearn.metrics import get_scorer


def check_scoring(scoring: Any) -> Any:
    """The scorer named ``scoring``, or the callable itself; ``"loss"`` is returned as it is."""
    if callable(scoring) or (isinstance(scoring, str) and scoring == "loss"):
        return scoring
    try:
        if scoring is None:
            raise ValueError("None is no scorer's name")
        return get_scorer(scoring)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"scoring must be 'loss', a scorer's name or a callable; got {scoring!r}. "
            "sklearn.metrics.get_scorer_names() lists the names."
        ) from error
