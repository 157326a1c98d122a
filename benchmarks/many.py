"""Many classifiers on one backbone: what they weigh, what loading them costs, mixed traffic.

    python benchmarks/many.py [--parts load traffic]

*Load*: a Banking77 classifier is saved in every form. Then many (the same one with other
numbers) are loaded and predict one text each; likewise peft's adapters on one base model,
pickled skorch nets, and pickles of a classifier of support tickets.

*Traffic*: a classifier is fitted on a part of TREC, by LayerNorm tuning and by LoRA, and
varied. Each text asks another task. Contestants are one `DeltaBank` of 1 to 1,000 tasks, the
same classifiers asked one after the other, full copies of a transformers model, and peft's
batches of mixed LoRA adapters. They take turns.

Each contestant lives in a process of its own.
"""

import copy
import json
import os
import pickle
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import harness
import joblib
import numpy as np
import pandas as pd
import psutil
import torch
from harness import Logits, clock, plain_classifier, plain_tokenizer, read, resident, rst

import sklearn_lntune
from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.datasets import fetch_text_dataset, load_support_tickets
from sklearn_lntune.tuning import LoraTuning

TEXT = "my card has not arrived yet"
RANK, ALPHA = 8, 16
#: Tokens a batch, for those who batch by hand: what a prediction of ours takes.
N_TOKENS = 4096
_here: dict[Any, Any] = {}  # what a contestant's process holds


def fitted(X: Any, y: Any, **how: Any) -> LNTunedTransformerClassifier:
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    return clf.set_params(**how).fit(list(X), list(y))


def varied(clf: LNTunedTransformerClassifier, number: int) -> LNTunedTransformerClassifier:
    """The classifier with other numbers."""
    draw = np.random.default_rng(number).standard_normal
    clf.delta_ = {k: v + 0.01 * draw(v.shape).astype("float32") for k, v in clf.delta_.items()}
    return clf


def sizes(folder: Path, clf: Any, native: Any) -> dict[str, float]:
    """Kilobytes of each form."""
    clf.save(folder / "saved")
    clf.save(folder / "saved.zip")
    (folder / "pickle").write_bytes(pickle.dumps(clf))
    native.export_peft(folder / "peft")
    clf.export_onnx(folder / "onnx" / "model.onnx")
    native.export_transformers(folder / "transformers")
    found = {}
    for form in sorted(folder.iterdir()):
        files = (file for file in [form, *form.rglob("*")] if file.is_file())
        found[form.name] = round(sum(file.stat().st_size for file in files) / 1e3, 1)
    return found


def save(file: Path, estimator: Any, number: int) -> None:
    """Write what `load` reads: a zip, a folder of peft's, or a pickle with inputs."""
    if file.suffix == ".zip":
        varied(estimator, number).save(file)
    elif file.suffix == ".peft":
        varied(estimator, number).export_peft(file)
        config = file / "adapter_config.json"
        entries = json.loads(config.read_text("utf-8"))
        # peft looks for names on the hub; here the backbone is a folder.
        entries["base_model_name_or_path"] = harness.backbone_folder()
        config.write_text(json.dumps(entries), "utf-8")
    else:
        file.write_bytes(pickle.dumps(estimator))


def load(file: Path) -> None:
    """Load a classifier, hold it, and predict."""
    if file.suffix == ".zip":
        _here[file] = sklearn_lntune.load(file)
        _here[file].predict([TEXT])
    elif file.suffix == ".peft":
        from peft import AutoPeftModelForSequenceClassification as AnyModel

        if "model" not in _here:
            _here["model"] = AnyModel.from_pretrained(file, num_labels=77).eval()
        name = file.name.replace(".", "-")
        _here["model"].load_adapter(file, name)
        _here["model"].set_adapter(name)
        with torch.inference_mode():
            _here["model"](**plain_tokenizer()(TEXT, return_tensors="pt"))
    else:
        _here[file], inputs = pickle.loads(file.read_bytes())
        _here[file].predict(inputs)


def load_all(first: Path, *files: Path) -> dict[str, Any]:
    """Load classifiers and predict with each."""
    load(first)  # and what is shared
    before = resident()
    seconds = clock(lambda: [load(file) for file in files])
    return {
        "classifiers": 1 + len(files),
        "resident with one, MB": round(before, 1),
        "added a classifier, MB": round((resident() - before) / len(files), 3),
        "load and predict one text, ms": round(1e3 * seconds / len(files), 1),
    }


def skorch_net() -> tuple[Any, Any]:
    """A net around the whole model, as a user of skorch would write it, and inputs."""
    from skorch import NeuralNetClassifier

    model = plain_classifier(77)
    net = NeuralNetClassifier(Logits, module__model=model, classes=list(range(77))).initialize()
    return net, {k: v.numpy() for k, v in plain_tokenizer()(TEXT, return_tensors="pt").items()}


