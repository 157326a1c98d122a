"""What a text costs as there are more of them: time and memory of 10,000 to a million.

Texts are made by drawing words as frequent, and texts as long, as in TREC, and trained for one
epoch on a random backbone of one layer, so that what does not belong to the matrix products
shows most. Each size runs in a process of its own, on one thread, which has loaded the
backbone before the clock starts. Then the same million from a Parquet file: fit and
predict_proba. Memory is the peak above what stood there with the input in place.

    python benchmarks/scale.py [--sizes 10000 100000 1000000]
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import alone, clock, options, origin, peak, plain_tokenizer, read, rst, write

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

N_CLASSES = 6
BATCH = 256
WARM = 2_000  # texts of the fit that loads and warms everything


def made(n: int, seed: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Texts and labels, some ten thousand at a time."""
    source = fetch_text_dataset("trec")[0]
    counts = Counter(word for text in source for word in text.split())
    random = np.random.default_rng(seed)
    words = np.array(list(counts), dtype=object)
    shares = np.array(list(counts.values())) / counts.total()
    for start in range(0, n, 10_000):
        rows = min(10_000, n - start)
        lengths = random.choice([len(text.split()) for text in source], rows)
        drawn = random.choice(words, int(lengths.sum()), p=shares)
        texts = [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]
        yield texts, random.integers(0, N_CLASSES, rows)


def write_inputs(folder: Path, n: int) -> None:
    """A random BERT of one layer with the usual tokenizer, and a file of ``n`` texts."""
    import pyarrow as pa
    from pyarrow import parquet
    from transformers import BertConfig, BertModel

    tokenizer = plain_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **sizes)
    BertModel(config).save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    schema = pa.schema({"text": pa.string(), "label": pa.int64()})
    with parquet.ParquetWriter(folder / "rows.parquet", schema) as writer:
        for texts, labels in made(n, seed=0):
            writer.write_table(pa.table({"text": texts, "label": labels}, schema=schema))


def warm_classifier(folder: Path) -> LNTunedTransformerClassifier:
    """One epoch on the tiny backbone, which has run already."""
    torch.set_num_threads(1)
    how = {"batch_size": BATCH, "max_epochs": 1, "min_steps": 0, "random_state": 0}
    how |= {"precision": "float32", "device": "cpu"}
    clf = LNTunedTransformerClassifier(folder / "backbone", **how)
    for texts, labels in made(WARM, seed=1):
        clf.fit(texts, labels).predict(texts)
    return clf


def measured(name: str, step: Callable[[], Any], n: int) -> dict[str, float]:
    """CPU time and time a text, and the peak."""
    taken: list[float] = []
    cpu = time.process_time()
    _, above = peak(lambda: taken.append(clock(step)))
    return {
        f"{name}, us a text": 1e6 * (time.process_time() - cpu) / n,
        f"wall of the {name}, us a text": 1e6 * taken[0] / n,
        f"peak of the {name}, MB": above,
    }


def in_memory(folder: Path, n: int) -> dict[str, float]:
    """Fit a list of ``n`` texts, by median of some repetitions where there are few."""
    clf, parts = warm_classifier(folder), list(made(n, seed=0))
    texts, y = [text for some, _ in parts for text in some], np.concatenate([y for _, y in parts])
    repetitions = {10_000: 5, 100_000: 2}.get(n, 1)
    runs = pd.DataFrame([measured("fit", lambda: clf.fit(texts, y), n) for _ in range(repetitions)])
    # Later repetitions find the memory of the first one, free but resident.
    highest = runs.filter(like="peak").max().to_dict()
    return {"texts": n} | pd.Series(runs.median().to_dict() | highest).round(2).to_dict()


def from_parquet(folder: Path, n: int) -> dict[str, float]:
    """Fit on, and predict, a file of ``n`` texts."""
    clf, file = warm_classifier(folder), folder / "rows.parquet"
    found = measured("fit", lambda: clf.fit(file), n)
    found |= measured("predict_proba", lambda: clf.predict_proba(file), n)
    return {"texts": n} | pd.Series(found).round(2).to_dict()


def figure() -> str:
    """What a text costs as there are more of them."""
    report = read("scale")
    frame = pd.DataFrame(report["in memory"]).set_index("texts")
    if "train, us a text" in frame:  # once measured in two parts
        frame["fit, us a text"] = frame["tokenise, us a text"] + frame["train, us a text"]
    peaks = frame["peak of the fit, MB"]
    growth = 1e6 * (peaks.iloc[-1] - peaks.iloc[-2]) / (frame.index[-1] - frame.index[-2])
    frame = frame[["fit, us a text", "wall of the fit, us a text", "peak of the fit, MB"]].T
    frame.columns = [f"{n:,}" for n in frame.columns]
    table = pd.Series(report["parquet"], name="value").drop("texts").astype(object)
    return (
        "A list of texts as long as TREC's, one epoch on a random backbone of one layer, batch "
        f"size {report['batch_size']}:\n\n"
        + rst(frame)
        + f"\nThe peak grows by {growth:.0f} bytes a further text. The same "
        f"{report['parquet']['texts']:,} texts from a Parquet file; memory is resident and above "
        "that of the process with the backbone loaded:\n\n"
        + rst(table.to_frame())
        + f"\nCPU time on {report['threads']} thread {origin(report)}; ``benchmarks/scale.py``.\n"
    )


def main() -> None:
    given = options(__doc__, sizes=((10_000, 100_000, 1_000_000), (1000, 2000)))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as parent:
        folder, lists = Path(parent), []
        write_inputs(folder, given.sizes[-1])
        for n in given.sizes:
            lists.append(alone(in_memory, folder, n))
        parquet = alone(from_parquet, folder, given.sizes[-1])
    report = {"in memory": lists, "parquet": parquet, "batch_size": BATCH}
    write(given.out, "scale", report, "tokenizers")


if __name__ == "__main__":
    main()
