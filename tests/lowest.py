"""Print the oldest version that pyproject.toml allows of each dependency, as pip's constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

#: Extras that a user installs; those for building, testing and benchmarks may be new.
EXTRAS = ("cluster", "distributed", "onnx", "ray")


def oldest(requirements: list[str]) -> list[str]:
    """``name==version`` for each ``name>=version``.

    >>> oldest(["dask[distributed]>=2025.1", "numpy>=2.0"])
    ['dask==2025.1', 'numpy==2.0']
    """
    return [re.sub(r"(\[.*\])?>=", "==", each) for each in requirements]


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = sum((extras[name] for name in EXTRAS), project["dependencies"])
    print("\n".join(oldest(requirements)))
