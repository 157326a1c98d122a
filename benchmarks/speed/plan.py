"""How many rows and turns each part takes, in the short and in the full version."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from .fits import BEST, ENCODE, FULL, PEFT, SETFIT, SKORCH, SKORCH_LONGEST

#: Ours, with large blocks given back to the system at once.
THRIFTY = "ours; MALLOC_MMAP_THRESHOLD_=1048576"
TRAINERS = (PEFT, BEST, FULL)
OTHERS = (SKORCH, SKORCH_LONGEST, SETFIT, ENCODE)


@dataclass(frozen=True)
class Contest:
    """Fits of our and of ``peers`` on the same rows; ``rows=None`` is all."""

    workload: str
    rows: int | None
    peers: tuple[str, ...]
    turns: int


@dataclass(frozen=True)
class Plan:
    """What a version measures; numbers are rows.

    Attributes
    ----------
    whole : dict
        Whole fits against their bare steps, a workload each.
    fits : tuple of Contest
    predict, memory : dict
        A workload each.
    memory_of : tuple of str
        Contestants whose memory is measured.
    trunk : int
    grid : tuple
        Layers whose grid is timed.
    turns : int
        Of whole fits and of fits on kept activations.
    """

    whole: dict[str, int | None]
    fits: tuple[Contest, ...]
    predict: dict[str, int]
    memory: dict[str, int]
    memory_of: tuple[str, ...]
    trunk: int
    grid: tuple[Any, ...]
    turns: int

    def only(self, names: Collection[str]) -> Plan:
        """What concerns the workloads ``names``."""
        return replace(
            self,
            whole={name: rows for name, rows in self.whole.items() if name in names},
            fits=tuple(each for each in self.fits if each.workload in names),
            predict={name: rows for name, rows in self.predict.items() if name in names},
            memory={name: rows for name, rows in self.memory.items() if name in names},
        )


PLANS = {
    "tiny": Plan(
        whole={"trec": 96, "banking77": 96},
        fits=(
            Contest("trec", 96, TRAINERS + OTHERS, 1),
            Contest("mrpc", 64, TRAINERS + OTHERS, 1),
            Contest("imdb, 512 tokens", 32, (PEFT,), 1),
        ),
        predict={"trec": 32},
        memory={"trec": 64},
        memory_of=("ours", THRIFTY, PEFT, FULL, SKORCH),
        trunk=64,
        grid=(2,),
        turns=1,
    ),
    "short": Plan(
        whole={"trec": None, "banking77": 2000},
        fits=(
            Contest("trec", 768, TRAINERS, 3),
            Contest("trec", 128, OTHERS, 1),
            Contest("banking77", 256, TRAINERS, 1),
            Contest("mrpc", 128, TRAINERS, 1),
            Contest("imdb, 256 tokens", 64, (PEFT,), 1),
            Contest("imdb, 512 tokens", 16, (PEFT,), 1),
            Contest("20newsgroups", 64, (PEFT, FULL), 1),
        ),
        predict={"trec": 500},
        memory={"trec": 256, "imdb, 256 tokens": 32},
        memory_of=("ours", THRIFTY, PEFT, FULL),
        trunk=256,
        grid=(2,),
        turns=1,
    ),
    "full": Plan(
        whole={"trec": None, "banking77": None},
        fits=(
            Contest("trec", None, TRAINERS, 3),
            Contest("trec", 256, OTHERS, 3),
            Contest("banking77", 4000, TRAINERS, 1),
            Contest("banking77", 256, OTHERS, 1),
            Contest("mrpc", 1024, TRAINERS, 2),
            Contest("imdb, 256 tokens", 128, TRAINERS + OTHERS, 1),
            Contest("imdb, 512 tokens", 96, TRAINERS + OTHERS, 1),
            Contest("20newsgroups", 192, TRAINERS + OTHERS, 1),
        ),
        predict={"trec": 500, "banking77": 1000, "imdb, 256 tokens": 200, "20newsgroups": 200},
        memory={"trec": 1024, "imdb, 256 tokens": 64},
        memory_of=("ours", THRIFTY, PEFT, FULL, SKORCH, SKORCH_LONGEST),
        trunk=1024,
        grid=(2, "all"),
        turns=3,
    ),
}
