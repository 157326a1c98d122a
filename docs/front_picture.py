"""The picture of the first page, from the committed results: ``python docs/front_picture.py``.

On the left, test accuracies; on the right, what one more classifier takes on disk. Also draws the
thumbnail of examples without a picture.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

#: The same file at each run.
plt.rcParams.update({"svg.hashsalt": "front", "svg.fonttype": "none", "font.size": 10})

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
COLOURS = {
    "TF-IDF + logistic regression": "#bbbbbb",
    "frozen embeddings + logistic regression": "#56B4E9",
    "LayerNorm tuning": "#0072B2",
}
SETS = {"trec": "TREC", "banking77": "Banking77", "mrpc": "MRPC (pairs)"}


def accuracies() -> dict[str, list[float]]:
    """Mean test accuracy of each method on each set, in percent."""
    runs = [json.loads(line) for line in (RESULTS / "real_data.jsonl").read_text().splitlines()]
    return {
        method: [
            100 * mean(r["accuracy"] for r in runs if (r["method"], r["set"]) == (method, name))
            for name in SETS
        ]
        for method in COLOURS
    }


def draw_accuracies(axes: Any) -> None:
    width = 0.27
    for number, (method, values) in enumerate(accuracies().items()):
        places = [at + (number - 1) * width for at in range(len(SETS))]
        bars = axes.bar(places, values, width, color=COLOURS[method], label=method)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(SETS)), SETS.values())
    axes.set(ylim=(0, 112), title="test accuracy, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=8, frameon=False)


def draw_sizes(axes: Any) -> None:
    kilobytes = json.loads((RESULTS / "artefacts.json").read_text())["kilobytes"]
    sizes = {
        "a whole model": kilobytes["transformers"],
        "this package": kilobytes["saved.zip"],
    }
    bars = axes.barh(list(sizes), list(sizes.values()), color=["#bbbbbb", "#0072B2"], height=0.5)
    texts = [
        f"{size / 1000:,.0f} MB" if size > 1000 else f"{size:.0f} kB" for size in sizes.values()
    ]
    axes.bar_label(bars, texts, padding=4)
    axes.set(xlim=(0, 1.25 * max(sizes.values())), xticks=[])
    axes.set_title("a saved classifier of 77 classes")
    axes.set_xlabel("The backbone is loaded once and shared by all.", fontsize=8)


def draw(file: Path) -> None:
    """Write the picture to ``file``."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=[3, 2]
    )
    draw_accuracies(left)
    draw_sizes(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks([])
    left.spines["left"].set_visible(False)
    right.spines["bottom"].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def draw_thumbnail(file: Path) -> None:
    """Write the thumbnail: many classifiers over one backbone."""
    figure, axes = plt.subplots(figsize=(4, 2.8), dpi=75)
    axes.add_patch(plt.Rectangle((0, 0), 9, 2.2, color="#dddddd"))
    axes.text(4.5, 1.1, "backbone", ha="center", va="center", fontsize=20, color="#555555")
    for number in range(5):
        at = (0.3 + 1.8 * number, 2.8)
        axes.add_patch(plt.Rectangle(at, 1.2, 1.2, color=list(COLOURS.values())[-1]))
    axes.set(xlim=(-0.5, 9.5), ylim=(-0.5, 5))
    axes.axis("off")
    figure.savefig(file, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(DOCS / "figures" / "front.svg")
    draw_thumbnail(DOCS / "figures" / "thumbnail.png")
