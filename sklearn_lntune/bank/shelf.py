"""Saved classifiers in a folder, by name."""

from __future__ import annotations

import os
from pathlib import Path

from sklearn_lntune.persistence.replacing import standing, standing_in
from sklearn_lntune.persistence.sealed import is_zip
from sklearn_lntune.persistence.sums import SUMS


def saved_in(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The saved classifiers in ``folder``: zips by their stem, folders by their name.

    Raises
    ------
    ValueError
        If there is no such folder, or two of them have one name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"folder must be a folder of saved classifiers; {root} is none.")
    found: dict[str, Path] = {}
    for path in standing_in(root):
        there = standing(path) or path
        zipped = there.is_file() and is_zip(path)
        if not (zipped or (there / SUMS).is_file()):
            continue
        name = path.stem if zipped else path.name
        if name in found:
            raise ValueError(f"{found[name]} and {path} would both be called {name!r}; rename one.")
        found[name] = path
    return found


def size_of(path: Path) -> int:
    """Size of a saved classifier, which is about that of its delta; 0 if it does not exist."""
    try:
        files = [path] if path.is_file() else list(path.glob("*.safetensors"))
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0
