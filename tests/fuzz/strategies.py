"""All strategies by name, each with its share of the examples."""

from __future__ import annotations

from fuzz.folders import folders
from fuzz.harness import Example
from fuzz.inputs import banks, labels, texts, validation, weights
from fuzz.parameters import parameters, tunings
from fuzz.saved import adapters, checkpoints, damaged, forged
from fuzz.targets import indicators, numbers, tags
from hypothesis.strategies import SearchStrategy

STRATEGIES: dict[str, tuple[SearchStrategy[Example], float]] = {
    "texts": (texts(), 0.17),
    "labels": (labels(), 0.17),
    "weights": (weights(), 0.12),
    "validation": (validation(), 0.06),
    "parameters": (parameters(), 0.16),
    "tunings": (tunings(), 0.08),
    "damaged": (damaged(), 0.07),
    "forged": (forged(), 0.09),
    "adapters": (adapters(), 0.03),
    "checkpoints": (checkpoints(), 0.03),
    "numbers": (numbers(), 0.05),
    "indicators": (indicators(), 0.05),
    "tags": (tags(), 0.06),
    "banks": (banks(), 0.03),
    "folders": (folders(), 0.06),
}
