"""What large jobs would cost on GPUs: a calculation from measured numbers and assumptions.

No GPU has been measured. python benchmarks/plan.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import speed_figures

RESULTS = Path(__file__).parent / "results"

# Assumed of a GPU; the first two are a data sheet's.
PEAK = 989e12  # bfloat16 operations a second, dense
MEMORY = 80e9  # bytes
SHARE = {"small": 0.10, "7B": 0.30}  # of the peak that is reached
EIGHT = 0.9  # of eight times one GPU that eight reach
CLASSES = 8


@dataclass(frozen=True)
class Model:
    """A backbone by its shape; sizes are the usual ones of such models."""

    blocks: int
    width: int
    weights: float  # that a token is multiplied by
    parameters: float
    learnt: int  # gains and biases, and the head


SMALL = Model(6, 384, 6 * 12 * 384**2, 22.7e6, 2 * 13 * 384 + 384 * CLASSES + CLASSES)
SEVEN = Model(32, 4096, 6.6e9, 7e9, (2 * 32 + 1) * 4096 + 4096 * CLASSES + CLASSES)


@dataclass(frozen=True)
class Scenario:
    """Texts that are seen in training, all epochs and tasks together."""

    name: str
    model: Model
    texts: float
    tokens: int
    tasks: int = 1

    @property
    def size(self) -> str:
        """Which assumed share of the peak holds."""
        return "7B" if self.model is SEVEN else "small"

    def hours(self, gpus: int) -> float:
        """Forward, and backward without gradients of frozen weights: 4 operations a weight."""
        speed = PEAK * SHARE[self.size] * (1 if gpus == 1 else gpus * EIGHT)
        return 4 * self.model.weights * self.texts * self.tokens / speed / 3600


SCENARIOS = [
    Scenario("100 million texts of 32 tokens, 1 epoch, MiniLM-L6", SMALL, 1e8, 32),
    Scenario("10,000 tasks: 1,000 texts of 32 tokens, 10 epochs, MiniLM-L6", SMALL, 1e8, 32, 10000),
    Scenario("1 million texts of 128 tokens, 1 epoch, 7B", SEVEN, 1e6, 128),
    Scenario("100 million texts of 32 tokens, 1 epoch, 7B", SEVEN, 1e8, 32),
]


def measured() -> dict[str, float]:
    """The committed measurements that the plan rests on."""
    run = next(run for run in speed_figures.load() if run["native_bfloat16"].iloc[0])
    fits = run[(run["part"] == "fit") & (run["who"] == "ours") & (run["workload"] == "trec")]
    most = fits[fits["rows"] == fits["rows"].max()]
    memory = json.loads((RESULTS / "memory.json").read_text("utf-8"))
    return {
        "texts a second, training, two CPU threads (TREC, MiniLM-L6)": most["rows"].iloc[0]
        / most["seconds"].median(),
        "kB a classifier, pickled": memory["pickle_kilobytes"],
        "MB a classifier that predicts, in memory": memory["added_a_classifier_megabytes"],
    }


def figures() -> dict[str, pd.DataFrame]:
    """What is measured, what is assumed, and what follows."""
    base = measured()
    rate, kilobytes, megabytes = base.values()
    assumed = {
        "GPU: peak, bfloat16, TFLOP/s": PEAK / 1e12,
        "GPU: memory, GB": MEMORY / 1e9,
        "share of the peak reached, MiniLM-L6 (many rows a step), %": 100 * SHARE["small"],
        "share of the peak reached, 7B, %": 100 * SHARE["7B"],
        "eight GPUs, % of eight times one": 100 * EIGHT,
        "operations a trained token and weight": 4,
        "classes": CLASSES,
    }
    rows = [
        {
            "job": each.name,
            "two CPU threads, texts as short as TREC's, h": each.texts / rate / 3600
            if each.model is SMALL
            else None,
            "1 GPU, h": each.hours(1),
            "8 GPUs, h": each.hours(8),
            "weights in bfloat16, GB": 2 * each.model.parameters / 1e9,
            "all-reduced a step, kB": 4 * each.model.learnt / 1e3 if each.tasks == 1 else 0.0,
            "all weights would be, MB": 4 * each.model.parameters / 1e6 if each.tasks == 1 else 0.0,
        }
        for each in SCENARIOS
    ]
    tasks = {
        "10,000 classifiers, pickled, GB": 1e4 * kilobytes / 1e6,
        "10,000 classifiers that predict, in memory, GB": 1e4 * megabytes / 1e3,
        "10,000 copies of MiniLM-L6 in float32, GB": 1e4 * 4 * SMALL.parameters / 1e9,
    }
    return {
        "measured": pd.Series(base, name="value").to_frame(),
        "assumed": pd.Series(assumed, name="value").to_frame(),
        "jobs": pd.DataFrame(rows).set_index("job"),
        "tasks": pd.Series(tasks, name="value").to_frame(),
    }


if __name__ == "__main__":
    for title, frame in figures().items():
        print(f"{title}:\n{frame.to_string()}\n")