def loading(out: Path, n_rows: int, counts: list[int]) -> None:
    """Sizes, then each contestant's files, then how they load."""
    banking = harness.some_rows(*fetch_text_dataset("banking77"), n_rows)
    clf, native = (fitted(*banking, max_length=64, pooling=each) for each in ("mean", "native"))
    X, y = load_support_tickets(return_X_y=True)
    tickets = fitted(X, y), list(X[:1])
    contestants = {"ours.zip": clf, "peft.peft": native, "skorch.pickle": skorch_net()}
    many = {}
    with tempfile.TemporaryDirectory() as parent:
        for (who, estimator), n in zip((contestants | {"8.pickle": tickets}).items(), counts):  # noqa: B905
            files = [Path(parent, f"{i}.{who}") for i in range(n)]
            for i, file in enumerate(files):
                save(file, estimator, i)
            many[who.partition(".")[0]] = harness.alone(load_all, *files)
        Path(parent, "sizes").mkdir()
        kilobytes = sizes(Path(parent, "sizes"), clf, native)
    ours = many.pop("8")
    report = {"kilobytes": kilobytes, "many": many}
    harness.write(out, "artefacts", report, "peft", "skorch")
    memory = {
        "classifiers": ours["classifiers"],
        "pickle_kilobytes": round(len(pickle.dumps(tickets[0])) / 1e3, 1),
        "added_a_classifier_megabytes": ours["added a classifier, MB"],
        "load_and_first_prediction_milliseconds": ours["load and predict one text, ms"],
    }
    harness.write(out, "memory", memory)


Round = Callable[[list[str], list[int]], Any]


def bank(folder: Path, n: int, tuning: str = "layernorm") -> Round:
    made = _here["bank"] = DeltaBank()
    for i in range(n):
        made.add(str(i), varied(joblib.load(folder / tuning), i))
    return lambda texts, tasks: made.predict(texts, tasks=list(map(str, tasks)))


def one_by_one(folder: Path, n: int) -> Round:
    clfs = [varied(joblib.load(folder / "layernorm"), i) for i in range(n)]
    return task_by_task([clf.predict for clf in clfs])


