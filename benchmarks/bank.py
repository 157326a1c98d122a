"""Many tasks at prediction: memory and texts per second of mixed traffic.

A classifier is fitted on a part of TREC, by LayerNorm tuning and by LoRA; the others are
the same one with other numbers. Each text of the traffic asks another task. Contestants
are one `DeltaBank` of 1 to 1,000 tasks, the same classifiers asked one after the other,
full copies of a transformers model, and peft's batches of mixed adapters (LoRA; peft's
LayerNorm tuning cannot mix, which is tried out). Each lives in a process of its own, they
take turns, and nobody keeps tokens from one round to the next.

    python benchmarks/bank.py [--texts 512] [--rounds 5]
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import torch
from artefacts import varied

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.classifier import DEFAULT_BACKBONE
from sklearn_lntune.datasets import fetch_text_dataset

RESULTS = Path(__file__).parent / "results" / "bank.json"
TUNINGS = ("layernorm", "lora")
RANK, ALPHA = 8, 16
#: Tokens a batch, for those who batch by hand: what a prediction of ours takes.
N_TOKENS = 4096

Round = Callable[[list[str], list[str]], np.ndarray]


def fitted(tuning: str) -> LNTunedTransformerClassifier:
    """A classifier of six classes."""
    X, y = fetch_text_dataset("trec")
    clf = LNTunedTransformerClassifier(
        tuning=tuning, max_epochs=1, min_steps=0, random_state=0, precision="float32"
    )
    if tuning == "lora":
        clf.set_params(tuning__lora__rank=RANK, tuning__lora__alpha=ALPHA)
    return clf.fit(list(X[:256]), list(y[:256]))


def names_of(n: int) -> list[str]:
    """Names of tasks."""
    return [f"task{i}" for i in range(n)]


# -- contestants: each makes what answers texts with the names of their tasks -----------


def bank(folder: Path, n: int, tuning: str = "layernorm") -> Round:
    """One `DeltaBank`."""
    made = DeltaBank()
    for i, name in enumerate(names_of(n)):
        made.add(name, varied(joblib.load(folder / tuning), i))
    _kept["bank"] = made
    return lambda texts, tasks: made.predict(texts, tasks=tasks)


def bank_lora(folder: Path, n: int) -> Round:
    """One `DeltaBank` of LoRA."""
    return bank(folder, n, "lora")


def one_by_one(folder: Path, n: int) -> Round:
    """Our classifiers, each asked for its own texts."""
    classifiers = {
        name: varied(joblib.load(folder / "layernorm"), i) for i, name in enumerate(names_of(n))
    }
    return _task_by_task(lambda task, texts: classifiers[task].predict(texts))


def separate(folder: Path, n: int) -> Round:
    """Full copies of a model with a head."""
    tokenizer, load = _transformers()
    first = load()
    models = {name: copy.deepcopy(first) for name in names_of(n)}

    def answer(task: str, texts: list[str]) -> np.ndarray:
        return _logits(models[task], tokenizer, texts).argmax(1)

    return _task_by_task(answer)


def peft_mixed(folder: Path, n: int) -> Round:
    """One model of peft's with many LoRA adapters, mixed in each batch."""
    from peft import LoraConfig, TaskType, get_peft_model

    tokenizer, load = _transformers()
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"]
    )
    first, *others = names_of(n)
    model = get_peft_model(load(), config, adapter_name=first)
    for name in others:
        model.add_adapter(name, config)
    model.eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # so that adapters differ
            torch.nn.init.normal_(weight.data, std=0.02)
    return lambda texts, tasks: _logits(model, tokenizer, texts, adapter_names=tasks).argmax(1)


CONTESTANTS: dict[str, tuple[Callable[[Path, int], Round], int]] = {
    "DeltaBank, 1": (bank, 1),
    "DeltaBank, 10": (bank, 10),
    "DeltaBank, 100": (bank, 100),
    "DeltaBank, 1000": (bank, 1000),
    "classifiers one by one, 100": (one_by_one, 100),
    "separate models": (separate, 100),
    "DeltaBank of LoRA, 100": (bank_lora, 100),
    "peft, mixed LoRA batch, 100": (peft_mixed, 100),
}
_kept: dict[str, DeltaBank] = {}


def _task_by_task(answer: Callable[[str, list[str]], np.ndarray]) -> Round:
    def go(texts: list[str], tasks: list[str]) -> np.ndarray:
        rows: dict[str, list[int]] = {}
        for row, task in enumerate(tasks):
            rows.setdefault(task, []).append(row)
        found = np.empty(len(texts), object)
        for task, own in rows.items():
            found[own] = answer(task, [texts[row] for row in own])
        return found

    return go


def _transformers() -> tuple[Any, Callable[[], Any]]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = resolve(DEFAULT_BACKBONE).folder

    def load() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=6, dtype=torch.float32
        ).eval()

    return AutoTokenizer.from_pretrained(folder), load


