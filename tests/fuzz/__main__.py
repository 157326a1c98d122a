"""Look for failures in many examples: ``make fuzz``.

Environment variables: ``FUZZ_EXAMPLES`` (20000) in all, ``FUZZ_SEED`` (a random one),
``FUZZ_ONLY`` (names of strategies, separated by commas).
"""

from __future__ import annotations

import logging
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.harness import explore
from fuzz.strategies import STRATEGIES
from fuzz.subject import Subject


def main() -> int:
    """Run, print counts by outcome, and say whether anything failed."""
    n = int(os.environ.get("FUZZ_EXAMPLES", "20000"))
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    only = [name for name in os.environ.get("FUZZ_ONLY", "").split(",") if name]
    chosen = {name: STRATEGIES[name] for name in only or STRATEGIES}
    whole = sum(share for _, share in chosen.values())
    logging.disable(logging.CRITICAL)
    print(f"FUZZ_SEED={seed}")
    row = "{:<12} {:>8} {:>8} {:>8} {:>8} {:>8}"
    print(row.format("strategy", "examples", "success", "our err.", "failure", "seconds"))
    tallies = {}
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Path(folder))
        os.chdir(folder)  # a parameter may be a relative path that is written to
        for name, (strategy, share) in chosen.items():
            began = time.perf_counter()
            tally = tallies[name] = explore(strategy, subject, math.ceil(n * share / whole), seed)
            took = time.perf_counter() - began
            counts = tally.total, tally.successes, tally.errors, tally.n_failures
            print(row.format(name, *counts, f"{took:.0f}"), flush=True)
    found = [tallies[name] for name in chosen]
    sums = [
        sum(each.total for each in found),
        sum(each.successes for each in found),
        sum(each.errors for each in found),
        sum(each.n_failures for each in found),
    ]
    print(row.format("all", *sums, ""))
    for name, tally in tallies.items():
        if tally.failures:
            print(f"\n{name}\n{tally.report()}")
    return int(sums[3] > 0)


if __name__ == "__main__":
    sys.exit(main())
