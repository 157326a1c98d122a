"""Predictions in int8: time beside other number types and runtimes, and accuracy.

    python benchmarks/int8.py

*time*: processor seconds for texts of 32 and of 128 tokens, by turns; median of the ratios turn by
turn. Each contestant gets texts, and all have the same learnt values: our number types, and the
classifier's ONNX file rounded and run by ONNX Runtime (weights by channel, activations by tensor in
each call) and, if it and NNCF are installed, by OpenVINO (rounded with some of the texts).

*accuracy*: of default fits on up to 1,000 training rows, on up to 1,000 test rows.

Finished runs are in ``results/int8.jsonl`` and not repeated.
"""

import contextlib
import copy
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
import torch
from harness import RESULTS, Records, lines, rst, some_rows

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset

LENGTHS, N_TOKENS = (32, 128), 4096
TYPES = ("float32", "bfloat16", "int8")
SETS = ("trec", "banking77", "tweeteval_emotion", "subj")
N_ROWS = 1000
Predict = Callable[[list[str]], Any]


def texts_of(length: int, n_rows: int, seed: int) -> list[str]:
    """Texts of words that are a token each, never the same twice."""
    letters = list("abcdefghijklmnopqrstuvwxyz")
    drawn = np.random.default_rng(seed).choice(letters, (n_rows, length - 2))
    return [" ".join(row) for row in drawn]


def in_batches(run: Callable[[dict[str, np.ndarray]], Any]) -> Predict:
    """What tokenises texts and gives them to ``run``, as many tokens at a time as we compute."""
    tokenizer = harness.plain_tokenizer()

    def predict(texts: list[str]) -> list[Any]:
        inputs = dict(tokenizer(texts, return_tensors="np"))
        rows = max(1, 1024 // inputs["input_ids"].shape[1])
        return [
            run({name: each[start : start + rows] for name, each in inputs.items()})
            for start in range(0, len(texts), rows)
        ]

    return predict


def contestants(threads: int) -> dict[str, Predict]:
    """A classifier in several number types and runtimes."""
    torch.set_num_threads(threads)
    texts = texts_of(32, 64, seed=0)
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    clf.fit(texts, np.arange(len(texts)) % 2)
    found: dict[str, Predict] = {
        name: copy.copy(clf).set_params(precision=name).decision_function for name in TYPES
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clf.onnx")
        clf.export_onnx(file)
        found["ONNX Runtime, int8"] = in_batches(_onnx_runtime(file, threads))
        with contextlib.suppress(ModuleNotFoundError):
            found["OpenVINO, int8"] = in_batches(_openvino(file, threads, texts[:16]))
    return found


def _onnx_runtime(file: Path, threads: int) -> Callable[[dict[str, np.ndarray]], Any]:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rounded = file.with_name("rounded.onnx")
    quantize_dynamic(file, rounded, per_channel=True, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(rounded, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})


def _openvino(file: Path, threads: int, texts: list[str]) -> Callable[[dict[str, np.ndarray]], Any]:
    import nncf
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    names = [each.any_name for each in model.inputs]
    encoded = dict(harness.plain_tokenizer()(texts, return_tensors="np"))
    rows = [{name: encoded[name][i : i + 1] for name in names} for i in range(len(texts))]
    rounded = nncf.quantize(model, nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER)
    compiled = core.compile_model(rounded, "CPU", {"INFERENCE_NUM_THREADS": threads})
    return lambda inputs: compiled({name: inputs[name] for name in names})


def timed(threads: int, length: int, turns: int) -> dict[str, Any]:
    """Milliseconds of the processor for 1,024 tokens, and the ratio to float32 in each turn."""
    calls = contestants(threads)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(2 + turns):
        texts = texts_of(length, N_TOKENS // length, seed=1 + turn)
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            calls[name](texts)
            taken[name].append(time.process_time() - start)
    kept = {name: each[2:] for name, each in taken.items()}
    return {
        "ms": {n: round(1024e3 / N_TOKENS * statistics.median(t), 1) for n, t in kept.items()},
        "times float32": {
            name: round(float(np.median(np.divide(kept["float32"], each))), 2)
            for name, each in kept.items()
        },
    }


def scored(name: str, n_rows: int) -> dict[str, Any]:
    """Test accuracy in percent of one fit, predicted in float32 and in int8."""
    X, y = some_rows(*fetch_text_dataset(name), n_rows)
    X_test, y_test = some_rows(*fetch_text_dataset(name, "test"), n_rows)
    clf = LNTunedTransformerClassifier(random_state=0).fit(X, y)
    found = {}
    for precision in TYPES:
        clf.set_params(precision=precision)
        found[precision] = round(100 * float(np.mean(clf.predict(X_test) == np.array(y_test))), 2)
    return {"rows": len(X), "test rows": len(X_test), "accuracy": found}


def figure() -> str:
    """Ratios to float32 by length and threads, and accuracy by set."""
    known = lines(RESULTS / "int8.jsonl")
    times = [each for each in known if each["part"] == "time"]
    ratios = pd.DataFrame(
        [
            {"tokens": each["length"], "threads": each["threads"], **each["times float32"]}
            for each in times
        ]
    )
    scores = pd.DataFrame(
        [{"set": each["set"], **each["accuracy"]} for each in known if each["part"] == "accuracy"]
    )
    last, peers = times[-1], [name for name in ratios if "," in name]
    text = (
        "Times as fast as float32, in processor seconds from texts to logits, by turns on 4,096 "
        f"tokens {harness.origin(last)}. The processor has "
        f"{'' if last['native_bfloat16'] else 'no '}bfloat16.\n\n" + rst(ratios, index=False)
    )
    best = {name: (ratios["int8"] / ratios[name]).min() for name in peers}
    text += "\nAt worst, int8 here is " + ", and ".join(
        f"{value:.2f} times as fast as {name}" for name, value in best.items()
    )
    if len(scores):
        lost = (scores["float32"] - scores["int8"]).max()
        text += (
            f".\n\nTest accuracy in percent of default fits on {N_ROWS:,} rows, on {N_ROWS:,} test "
            f"rows at most; int8 loses {max(lost, 0):.1f} points at most:\n\n"
            + rst(scores, index=False)
        )
    return text


def main() -> None:
    given = harness.options(
        __doc__, turns=(5, 1), threads=((1, 2), (1,)), sets=(SETS, SETS[:1]), rows=(N_ROWS, 64)
    )
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the peers report their progress
    here = harness.surroundings("onnxruntime")
    del here["threads"]  # each record has the number with which it was timed
    run = Records(given.out / "int8.jsonl", {}, here)
    for threads in given.threads:
        for length in LENGTHS:
            key = {"part": "time", "length": length, "threads": threads}
            run.once(key, lambda k=key: timed(k["threads"], k["length"], given.turns))
    for name in given.sets:
        run.once({"part": "accuracy", "set": name}, lambda n=name: scored(n, given.rows))


if __name__ == "__main__":
    main()
