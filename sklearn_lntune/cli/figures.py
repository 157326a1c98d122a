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
_COLOUR = "#4878a8"


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


def draw_figures(
    file: Path, found: dict[str, Any], y_true: Sequence[Any], y_pred: Sequence[Any]
) -> None:
    """Draw what was found about answers: a confusion matrix, bars by label, or points."""
    if "confusion" in found:
        draw_confusion(file, list(found["classes"]), found["confusion"])
    elif "classes" in found:
        f1 = {name: each["f1"] for name, each in found["classes"].items()}
        draw_bars(file, {name: 100 * f1[name] for name in reversed(f1)}, "F1, %", high=108)
    else:
        _draw_numbers(file, y_true, y_pred)


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


def draw_comparison(file: Path, rows: Sequence[dict[str, Any]], score: str) -> None:
    """Draw the ``score`` of each method as a bar, best on top."""
    values = {row["method"]: 100 * float(row[score]) for row in rows}
    ordered = dict(sorted(values.items(), key=lambda item: item[1]))
    # R2 may be negative.
    high = 108 if min(ordered.values()) >= 0 else None
    draw_bars(file, ordered, f"{score.replace('_', ' ')}, %", high=high)


def draw_bars(file: Path, values: dict[str, float], title: str, *, high: float | None) -> None:
    """Draw a bar for each value, the first at the bottom, from 0 to ``high``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, min(1.2 + 0.5 * len(values), 24)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()), color=_COLOUR)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    if high is not None:
        axes.set_xlim(0, high)
    axes.set_xlabel(title)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _draw_numbers(file: Path, y_true: Sequence[Any], y_pred: Sequence[Any]) -> None:
    """Draw predicted over actual numbers, a colour for each column."""
    import numpy as np
    from matplotlib.figure import Figure

    truth, found = (np.array(rows, float).reshape(len(rows), -1) for rows in (y_true, y_pred))
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    for column in range(truth.shape[1]):
        axes.scatter(truth[:, column], found[:, column], s=12, alpha=0.5)
    axes.axline((truth.min(), truth.min()), slope=1, color="grey", linewidth=1)
    axes.set_xlabel("actual")
    axes.set_ylabel("predicted")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    with written(file) as fresh:
        figure.savefig(fresh, format=file.suffix[1:].lower(), dpi=150)
