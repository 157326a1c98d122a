"""Memory of a fit above what the imports take, in a process of its own.

python -m benchmarks.speed.memory CONTESTANT WORKLOAD ROWS
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import BertConfig, BertModel

from . import bare, ours
from .fits import CONTESTANTS
from .record import ROOT, training_type
from .trainer import ATTENTIONS
from .workloads import WORKLOADS, Task, folder, forget

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def measured(who: str, workload: str, n_rows: int) -> dict[str, Any]:
    """`child` in a fresh process, with what follows a semicolon in its environment."""
    name, *settings = who.split("; ")
    environment = os.environ | dict(each.split("=") for each in settings)
    command = [sys.executable, "-m", __name__, name, workload, str(n_rows)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child(who: str, workload: str, n_rows: int) -> dict[str, float]:
    """Megabytes of a fit's highest point above the point before it, and its seconds."""
    task = WORKLOADS[workload].task(n_rows)
    assert len(task.lengths)
    _warm_up()
    forget()
    before = psutil.Process().memory_info().rss
    _reset_peak()
    start = time.perf_counter()
    CONTESTANTS[who](task)
    seconds = time.perf_counter() - start
    return {"megabytes": (_peak() - before) / 1e6, "baseline": before / 1e6, "seconds": seconds}


def floor(task: Task) -> dict[str, float]:
    """Megabytes of the weights in the training type and of the largest batch's activations."""
    recorder = bare.Recorder()
    ours.classifier(task, callbacks=[recorder]).fit(task.X, task.y)
    net = bare.network(len(set(task.y)))
    weights = {id(w): w.numel() * w.element_size() for w in net.body.parameters()}
    storages = {w.untyped_storage().data_ptr() for w in net.parameters()}
    inputs, codes = max(recorder.batches, key=lambda batch: batch[0]["input_ids"].numel())
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        bare.step(net, inputs, codes)
    return {
        "weights": sum(weights.values()) / 1e6,
        "activations": sum(saved.values()) / 1e6,
        "batch": list(inputs["input_ids"].shape),
    }


def _warm_up() -> None:
    """Threads and code of torch are there before any fit, for all contestants alike."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    config = BertConfig(vocab_size=64, num_hidden_layers=1, **sizes)
    ids = torch.ones(8, 8, dtype=torch.long)
    for dtype, attention in itertools.product({torch.float32, training_type()}, ATTENTIONS):
        config._attn_implementation = attention  # noqa: SLF001
        model = BertModel(config).to(dtype)
        model(ids, torch.ones_like(ids).tril()).pooler_output.float().sum().backward()
    Path(folder(), "config.json").read_bytes()


def _reset_peak() -> None:
    if _RESET.exists():
        _RESET.write_text("5", "utf-8")


def _peak() -> int:
    """Highest resident bytes; not those of the parent, which ``getrusage`` would count."""
    if _STATUS.exists():
        line = next(x for x in _STATUS.read_text("utf-8").splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
