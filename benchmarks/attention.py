"""Plain attention against PyTorch's fused one, by batch, length, type and need for gradients.

python benchmarks/attention.py [--repeats 15]

`Placement.attention` follows what this measures. Training is forward and backward with
the gains and biases of the norms learnt. bfloat16 is measured where the hardware has it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from sklearn_lntune.backbone.placement import place_fit
from sklearn_lntune.backbone.resolve import resolve
from sklearn_lntune.backbone.where import Where

RESULTS = Path(__file__).parent / "results"
BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
SHAPES = [(16, 16), (32, 12), (32, 32), (128, 32), (16, 128), (8, 256)]
KINDS = ("eager", "sdpa")


def norm_tuned(kind: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The backbone with attention ``kind``, its norms alone trainable."""
    folder = resolve(BACKBONE).folder
    model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation=kind)
    model.eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.requires_grad_(True)
    return model.to(device)


def padded_batch(rows: int, length: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Random tokens; in every fourth row the last is padding, as in batches of like length."""
    ids = torch.randint(1000, 20000, (rows, length), device=device)
    mask = torch.ones_like(ids)
    mask[::4, -1] = 0
    return {"input_ids": ids, "attention_mask": mask}


def seconds(model: nn.Module, batch: dict[str, torch.Tensor], training: bool) -> float:
    """Of one forward, or forward and backward."""
    start = time.perf_counter()
    if training:
        model(**batch).last_hidden_state.mean().backward()
    else:
        with torch.inference_mode():
            model(**batch)
    if batch["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def surroundings() -> dict[str, Any]:
    """Where and when something was measured."""
    return {
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


def main() -> None:
    """Measure, taking turns, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    place = place_fit(Where(), torch.float32)
    runs = []
    for dtype in dict.fromkeys((torch.float32, place.train_type)):
        models = {kind: norm_tuned(kind, dtype, place.device) for kind in KINDS}
        for rows, length in SHAPES:
            batch = padded_batch(rows, length, place.device)
            for training in (False, True):
                taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
                for repeat in range(repeats + 2):
                    for kind in KINDS if repeat % 2 else KINDS[::-1]:
                        taken[kind].append(seconds(models[kind], batch, training))
                runs.append(
                    {
                        "type": str(dtype).removeprefix("torch."),
                        "rows": rows,
                        "length": length,
                        "training": training,
                        **{k: round(1e3 * statistics.median(taken[k][2:]), 2) for k in KINDS},
                    }
                )
                print(runs[-1], flush=True)
    report = {
        "runs": runs,
        "repeats": repeats,
        "device": str(place.device),
        **surroundings(),
    }
    (RESULTS / "attention.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
