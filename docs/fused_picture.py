"""The picture of the guide to fused fits: ``python docs/fused_picture.py``.

It shows how the rows of several fits pass through one frozen backbone, each row meeting
the gains and biases of its own fit at every norm, and the head of its own fit at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

#: The same file at each run.
plt.rcParams.update({"svg.hashsalt": "fused", "svg.fonttype": "none"})

COLOURS = ("#4477aa", "#cc6677", "#228833")
FITS = ("fit 1: lr 1e-3, fold 1", "fit 2: lr 1e-2, fold 1", "fit 3: lr 1e-3, fold 2")
#: Which fit each row of the batch belongs to: sorted by length, not by fit.
ROWS = (0, 2, 1, 1, 0, 2, 0, 1, 2)
LENGTHS = (9, 9, 8, 8, 7, 6, 6, 5, 5)
FROZEN = "#dddddd"
STAGES = ((3.5, "attention"), (5.9, "feed-forward"))


def box(axes: Any, x: float, width: float, label: str) -> None:
    """A frozen layer, across all rows."""
    shape = FancyBboxPatch(
        (x, 0.15), width, 8.75, boxstyle="round,pad=0.08", fc=FROZEN, ec="#888888"
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, 4.5, label, rotation=90, ha="center", va="center")


def stripe(axes: Any, x: float, row: int, fit: int, width: float) -> None:
    """What one row meets: something of its own fit."""
    axes.add_patch(plt.Rectangle((x, 8.25 - row), width, 0.55, color=COLOURS[fit], lw=0))


def draw(file: Path) -> None:
    """Write the picture to ``file``."""
    figure, axes = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    for row, (fit, length) in enumerate(zip(ROWS, LENGTHS, strict=True)):
        stripe(axes, 2.3 - 0.22 * length, row, fit, 0.22 * length)
        axes.plot([2.3, 10.2], [8.52 - row] * 2, color=COLOURS[fit], lw=1, zorder=0)
    for x, label in STAGES:
        box(axes, x, 0.9, label)
        for row, fit in enumerate(ROWS):
            stripe(axes, x + 1.3, row, fit, 0.45)
        axes.text(x + 1.52, 9.15, "gain, bias\nby row", ha="center", fontsize=8)
    for row, fit in enumerate(ROWS):
        stripe(axes, 9.0, row, fit, 0.7)
    axes.text(9.35, 9.15, "head\nby row", ha="center", fontsize=8)
    axes.text(8.2, 4.5, "…", ha="center", va="center", fontsize=16)
    axes.text(1.2, 9.15, "rows of a step,\nby length", ha="center", fontsize=8)
    axes.text(5.15, -0.35, "one frozen backbone (grey), read once for all rows", ha="center")
    for fit, label in enumerate(FITS):
        axes.text(10.4, 6.6 - 1.6 * fit, label, color=COLOURS[fit], va="center", fontsize=9)
        axes.text(10.4, 6.1 - 1.6 * fit, "own order, rate, end", va="center", fontsize=7)
    axes.set(xlim=(0.1, 13.2), ylim=(-0.7, 10.1))
    axes.axis("off")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parent / "guide" / "fused.svg")
