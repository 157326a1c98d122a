"""What a text costs as there are more of them: time and memory of 10,000 to a million.

Short texts are made by drawing words as frequent, and texts as long, as in TREC. They are
tokenised with the default backbone's tokenizer and trained for one epoch on a random
backbone of one layer, so that a whole epoch of a million texts runs, and what does not
belong to the matrix products shows most. Each size runs in a process of its own, which
has loaded the backbone before the clock starts. Then the same million from a Parquet
file: fit and predict_proba.

Times are of the process's own CPU on one thread, medians of some repetitions. Memory is
the peak of resident memory above what stood there with the input in place; ten thousand
texts hardly show in it.

    python benchmarks/scale.py [--most 1000000]
"""

from __future__ import annotations

import argparse
import gc
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import psutil

RESULTS = Path(__file__).parent / "results" / "scale.json"
SIZES = (10_000, 100_000, 1_000_000)
N_CLASSES = 6
BATCH = 256
WARM = 2_000  # texts of the fit that loads and warms everything


def words_and_lengths(texts: list[str]) -> dict[str, Any]:
    """How frequent words are and how long texts."""
    words = Counter(word for text in texts for word in text.split())
    total = sum(words.values())
    return {
        "words": list(words),
        "shares": [count / total for count in words.values()],
        "lengths": [len(text.split()) for text in texts],
    }


