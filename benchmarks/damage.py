"""How many of many single changed bytes `load` notices, in a saved folder and in a zip.

A classifier is fitted on the support tickets and saved as both. In each copy one byte at a
time is set to another value, anywhere in the zip, or anywhere in the files of the folder
that are checked (all but ``README.md``), and put back after loading.

    python benchmarks/damage.py [--changes 5000] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import sklearn_lntune
from sklearn_lntune import DamagedFileError, LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets

RESULTS = Path(__file__).parent / "results" / "damage.json"
CHECKED = ("SHA256SUMS", "config.json", "delta.safetensors")


def outcome(path: Path) -> str:
    """What `load` makes of the damage: its error, or nothing."""
    try:
        sklearn_lntune.load(path)
    except DamagedFileError:
        return "DamagedFileError"
    except Exception as error:
        return f"another error: {type(error).__name__}"
    return "unnoticed"


def damage(path: Path, files: list[Path], n: int, generator: np.random.Generator) -> Any:
    """Outcomes of ``n`` changes, each at one byte of ``files`` taken together."""
    sizes = [file.stat().st_size for file in files]
    ends = np.cumsum(sizes)
    counts: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for position in generator.integers(ends[-1], size=n).tolist():
        number = int(np.searchsorted(ends, position, side="right"))
        offset = position - int(ends[number]) + sizes[number]
        with open(files[number], "r+b", buffering=0) as stream:
            stream.seek(offset)
            before = stream.read(1)[0]
            stream.seek(offset)
            stream.write(bytes([before ^ int(generator.integers(1, 256))]))
            counts[outcome(path)] += 1
            stream.seek(offset)
            stream.write(bytes([before]))
        changed[files[number].name] += 1
    sklearn_lntune.load(path)  # all is as it was
    return {
        "changes": n,
        "bytes": int(ends[-1]),
        "unnoticed": counts["unnoticed"],
        "outcomes": dict(counts),
        "changes by file": dict(changed),
    }


def main() -> None:
    """Fit, save, damage, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=5000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    X, y = load_support_tickets(return_X_y=True)
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    clf.fit(X[:64], y[:64])
    generator = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as parent:
        folder, archive = Path(parent, "clf"), Path(parent, "clf.zip")
        clf.save(folder)
        clf.save(archive)
        files = [folder / name for name in CHECKED]
        kinds = {
            "folder": damage(folder, files, arguments.changes, generator),
            "zip": damage(archive, [archive], arguments.changes, generator),
        }
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "seed": arguments.seed,
        "changes": sum(kind["changes"] for kind in kinds.values()),
        "unnoticed": sum(kind["unnoticed"] for kind in kinds.values()),
        "kinds": kinds,
        "versions": {name: version(name) for name in ("numpy", "safetensors")},
    }
    print(json.dumps(report, indent=1))
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