def separate(folder: Path, n: int) -> Round:
    # As many full models as fit into half of what is free.
    n = min(n, int(psutil.virtual_memory().available // 2 // 100e6))
    first = plain_classifier(6)
    return task_by_task([partial(logits, copy.deepcopy(first)) for _ in range(n)])


def task_by_task(answers: list[Callable[[list[str]], Any]]) -> Round:
    """Ask each task for the texts that are its."""

    def go(texts: list[str], tasks: list[int]) -> None:
        for task, rows in pd.Series(texts).groupby(np.array(tasks) % len(answers)):
            answers[int(str(task))](list(rows))

    return go


def peft_mixed(folder: Path, n: int) -> Round:
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"]
    )
    model = get_peft_model(plain_classifier(6), config, adapter_name="0")
    for i in range(1, n):
        model.add_adapter(str(i), config)
    for name, weight in model.eval().named_parameters():
        if "lora_B" in name:  # so that adapters differ
            torch.nn.init.normal_(weight.data, std=0.02)
    return lambda texts, tasks: logits(model, texts, list(map(str, tasks)))


def logits(model: Any, texts: list[str], adapters: list[str] | None = None) -> None:
    """Batches of like length, as one would write them by hand."""
    ids = plain_tokenizer()(texts, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(texts)), key=lambda row: -len(ids[row]))
    while order:
        size = max(1, N_TOKENS // len(ids[order[0]]))
        rows, order = order[:size], order[size:]
        batch = plain_tokenizer().pad(
            {"input_ids": [ids[row] for row in rows]}, return_tensors="pt"
        )
        if adapters is not None:
            batch["adapter_names"] = [adapters[row] for row in rows]
        with torch.inference_mode():
            model(**batch)


CONTESTANTS: dict[str, tuple[Callable[[Path, int], Round], int]] = {
    "DeltaBank, 1": (bank, 1),
    "DeltaBank, 10": (bank, 10),
    "DeltaBank, 100": (bank, 100),
    "DeltaBank, 1000": (bank, 1000),
    "classifiers one by one, 100": (one_by_one, 100),
    "separate models": (separate, 100),
    "DeltaBank of LoRA, 100": (partial(bank, tuning="lora"), 100),
    "peft, mixed LoRA batch, 100": (peft_mixed, 100),
}


def build(who: str, folder: Path, n: int) -> None:
    _here["answer"] = CONTESTANTS[who][0](folder, n)


def answer(texts: list[str], tasks: list[int]) -> float:
    return clock(lambda: _here["answer"](texts, tasks))


def seconds_to_add(folder: Path) -> float:
    """Median time to take one more task into the bank."""
    new = [varied(joblib.load(folder / "layernorm"), i) for i in range(20)]
    add = _here["bank"].add
    return statistics.median(clock(partial(add, f"new{i}", clf)) for i, clf in enumerate(new))


def traffic(out: Path, n_texts: int, n_rounds: int, most: int) -> None:
    """Fit, build all, take turns."""
    X, y = fetch_text_dataset("trec")
    texts = list(X[-n_texts:])
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        lora = LoraTuning(rank=RANK, alpha=ALPHA)
        for name, tuning in (("lora", lora), ("layernorm", "layernorm")):
            clf = fitted(X[:256], y[:256], tuning=tuning, precision="float32")
            joblib.dump(clf, folder / name)
        processes, runs = {}, []
        for who, (_, n) in CONTESTANTS.items():
            processes[who] = harness.Process()
            processes[who](build, who, folder, min(n, most))
            runs.append({"who": who, "tasks": min(n, most), "seconds": []})
        for _ in range(1 + n_rounds):  # the first warms up
            for run in runs:
                tasks = [i % run["tasks"] for i in range(n_texts)]
                run["seconds"].append(processes[run["who"]](answer, texts, tasks))
        for run in runs:
            run["resident, MB"] = round(processes[run["who"]](resident), 1)
            run["texts a second"] = round(n_texts / statistics.median(run["seconds"][1:]), 1)
        adding = processes["DeltaBank, 1000"](seconds_to_add, folder)
        for process in processes.values():
            process.end()
    report = {
        "runs": runs,
        "milliseconds to add one to 1000": round(1e3 * adding, 2),
        "kilobytes of a delta": round(sum(v.nbytes for v in clf.delta_.values()) / 1e3, 1),
        "texts": n_texts,
        "rounds": n_rounds,
        "cores": os.cpu_count(),
    }
    harness.write(out, "bank", report, "peft")


def figure_artefacts() -> str:
    """Kilobytes of each form of a classifier, and what many of them cost."""
    report = read("artefacts")
    forms = {"saved": "save, folder", "saved.zip": "save, zip", "pickle": "joblib, pickle"}
    forms |= {each: f"export_{each}" for each in ("peft", "onnx", "transformers")}
    kilobytes = pd.Series(report["kilobytes"], name="kB").rename(index=forms).to_frame()
    who = {"ours": "sklearn-lntune, zip", "peft": "peft adapters", "skorch": "skorch pickles"}
    many = pd.DataFrame(report["many"]).T.rename(index=who)
    return (
        "A classifier of 77 classes (Banking77) on the default backbone:\n\n"
        + rst(kilobytes.astype({"kB": object}))
        + "\nMany such classifiers on one machine, each of which predicts one text:\n\n"
        + rst(many.astype({"classifiers": int}).astype(object))
        + f"\n{harness.origin(report)}; ``benchmarks/many.py``.\n"
    )


def figure_memory() -> str:
    """What a hundred pickles add."""
    report = read("memory")
    table = {
        "pickle of a classifier of 8 classes, kB": report["pickle_kilobytes"],
        "resident memory added a classifier, MB": report["added_a_classifier_megabytes"],
        "loading one and its first prediction, ms": report[
            "load_and_first_prediction_milliseconds"
        ],
    }
    note = f"\n{report['classifiers']} classifiers on one backbone, {report['date']}.\n"
    return rst(pd.Series(table, name="value").to_frame()) + note


def figure_bank() -> str:
    """Memory and speed of many tasks at prediction."""
    report = read("bank")
    frame = pd.DataFrame(report["runs"]).set_index("who")
    frame = frame[["tasks", "resident, MB", "texts a second"]]
    return (
        f"Mixed traffic: {report['texts']} texts of TREC in one request, text *i* for task *i* "
        "modulo the number of tasks. All tasks have six classes.\n\n"
        + rst(frame.astype(object))
        + f"\nA delta takes {report['kilobytes of a delta']} kB. Taking one more into the bank of "
        f"1,000 took {report['milliseconds to add one to 1000']} ms. Medians of "
        f"{report['rounds']} rounds in turns, a process each, float32, {report['threads']} threads "
        f"of {report['cores']} cores {harness.origin(report)}; ``benchmarks/many.py``.\n"
    )


def main() -> None:
    given = harness.options(
        __doc__, parts=(("load", "traffic"),) * 2, rows=(3000, 300), texts=(512, 16),
        counts=((1000, 100, 10, 100), (3, 2, 2, 3)), rounds=(5, 1), most=(1000, 3),
    )  # fmt: skip
    if "load" in given.parts:
        loading(given.out, given.rows, given.counts)
    if "traffic" in given.parts:
        traffic(given.out, given.texts, given.rounds, given.most)


if __name__ == "__main__":
    main()
