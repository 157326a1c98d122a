"""What torch.compile costs and gains: seconds to compile, and steps with and without it.

python -m benchmarks.compiling [--repeats 15]

Training is forward and backward with the gains and biases of the norms learnt, on the
default backbone, as a fit runs it. One network is compiled, its equal is not; they take
turns. The first two shapes may compile; further ones compile nothing anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.attention import SHAPES, padded_batch, surroundings
from benchmarks.speed import bare
from benchmarks.speed.workloads import wait
from sklearn_lntune.network import Network

RESULTS = Path(__file__).parent / "results" / "compiling.json"
N_CLASSES = 6


def training(net: Network, inputs: dict[str, torch.Tensor]) -> None:
    """Forward and backward."""
    bare.step(net, inputs, torch.zeros(len(inputs["input_ids"]), dtype=torch.long).to(net.device))


def prediction(net: Network, inputs: dict[str, torch.Tensor]) -> None:
    """Forward."""
    with torch.inference_mode():
        net(**inputs)


def seconds(step: Callable[..., None], net: Network, inputs: dict[str, torch.Tensor]) -> float:
    """Of one step."""
    wait()
    start = time.perf_counter()
    step(net, inputs)
    wait()
    return time.perf_counter() - start


def measured(step: Callable[..., None], repeats: int) -> dict[str, Any]:
    """Seconds to compile, and medians of both ways on each shape."""
    nets = {"plain": bare.network(N_CLASSES), "compiled": bare.network(N_CLASSES)}
    for net in nets.values():
        net.train(step is training)
    nets["compiled"].compile_body()
    batches = [padded_batch(*shape, nets["plain"].device) for shape in SHAPES]
    # That shapes vary may take a second shape to notice.
    compiling = sum(
        seconds(step, nets["compiled"], batch) - seconds(step, nets["plain"], batch)
        for batch in batches[:2]
    )
    shapes = []
    for (rows, length), batch in zip(SHAPES, batches, strict=True):
        taken: dict[str, list[float]] = {way: [] for way in nets}
        for repeat in range(repeats + 2):
            for way in list(nets)[:: 1 if repeat % 2 else -1]:
                taken[way].append(seconds(step, nets[way], batch))
        medians = {way: round(1e3 * statistics.median(taken[way][2:]), 2) for way in nets}
        shapes.append({"rows": rows, "length": length} | medians)
        print(step.__name__, shapes[-1], flush=True)
    return {"seconds to compile": round(compiling, 1), "shapes": shapes}


def main() -> None:
    """Measure training and prediction, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    net = bare.network(N_CLASSES)
    report = {
        "runs": {step.__name__: measured(step, repeats) for step in (training, prediction)},
        "repeats": repeats,
        "type": str(net.body.dtype).removeprefix("torch."),
        "device": str(net.device),
        **surroundings(),
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
