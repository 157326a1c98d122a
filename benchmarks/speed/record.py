"""Records of measured runs: a line of JSON each, so that an interrupted run goes on."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

from sklearn_lntune.backbone.placement import place_fit
from sklearn_lntune.backbone.where import Where

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed.jsonl"
_PACKAGES = ("torch", "transformers", "peft", "skorch", "sentence-transformers", "setfit")


def training_type() -> torch.dtype:
    """What ``precision="auto"`` trains in here."""
    return place_fit(Where(), torch.float32).train_type


@functools.cache
def machine() -> dict[str, Any]:
    """What a time depends on, beside the work."""
    return {
        "cpu": _cpu_name(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "native_bfloat16": training_type() == torch.bfloat16,
        "code": _code(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


class Run:
    """The records of one run: those of an earlier, unfinished one are used again.

    A run goes on only on the same machine, with the same versions and the same code;
    otherwise a new one begins.

    Parameters
    ----------
    mode : {"short", "full"}
        What is to be measured.
    file : Path
    """

    def __init__(self, mode: str, file: Path = RESULTS) -> None:
        self._file = file
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        here = machine() | {"mode": mode}
        known = [json.loads(line) for line in lines]
        known = [each for each in known if here.items() <= each.items()]
        finished = {each["run"] for each in known if each["part"] == "finished"}
        open_runs = [each["run"] for each in known if each["run"] not in finished]
        self.name = max(open_runs, default=datetime.now().isoformat())
        self._known = [each for each in known if each["run"] == self.name]
        self._about = here | {"run": self.name}

    def kept(self, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record with ``key``; measured and appended where there is none."""
        for known in self._known:
            if key.items() <= known.items():
                return dict(known)
        with _Watch() as watch:
            made = key | make()
        made["others"] = watch.others
        print("  ".join(f"{k}={_short(v)}" for k, v in made.items()), flush=True)
        record = made | self._about | {"date": time.strftime("%Y-%m-%d")}
        self._known.append(record)
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        return record

    def frame(self) -> pd.DataFrame:
        """All records of this run."""
        return pd.DataFrame(self._known)


class _Watch:
    """How many cores other processes took on average: a time is sound where few did."""

    others: float

    def __enter__(self) -> _Watch:
        self._start = self._busy()
        return self

    def __exit__(self, *error: object) -> None:
        end, busy = self._busy()
        start, busy_before = self._start
        self.others = round(max(0.0, (busy - busy_before) / max(end - start, 0.1)), 2)

    @staticmethod
    def _busy() -> tuple[float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = sum(psutil.Process().cpu_times()[:4])  # children that have ended, too
        return time.perf_counter(), sum(times) - getattr(times, "guest", 0.0) - idle - own


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in info.read_text("utf-8").splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    if "model name" not in facts:
        return platform.machine()
    return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"


def _code() -> str:
    """Digest of the source measured and measuring, so that no run mixes two states of it."""
    digest = hashlib.sha256()
    for folder in ("sklearn_lntune", "benchmarks/speed"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