def _logits(
    model: Any, tokenizer: Any, texts: list[str], adapter_names: list[str] | None = None
) -> np.ndarray:
    """Batches of like length, as one would write them by hand."""
    ids = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(texts)), key=lambda row: -len(ids[row]))
    found = np.empty((len(texts), 6), np.float32)
    while order:
        size = max(1, N_TOKENS // len(ids[order[0]]))
        rows, order = order[:size], order[size:]
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        if adapter_names is not None:
            batch["adapter_names"] = [adapter_names[row] for row in rows]
        with torch.inference_mode():
            found[rows] = model(**batch).logits.numpy()
    return found


def peft_layernorm() -> str:
    """What peft does with a mixed batch of LayerNorm adapters."""
    import peft

    tokenizer, load = _transformers()
    config = peft.LNTuningConfig(
        task_type=peft.TaskType.SEQ_CLS, target_modules=["LayerNorm"], modules_to_save=[]
    )
    model = peft.get_peft_model(load(), config, adapter_name="task0")
    model.add_adapter("task1", config)
    for name, weight in model.named_parameters():
        if "task1" in name and "LayerNorm" in name:
            weight.data += 1.0
    model.set_adapter("task0")
    model.eval()
    texts = ["a text", "a text"]
    try:
        mixed = _logits(model, tokenizer, texts, adapter_names=["task0", "task1"])
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    active = _logits(model, tokenizer, texts)
    return "ignored: all rows get the active adapter" if np.allclose(mixed, active) else "works"


# -- measuring ---------------------------------------------------------------------------


def live(channel: Any, who: str, folder: Path, n: int) -> None:
    """A contestant's process: build, then answer as often as asked."""
    build, _ = CONTESTANTS[who]
    try:
        answer = build(folder, n)
        channel.send(None)
        while (asked := channel.recv()) is not None:
            if asked == "memory":
                gc.collect()
                channel.send(psutil.Process().memory_info().rss / 1e6)
            elif asked == "add":
                channel.send(_seconds_to_add(folder))
            else:
                start = time.perf_counter()
                found = answer(*asked)
                channel.send((time.perf_counter() - start, len(found)))
    except BaseException as error:
        channel.send(repr(error))
        raise


def _seconds_to_add(folder: Path) -> float:
    """Median time to take in one more."""
    seconds = []
    for i in range(20):
        clf = varied(joblib.load(folder / "layernorm"), i)
        start = time.perf_counter()
        _kept["bank"].add(f"new{i}", clf)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Contestant:
    """A process and the way to it."""

    def __init__(self, who: str, folder: Path, n: int) -> None:
        context = multiprocessing.get_context("forkserver")  # imports once
        context.set_forkserver_preload(["bank"])
        self.n_tasks = n
        self.seconds: list[float] = []
        self._channel, there = context.Pipe()
        self._process = context.Process(target=live, args=(there, who, folder, n), daemon=True)
        self._process.start()
        if (error := self._channel.recv()) is not None:
            raise RuntimeError(f"{who}: {error}")

    def ask(self, what: Any) -> Any:
        """Its answer."""
        self._channel.send(what)
        return self._channel.recv()

    def end(self) -> None:
        """Let its process end."""
        self._channel.send(None)
        self._process.join()


def main() -> None:
    """Fit, build all, take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    texts = list(fetch_text_dataset("trec")[0][-arguments.texts :])
    # As many full models as fit into half of what is free.
    sane = int(psutil.virtual_memory().available // 2 // 100e6)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        for tuning in TUNINGS:
            joblib.dump(fitted(tuning), folder / tuning)
        delta = joblib.load(folder / "layernorm").delta_
        running = {}
        for who, (_, n) in CONTESTANTS.items():
            running[who] = Contestant(who, folder, min(n, sane) if who == "separate models" else n)
            print(who, "is ready", flush=True)
        for number in range(-1, arguments.rounds):
            for contestant in running.values():
                tasks = [f"task{i % contestant.n_tasks}" for i in range(len(texts))]
                seconds, n_answers = contestant.ask((texts, tasks))
                assert n_answers == len(texts)
                if number >= 0:  # the first time warms up
                    contestant.seconds.append(seconds)
        report: dict[str, Any] = {
            "runs": [
                {
                    "who": who,
                    "tasks": contestant.n_tasks,
                    "resident, MB": round(contestant.ask("memory"), 1),
                    "texts a second": round(len(texts) / statistics.median(contestant.seconds), 1),
                    "seconds": [round(each, 3) for each in contestant.seconds],
                }
                for who, contestant in running.items()
            ]
        }
        adding = running["DeltaBank, 1000"].ask("add")
        report["milliseconds to add one to 1000"] = round(1e3 * adding, 2)
        for contestant in running.values():
            contestant.end()
    report |= {
        "kilobytes of a delta": round(sum(each.nbytes for each in delta.values()) / 1e3, 1),
        "peft, mixed LayerNorm batch": peft_layernorm(),
        "texts": len(texts),
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "cores": os.cpu_count(),
        "load of the machine": round(os.getloadavg()[1], 1),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
