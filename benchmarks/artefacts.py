"""What saved classifiers weigh, and what many of them cost, beside peft and skorch.

A Banking77 classifier is fitted and saved in every form. Then many classifiers (the same
one with other numbers) are loaded on one backbone and predict one text each; likewise
with peft's adapters on one base model and with pickled skorch nets, fewer where they do
not fit. Each contestant runs in a process of its own.

    python benchmarks/artefacts.py [--classifiers 1000]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from sklearn.model_selection import train_test_split

import sklearn_lntune
from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

RESULTS = Path(__file__).parent / "results" / "artefacts.json"
TEXT = "my card has not arrived yet"
N_PEFT, N_SKORCH = 100, 10


def fit(pooling: str) -> LNTunedTransformerClassifier:
    """A classifier of 77 classes."""
    X, y = fetch_text_dataset("banking77")
    clf = LNTunedTransformerClassifier(
        pooling=pooling, max_epochs=1, min_steps=0, random_state=0, max_length=64
    )
    X, _, y, _ = train_test_split(X, y, train_size=3000, random_state=0, stratify=y)
    return clf.fit(X, y)


def varied(clf: LNTunedTransformerClassifier, number: int) -> LNTunedTransformerClassifier:
    """The classifier with a delta of its own."""
    generator = np.random.default_rng(number)
    clf.delta_ = {
        name: value + 0.01 * generator.standard_normal(value.shape).astype("float32")
        for name, value in clf.delta_.items()
    }
    return clf


def sizes(folder: Path, clf: Any, native: Any) -> dict[str, float]:
    """Kilobytes of each form."""
    clf.save(folder / "saved")
    clf.save(folder / "saved.zip")
    (folder / "pickle").write_bytes(pickle.dumps(clf))
    native.export_peft(folder / "peft")
    native.export_transformers(folder / "transformers")
    clf.export_onnx(folder / "onnx" / "model.onnx")
    return {
        name: round(_size(folder / name) / 1e3, 1)
        for name in ("saved", "saved.zip", "pickle", "peft", "onnx", "transformers")
    }


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def ours(folder: Path, n: int) -> Callable[[int], Any]:
    """Load a saved classifier and predict."""
    return lambda i: _kept(sklearn_lntune.load(folder / f"{i}.zip"))


_held: list[Any] = []


def _kept(clf: Any) -> Any:
    _held.append(clf)
    return clf.predict([TEXT])


def peft(folder: Path, n: int) -> Callable[[int], Any]:
    """Add an adapter to one base model and predict with it."""
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoTokenizer

    model = AutoPeftModelForSequenceClassification.from_pretrained(folder / "0", num_labels=77)
    tokenizer = AutoTokenizer.from_pretrained(model.peft_config["default"].base_model_name_or_path)
    _held.append(model.eval())

    def step(i: int) -> Any:
        model.load_adapter(folder / str(i), f"number{i}")
        model.set_adapter(f"number{i}")
        with torch.inference_mode():
            return model(**tokenizer(TEXT, return_tensors="pt")).logits

    return step


def skorch(folder: Path, n: int) -> Callable[[int], Any]:
    """Unpickle a skorch net, backbone and all, and predict."""
    return lambda i: _skorch_step(folder / f"{i}.pickle")


def _skorch_step(file: Path) -> Any:
    net, inputs = pickle.loads(file.read_bytes())
    _held.append(net)
    return net.predict(inputs)


def write_skorch(folder: Path, n: int) -> None:
    """Pickled nets around the same backbone, as a user of skorch would write them."""
    from skorch import NeuralNetClassifier
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from sklearn_lntune.backbone.resolve import resolve

    source = resolve("sentence-transformers/all-MiniLM-L6-v2").folder
    tokenizer = AutoTokenizer.from_pretrained(source)
    inputs = {k: v.numpy() for k, v in tokenizer(TEXT, return_tensors="pt").items()}
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=77)
    net = NeuralNetClassifier(Logits, module__model=model, classes=list(range(77))).initialize()
    for i in range(n):
        (folder / f"{i}.pickle").write_bytes(pickle.dumps((net, inputs)))


class Logits(torch.nn.Module):
    """A transformers classifier that gives skorch its logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        """Logits."""
        return self.model(**inputs).logits


def measure(who: str, folder: Path, n: int) -> dict[str, Any]:
    """Load ``n`` classifiers and predict with each, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (who, folder, n))


def _measure(who: str, folder: Path, n: int) -> dict[str, Any]:
    step = {"ours": ours, "peft": peft, "skorch": skorch}[who](folder, n)
    step(0)  # loads what is shared
    before, start = _resident(), time.perf_counter()
    for i in range(1, n):
        step(i)
    seconds = time.perf_counter() - start
    return {
        "classifiers": n,
        "resident with one, MB": round(before, 1),
        "added a classifier, MB": round((_resident() - before) / (n - 1), 3),
        "load and predict one text, ms": round(1e3 * seconds / (n - 1), 1),
    }


def _resident() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    """Fit, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifiers", type=int, default=1000)
    n = parser.parse_args().classifiers
    clf, native = fit("mean"), fit("native")
    with tempfile.TemporaryDirectory() as parent:
        root = Path(parent)
        report: dict[str, Any] = {"kilobytes": sizes(root / "sizes", clf, native)}
        for who in ("ours", "peft", "skorch"):
            (root / who).mkdir()
        for i in range(n):
            varied(clf, i).save(root / "ours" / f"{i}.zip")
        for i in range(N_PEFT):
            varied(native, i).export_peft(root / "peft" / str(i))
            config = root / "peft" / str(i) / "adapter_config.json"
            # peft looks for names on the hub; here the backbone is a folder.
            entries = json.loads(config.read_text("utf-8"))
            entries["base_model_name_or_path"] = os.fspath(_folder())
            config.write_text(json.dumps(entries), "utf-8")
        write_skorch(root / "skorch", N_SKORCH)
        counts = {"ours": n, "peft": N_PEFT, "skorch": N_SKORCH}
        report["many"] = {who: measure(who, root / who, count) for who, count in counts.items()}
    report["date"] = time.strftime("%Y-%m-%d")
    packages = ("torch", "transformers", "peft", "skorch")
    report["versions"] = {name: version(name) for name in packages}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _folder() -> Path:
    from sklearn_lntune.backbone.resolve import resolve

    return resolve("sentence-transformers/all-MiniLM-L6-v2").folder


if __name__ == "__main__":
    main()
