"""``info``: what a file is, from the file alone; neither a backbone nor torch is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sklearn_lntune.cli.output import print_line, print_table
from sklearn_lntune.persistence.document import CONFIG, DELTA, Document, find_saved
from sklearn_lntune.persistence.sealed import listed_files, read_sealed

_PEFT, _HUB_CONFIG = "adapter_config.json", "config.json"

_KINDS = {
    "one_label": "classifier: one label per row",
    "many_labels": "classifier: several labels per row",
    "numbers": "regressor",
    "token_tags": "tagger: a tag for each word",
}

Path_ = Annotated[
    str, typer.Argument(metavar="FILE", help="A .zip, a folder, or user/name on the hub.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def info(path: Path_, as_json: Json = False) -> None:
    """Say what a saved classifier is: its classes, backbone, sizes and digests.

    Every byte is compared with the digests in the file. No backbone is looked for.

    Example:

        sklearn-lntune info tickets.zip
    """
    local = find_saved(path)
    if other := what_else(local):
        raise ValueError(f"{path} is {other}, not a classifier saved by sklearn-lntune")
    found = describe(local)
    if as_json:
        print_line(json.dumps(found, indent=1, ensure_ascii=False))
        return
    files = found.pop("files")
    learnt = found.pop("learnt")
    print_table(["", path], [[name, _shown(value)] for name, value in found.items()])
    print_line()
    print_table(
        ["learnt by", "arrays", "numbers", "bytes"], [list(each.values()) for each in learnt]
    )
    print_line()
    print_table(["file", "bytes", "sha256"], [list(each.values()) for each in files])


def describe(path: Path) -> dict[str, Any]:
    """All that a saved classifier says of itself, as plain values.

    Raises
    ------
    DamagedFileError
        If it is not as it was written.
    """
    contents = read_sealed(path, only=(CONFIG, DELTA))
    document = Document.read(contents, str(path))
    state = document.state
    return {
        "kind": _KINDS.get(state.target_kind, state.target_kind),
        "classes": [str(each) for each in _classes(state.target_state).tolist()],
        "texts": "pairs" if document.columns["n_features_in"] == 2 else "single",
        "backbone": state.backbone["name"],
        "revision": state.backbone["revision"],
        "fingerprint": state.backbone["fingerprint"],
        "tokenizer": state.backbone["tokenizer"],
        "tuning": " + ".join(str(entry["method"]) for entry in state.tuning) or "head",
        "pooling": state.pooling,
        "max_length": state.max_length,
        "steps": state.n_steps,
        "epochs": state.n_epochs,
        "metrics": document.metrics,
        "data": document.data,
        "written_by": json.loads(contents[CONFIG])["versions"],
        "learnt": _learnt(state.delta),
        "files": [
            {"file": name, "bytes": size, "sha256": digest}
            for name, (size, digest) in listed_files(path).items()
        ],
    }


def _classes(targets: dict[str, np.ndarray]) -> np.ndarray:
    """The names of several labels if they have any, or else the classes or tags."""
    return targets.get("label_names", targets.get("classes", np.array([])))


def _learnt(delta: dict[str, Any]) -> list[dict[str, Any]]:
    """Arrays, numbers and bytes by what has learnt them."""
    owners = dict.fromkeys(name.partition("/")[0] for name in delta)
    parts = {
        owner: [array for name, array in delta.items() if name.partition("/")[0] == owner]
        for owner in owners
    }
    return [
        {
            "learnt by": owner,
            "arrays": len(arrays),
            "numbers": sum(array.size for array in arrays),
            "bytes": sum(array.nbytes for array in arrays),
        }
        for owner, arrays in {**parts, "all": list(delta.values())}.items()
    ]


def what_else(path: Path) -> str | None:
    """What ``path`` is if it is of another kind that people keep models in; it is not opened."""
    if path.is_dir():
        if (path / _PEFT).is_file():
            return "an adapter for peft (LNTunedTransformerClassifier.from_peft reads some)"
        if (path / _HUB_CONFIG).is_file() and not (path / "SHA256SUMS").is_file():
            return "a model for transformers, perhaps a backbone"
        return None
    if path.suffix.lower() == ".onnx":
        return "a network for ONNX runtimes"
    if path.suffix.lower() == ".skops":
        return "a file of skops (skops.io.load reads it)"
    with path.open("rb") as stream:
        begin = stream.read(1)
    if begin == b"\x80":
        return "a pickle (joblib.load reads it, and runs whatever code is in it)"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value[:50]) + (f", ... ({len(value)})" if len(value) > 50 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "-"
    return "-" if value is None else str(value)