def made(source: dict[str, Any], n: int, seed: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Texts and labels, some ten thousand at a time."""
    random = np.random.default_rng(seed)
    words = np.array(source["words"], dtype=object)
    for start in range(0, n, 10_000):
        rows = min(10_000, n - start)
        lengths = random.choice(source["lengths"], rows)
        drawn = random.choice(words, int(lengths.sum()), p=source["shares"])
        ends = np.cumsum(lengths)
        texts = [" ".join(part) for part in np.split(drawn, ends[:-1])]
        yield texts, random.integers(0, N_CLASSES, rows)


def tiny_backbone(folder: Path) -> None:
    """A random BERT of one layer, with the default backbone's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from sklearn_lntune.backbone.resolve import resolve

    tokenizer = AutoTokenizer.from_pretrained(
        resolve("sentence-transformers/all-MiniLM-L6-v2").folder
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def classifier(folder: Path) -> Any:
    """One epoch on the tiny backbone."""
    from sklearn_lntune import LNTunedTransformerClassifier

    return LNTunedTransformerClassifier(
        folder / "backbone",
        batch_size=BATCH,
        max_epochs=1,
        min_steps=0,
        precision="float32",
        random_state=0,
        device="cpu",
    )


class Peak:
    """Peak resident memory since the last call."""

    def __init__(self) -> None:
        gc.collect()
        self.before = psutil.Process().memory_info().rss
        Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew

    def above(self) -> int:
        """Bytes above the start."""
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        return peak - self.before


def measured(step: Callable[[], Any]) -> tuple[float, float, int, Any]:
    """CPU seconds, seconds, peak and result of ``step``."""
    peak, wall, cpu = Peak(), time.perf_counter(), time.process_time()
    result = step()
    return time.process_time() - cpu, time.perf_counter() - wall, peak.above(), result


def in_memory(folder: Path, n: int, repetitions: int) -> dict[str, Any]:
    """Tokenise, then fit, a list of ``n`` texts."""
    from sklearn_lntune.backbone.pool import get_backbone

    source = json.loads((folder / "source.json").read_text())
    clf = classifier(folder)
    for texts, labels in made(source, WARM, seed=1):
        clf.fit(texts, labels)
    texts, labels = [], []
    for some, own in made(source, n, seed=0):
        texts += some
        labels.append(own)
    y = np.concatenate(labels)
    tokenizer = get_backbone(folder / "backbone").tokens
    runs = []
    for _ in range(repetitions):
        cut, wall_cut, peak_cut, table = measured(lambda: tokenizer.table(texts, clf.max_length_))
        n_tokens = int(table.lengths.sum())
        del table
        whole, wall_whole, peak, _ = measured(lambda: clf.fit(texts, y))
        runs.append(
            {
                "tokenise, us a text": 1e6 * cut / n,
                "train, us a text": 1e6 * (whole - cut) / n,
                "wall of the fit, us a text": 1e6 * wall_whole / n,
                "wall of tokenising, us a text": 1e6 * wall_cut / n,
                "peak of tokenising, MB": peak_cut / 1e6,
                "peak of the fit, MB": peak / 1e6,
            }
        )
    # Later repetitions find the memory of the first one, free but resident.
    usual = {
        key: round((max if "peak" in key else statistics.median)([run[key] for run in runs]), 2)
        for key in runs[0]
    }
    return {"texts": n, "tokens a text": round(n_tokens / n, 2)} | usual


def from_parquet(folder: Path, n: int, repetitions: int) -> dict[str, Any]:
    """Fit on, and predict, a file of ``n`` texts."""
    source = json.loads((folder / "source.json").read_text())
    clf = classifier(folder)
    for texts, labels in made(source, WARM, seed=1):
        clf.fit(texts, labels).predict(texts)
    file = folder / "rows.parquet"
    fit, wall_fit, peak_fit, _ = measured(lambda: clf.fit(file))
    predict, wall_predict, peak_predict, answers = measured(lambda: clf.predict_proba(file))
    assert answers.shape == (n, N_CLASSES)
    return {
        "texts": n,
        "fit, us a text": round(1e6 * fit / n, 2),
        "wall of the fit, s": round(wall_fit, 1),
        "peak of the fit, MB": round(peak_fit / 1e6, 1),
        "predict_proba, us a text": round(1e6 * predict / n, 2),
        "wall of predict_proba, s": round(wall_predict, 1),
        "peak of predict_proba, MB": round(peak_predict / 1e6, 1),
        "answers, MB": round(answers.nbytes / 1e6, 1),
    }


def write_parquet(folder: Path, source: dict[str, Any], n: int) -> None:
    """The texts of `in_memory` in a file."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema({"text": pa.string(), "label": pa.int64()})
    with parquet.ParquetWriter(folder / "rows.parquet", schema) as writer:
        for texts, labels in made(source, n, seed=0):
            writer.write_table(pa.table({"text": texts, "label": labels}, schema=schema))


def child(step: str, folder: Path, n: int, repetitions: int) -> None:
    """Run one measurement in this process."""
    import torch

    torch.set_num_threads(1)
    run = {"in_memory": in_memory, "from_parquet": from_parquet}[step]
    print(json.dumps(run(folder, n, repetitions)))


def main() -> None:
    """Run every measurement in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        step, folder, n, repetitions = options.child
        child(step, Path(folder), int(n), int(repetitions))
        return
    from sklearn_lntune.datasets import fetch_text_dataset

    sizes = [n for n in SIZES if n <= options.most]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        source = words_and_lengths(list(fetch_text_dataset("trec", split="train")[0]))
        (folder / "source.json").write_text(json.dumps(source))
        tiny_backbone(folder / "backbone")
        write_parquet(folder, source, sizes[-1])

        def run(step: str, n: int) -> dict[str, Any]:
            repetitions = {10_000: 5, 100_000: 2}.get(n, 1)
            command = [sys.executable, __file__, "--child", step, parent, str(n), str(repetitions)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(done.stdout, end="", flush=True)
            return json.loads(done.stdout.splitlines()[-1])

        lists = [run("in_memory", n) for n in sizes]
        report = {
            "in memory": lists,
            "bytes a further token": growth(*lists[-2:]) if len(sizes) > 1 else None,
            "parquet": run("from_parquet", sizes[-1]),
            "batch_size": BATCH,
            "threads": 1,
            "date": time.strftime("%Y-%m-%d"),
            "processor": processor(),
            "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        }
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def growth(few: dict[str, Any], many: dict[str, Any]) -> float:
    """What the peak of a fit grows by: batches are alike in both sizes."""
    megabytes = (run["peak of the fit, MB"] for run in (many, few))
    tokens = (run["texts"] * run["tokens a text"] for run in (many, few))
    return round(1e6 * operator.sub(*megabytes) / operator.sub(*tokens), 2)


def processor() -> str:
    """The model of the processor, as the system names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
