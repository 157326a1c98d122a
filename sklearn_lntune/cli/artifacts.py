"""What a training leaves behind: the classifier, its figures and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn_lntune.cli.data import Labelled
from sklearn_lntune.cli.output import write_json, written
from sklearn_lntune.persistence.document import CONFIG, DELTA
from sklearn_lntune.persistence.sealed import check_target, is_zip, read_sealed
from sklearn_lntune.persistence.sums import CARD


class Files:
    """The files that a training writes.

    Parameters
    ----------
    output : Path
        The classifier; the names of the others begin as this one does.
    """

    def __init__(self, output: Path) -> None:
        self.classifier = output
        stem = output.with_suffix("") if is_zip(output) else output
        self.metrics = stem.with_name(f"{stem.name}.metrics.json")
        # In a folder, the card is README.md, as on the hub.
        self.card = stem.with_name(f"{stem.name}.md") if is_zip(output) else None

    @property
    def all(self) -> list[Path]:
        """Those that there are."""
        return [file for file in (self.classifier, self.metrics, self.card) if file is not None]

    def check(self) -> None:
        """Raise a ValueError if the classifier would replace something else."""
        check_target(self.classifier, (CONFIG, DELTA))

    def write(self, clf: Any, metrics: dict[str, float], found: dict[str, Any], data: str) -> None:
        """Write the classifier with its ``metrics``, all that was ``found``, and the card."""
        clf.set_params(verbose=0)
        clf.save(self.classifier, metrics=metrics, data=data)
        about = {"classifier": self.classifier.name, "data": data, "n_steps": clf.n_steps_}
        write_json(self.metrics, {**about, **found})
        if self.card is not None:
            with written(self.card) as fresh:
                fresh.write_bytes(read_sealed(self.classifier, only=(CARD,))[CARD])


def describe(data: str, rows: Labelled, test: str | None, scored: Labelled | None) -> str:
    """A line about the data, for the model card."""
    line = f"{len(rows):,} rows of {Path(data).name}"
    if scored is None:
        return line
    origin = "held out from it" if test is None else f"of {Path(test).name}"
    return f"{line}; scored on {len(scored):,} rows {origin}"
