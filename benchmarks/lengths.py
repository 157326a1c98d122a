"""What a new length of a batch costs, and what filling rows up to fewer lengths saves.

python -m benchmarks.lengths [--passes 7]

Steps of LayerNorm tuning on the default backbone, in the training type of this machine, over
batches of 32 rows of every length from 8 to 40 in a fixed random order: a first pass, in
which each length is new, and further ones. Each way runs in a process of its own, since what
is compiled stays for the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.attention import padded_batch, surroundings
from benchmarks.speed import bare
from sklearn_lntune import network

RESULTS = Path(__file__).parent / "results" / "lengths.json"
ROWS, LENGTHS = 32, range(8, 41)
WAYS = ("as they come", "filled up")


def measured(way: str, passes: int) -> dict[str, float]:
    """Seconds of the first pass and, by median, of later ones; memory added by all."""
    if way == "as they come":
        network.padded_length = lambda n_tokens, *_: n_tokens
    net = bare.network(6)
    codes = torch.zeros(ROWS, dtype=torch.long)
    batches = [padded_batch(ROWS, length, net.device) for length in LENGTHS]
    order = np.random.default_rng(0).permutation(len(batches))
    longest = padded_batch(ROWS, 2 * max(LENGTHS), net.device)
    for _ in range(3):  # the heap has room for any of them afterwards
        bare.step(net, longest, codes)
    before = psutil.Process().memory_info().rss
    taken = []
    for _ in range(passes):
        start = time.perf_counter()
        for number in order:
            bare.step(net, batches[number], codes)
        taken.append(time.perf_counter() - start)
    added = psutil.Process().memory_info().rss - before
    return {
        "first pass, s": round(taken[0], 2),
        "later passes, s": round(statistics.median(taken[1:]), 2),
        "memory added, MB": round(added / 1e6),
    }


def main() -> None:
    """Measure both ways by turns, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.child, arguments.passes)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.turns):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.lengths", "--child", way]
            command += ["--passes", str(arguments.passes)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(way, found[way][-1], flush=True)
    runs = {
        way: {name: statistics.median(each[name] for each in own) for name in own[0]}
        for way, own in found.items()
    }
    report = {
        "runs": runs,
        "lengths": len(LENGTHS),
        "turns": arguments.turns,
        "passes": arguments.passes,
        "type": str(bare.network(6).body.dtype).removeprefix("torch."),
        **surroundings(),
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
