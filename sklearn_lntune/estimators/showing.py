"""What scikit-learn's HTML display of an estimator shows besides its parameters."""

from __future__ import annotations

from pathlib import PurePath
from types import SimpleNamespace
from typing import Any


def visual_block(estimator: Any) -> Any:
    """The estimator as a block of scikit-learn's display, with a caption once it is fitted."""
    # What scikit-learn reads of its own blocks, whose class is private and has moved.
    return SimpleNamespace(
        kind="single",
        estimators=estimator,
        names=type(estimator).__name__,
        name_details=str(estimator),
        name_caption=_caption(estimator) if hasattr(estimator, "delta_") else None,
        doc_link_label=None,
        dash_wrapped=True,
    )


def _caption(estimator: Any) -> str:
    """The backbone, what is trained, and its size, from the fitted attributes alone."""
    backbone, delta = estimator.backbone_, estimator.delta_
    trained = sum(value.size for name, value in delta.items() if not name.startswith("head/"))
    parts = [PurePath(backbone["name"]).name, f"{trained:,} trained parameters"]
    if "parameters" in backbone:  # the oldest files do not tell
        parts[-1] += f" ({100 * trained / backbone['parameters']:.2g} %)"
    size = sum(value.nbytes for value in delta.values())
    return ", ".join([*parts, f"{size / 1000:,.0f} kB with the head"])
