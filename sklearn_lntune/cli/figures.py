"""Pictures for the commands, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sklearn_lntune.cli.output import written

_ENDINGS = (".png", ".svg", ".pdf")
#: Largest matrix whose cells carry their numbers.
_MAX_NUMBERED = 20


def check_figure(file: Path | None) -> None:
    """Raise unless ``file`` can be drawn, before any long work.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the name ends in another format.
    """
    if file is None:
        return
    if file.suffix.lower() not in _ENDINGS:
        raise ValueError(f"{file}: a picture's name ends in {', '.join(_ENDINGS)}")
    if find_spec("matplotlib") is None:
        raise ImportError("pictures need matplotlib: pip install 'sklearn-lntune[cli]'")


def draw_confusion(file: Path, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """Draw a confusion matrix; rows are shaded by their share."""
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(2.5 + 0.45 * len(classes), 24)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    if len(classes) <= _MAX_NUMBERED:
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, count, ha="center", va="center", color="wk"[int(shares[i, j] < 0.5)])
    figure.colorbar(image, label="share of the actual class", shrink=0.8)
    _save(figure, file)


def draw_comparison(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the accuracy of each method as a bar, best on top."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: float(row["accuracy"]))
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    names = [row["method"] for row in ordered]
    bars = axes.barh(names, [100 * row["accuracy"] for row in ordered], color="#4878a8")
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlim(0, 108)
    axes.set_xlabel("accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    with written(file) as fresh:
        figure.savefig(fresh, format=file.suffix[1:].lower(), dpi=150)
