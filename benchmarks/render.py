"""Turn the committed results into the tables and plots of the documentation.

python benchmarks/render.py
"""

import arena
import compiling
import defaults
import fused
import images
import int8
import long_texts
import many
import methods
import pandas as pd
import recipe
import scale
import serving
import speed_tables
import tags
import targets
import trust
from harness import RESULTS, ROOT, lines, rst


def real_data() -> str:
    """Test accuracy of ``examples/real_data.py``, mean over seeds, with standard deviation."""
    frame = pd.DataFrame(lines(RESULTS / "real_data.jsonl"))
    groups = 100 * frame.groupby(["method", "set"], sort=False)["accuracy"].agg(["mean", "std"])
    spread = groups["std"].map(lambda std: "" if pd.isna(std) else f" ± {std:.1f}")
    wide = (groups["mean"].map("{:.1f}".format) + spread).unstack()  # noqa: PD010 - not numbers
    shown = wide.reindex(index=frame["method"].unique(), columns=frame["set"].unique())
    return rst(shown, disable_numparse=True)


FIGURES = {
    "arena": arena.figure,
    "artefacts": many.figure_artefacts,
    "bank": many.figure_bank,
    "compiling": compiling.figure,
    "defaults": defaults.figure,
    "fused": fused.figure,
    "images": images.figure,
    "int8": int8.figure,
    "long_texts": long_texts.figure,
    "memory": many.figure_memory,
    "methods": methods.figure,
    "real_data": real_data,
    "recipe": recipe.figure,
    "scale": scale.figure,
    "serving": serving.figure,
    "speed": speed_tables.figure,
    "tags": tags.figure,
    "targets": targets.figure,
    "trust": trust.figure,
}

if __name__ == "__main__":
    folder = ROOT / "docs" / "figures"
    for name, figure in FIGURES.items():
        (folder / f"{name}.rst").write_text(figure(), "utf-8")
    arena.plot(folder / "arena.svg")
    methods.plot(folder / "methods.svg")
    speed_tables.plot(folder / "speed.svg")
    trust.plot(folder / "trust.svg")
