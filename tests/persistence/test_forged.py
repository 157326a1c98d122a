"""Files from strangers: what they claim is refused before memory or time is spent on it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from persistence.test_damage import sealed
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from sklearn_lntune import (
    DamagedFileError,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    load,
)
from sklearn_lntune.bank.delta_bank import DeltaBank
from sklearn_lntune.persistence.sealed import write_sealed
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
)

Arrays = dict[str, np.ndarray]
EVERYTHING = LayerNormTuning() + BiasTuning() + LoraTuning(2) + PrefixTuning(2) + AdapterTuning(3)


@pytest.fixture(scope="module")
def saved(
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """``all``, tuned in every way that needs arguments, and ``native`` with the model's head."""
    parent = tmp_path_factory.mktemp("saved")
    clf = LNTunedTransformerClassifier(
        tiny_backbone(), max_epochs=1, min_steps=0, random_state=0, device="cpu"
    )
    clf.set_params(tuning=EVERYTHING).fit(texts[:8], labels[:8]).save(parent / "all")
    clf.set_params(tuning="layernorm", pooling="native").fit(texts[:8], labels[:8])
    clf.save(parent / "native")
    marks = [[row % 2, row % 3 == 0] for row in range(8)]
    clf.set_params(pooling="auto").fit(texts[:8], marks).save(parent / "labels")
    reg = LNTunedTransformerRegressor(
        tiny_backbone(), max_epochs=1, min_steps=0, random_state=0, device="cpu"
    )
    reg.fit(texts[:8], [[row, -1.5 * row] for row in range(8)]).save(parent / "numbers")
    return parent


def read(folder: Path) -> tuple[dict[str, Any], Arrays]:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return config, load_arrays((folder / "delta.safetensors").read_bytes())


def forged(
    path: Path, config: Mapping[str, Any] | bytes, delta: Mapping[str, np.ndarray] | bytes
) -> Path:
    """A classifier with right digests, whatever it says."""
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    arrays = delta if isinstance(delta, bytes) else save_arrays(dict(delta))
    write_sealed(path, {"config.json": text, "delta.safetensors": arrays})
    return path


def assert_refused(path: Path) -> str:
    with pytest.raises(DamagedFileError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["all", "native", "labels", "numbers"])
def test_what_is_forged_without_changes_loads(
    saved: Path, name: str, tmp_path: Path, texts: list[str]
) -> None:
    clf = load(forged(tmp_path / "clf", *read(saved / name)))
    assert (clf._compute(texts) == load(saved / name)._compute(texts)).all()


# -- fields of config.json -----------------------------------------------------------------


def labels_of(dtype: Any, *values: Any) -> dict[str, Any]:
    return {"classes": {"dtype": dtype, "values": list(values)}}


FIELDS: dict[str, dict[str, Any]] = {
    "type of half a gigabyte": labels_of("<U500000000", "a", "b", "c"),
    "type of endless digits": labels_of("<U" + "9" * 5000, "a", "b", "c"),
    "one label longer than all others": labels_of(
        "<U200000", *(f"{i:06}" for i in range(10_000)), "a" * 200_000
    ),
    "type too short": labels_of("<U1", "a", "b", "cc"),
    "type of many numbers": labels_of("(1000000000,)f8", 1, 2, 3),
    "type of records": labels_of("f8,f8", 1, 2, 3),
    "void type": labels_of("V1000000000", "a", "b", "c"),
    "bytes": labels_of("|S3", "a", "b", "c"),
    "complex": labels_of("<c16", 1, 2, 3),
    "type is a list": labels_of(["<U1"], "a", "b", "c"),
    "type is null": labels_of(None, "a", "b", "c"),
    "numbers too large": labels_of("|u1", 1, 2, 300),
    "numbers as strings": labels_of("<i8", "1", "2", "3"),
    "fractions as integers": labels_of("<i8", 1, 2, 2.5),
    "booleans as integers": labels_of("<i8", False, True, 2),
    "strings as objects and numbers": labels_of("object", "a", "b", 1),
    "lists": labels_of("object", [1], [2], [3]),
    "none among them": labels_of("object", "a", "b", None),
    "not numbers": labels_of("<f8", 1.0, 2.0, {"float": "nan"}),
    "no dates": labels_of("<M8[D]", "a", "b", "c"),
    "not sorted": labels_of("<U5", "red", "green", "blue"),
    "one twice": labels_of("<U5", "blue", "blue", "red"),
    "one too few": labels_of("<U5", "blue", "red"),
    "one too many": labels_of("<U5", "blue", "green", "red", "white"),
    "one only": labels_of("<U5", "blue"),
    "none at all": labels_of("<U5"),
    "values are a string": {"classes": {"dtype": "<U1", "values": "abc"}},
    "values missing": {"classes": {"dtype": "<U1"}},
    **{
        f"pooling {value!r}": {"pooling": value}
        for value in ("nonsense", "auto", "native", "", None, 3, ["mean"])
    },
    **{
        f"max_length {str(value)[:20]!r}": {"max_length": value}
        for value in (-5, 0, 1.5, "64", None, True, 2**31, 10**18, 10**400, [64])
    },
    **{
        f"embedding_size {value!r}": {"embedding_size": value}
        for value in (0, -1, 17, 10**12, "16", None, 16.5)
    },
    **{
        f"columns {value!r}": {"columns": value}
        for value in (
            {},
            [],
            None,
            {"__class_": 5},
            {"n_features_in": 1, "predict": 5},
            {"n_features_in": 0},
            {"n_features_in": 3},
            {"n_features_in": "1"},
            {"n_features_in": True},
            {"n_features_in": 10**9},
            {"n_features_in": 1, "feature_names_in": ["a"]},
            {"n_features_in": 1, "feature_names_in": {"dtype": "object", "values": ["a", "b"]}},
            {"n_features_in": 1, "feature_names_in": {"dtype": "object", "values": [1]}},
            {"n_features_in": 1, "feature_names_in": {"dtype": "<U900000000", "values": ["a"]}},
        )
    },
    **{
        f"backbone {value!r}": {"backbone": value}
        for value in ({}, [], None, "bert", {"name": "bert"}, {"fingerprint": 3})
    },
    **{
        f"training {value!r}": {"training": {"n_steps": 1, "n_epochs": 1, "log": [], **value}}
        for value in (
            {"n_steps": -1},
            {"n_steps": "1"},
            {"n_epochs": 1.5},
            {"n_epochs": None},
            {"log": None},
            {"log": "abc"},
            {"log": [1]},
            {"log": [{"lr": {"range": [0, 10**9, 1]}}]},
            {"log": [{"lr": [[]]}]},
        )
    },
    **{
        f"metrics {value!r}": {"metrics": value}
        for value in ([], None, {"a": "b"}, {"a": None}, {"a": True}, {"a": {"path": "/"}})
    },
    **{f"data {value!r}": {"data": value} for value in (3, [], {})},
    **{
        f"versions {value!r}": {"versions": value, "format_version": 3} for value in (None, [], "a")
    },
    **{
        f"beside {value!r}": {"beside": value}
        for value in (3, "abc", [3], ["../up"], ["/etc/passwd"], ["backbone/config.json"], [""])
    },
    "params a list of pairs": {"params": [["lr", 1]]},
    "strange infinity": {"params": {"lr": {"float": "1e5"}}},
    "range of two": {"params": {"lr": {"range": [0, 5]}}},
    "range of fractions": {"params": {"lr": {"range": [0, 5.0, 1]}}},
    "range of strings": {"params": {"lr": {"range": "123"}}},
    "tuning is null": {"tuning": None},
    "tuning is a name": {"tuning": "layernorm"},
    "method of no name": {"tuning": [{"rank": 8}]},
    "method a list": {"tuning": [{"method": ["lora"]}]},
    "methods that exclude each other": {"tuning": [{"method": "full"}, {"method": "layernorm"}]},
    "no method": {"tuning": []},
}


@pytest.mark.parametrize("changes", FIELDS.values(), ids=FIELDS)
def test_every_field_is_checked(saved: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    config, delta = read(saved / "all")
    assert_refused(forged(tmp_path / "clf", config | changes, delta))


TWO = {"dtype": "<f8", "values": [1.0, 2.0]}
TASKS: list[Any] = [
    "numbers",
    [],
    {},
    {"kind": "numbers"},
    {"kind": "nope", "state": {}},
    {"kind": [], "state": {}},
    {"kind": "one_label", "state": {"target_mean": TWO, "target_scale": TWO}},
    {"kind": "many_labels", "state": {"target_mean": TWO, "target_scale": TWO}},
    {"kind": "many_labels", "state": {"classes": {"dtype": "<i8", "values": [1, 0]}}},
    {"kind": "many_labels", "state": {"classes": {"dtype": "<i8", "values": [0, 1, 2]}}},
    {"kind": "many_labels", "state": {"classes": {"dtype": "object", "values": ["a", "b"]}}},
    {"kind": "numbers", "state": {"target_mean": TWO}},
    {"kind": "numbers", "state": {"target_mean": TWO, "target_scale": TWO, "loss": TWO}},
    *(
        {"kind": "numbers", "state": {"target_mean": TWO, "target_scale": TWO} | changes}
        for changes in (
            {"target_mean": {"dtype": "<f8", "values": [1.0]}},
            {"target_mean": {"dtype": "<i8", "values": [1, 2]}},
            {"target_mean": {"dtype": "<f8", "values": [1.0, {"float": "nan"}]}},
            {"target_scale": {"dtype": "<f8", "values": [1.0, 0.0]}},
            {"target_scale": {"dtype": "<f8", "values": [1.0, -1.0]}},
            {"target_scale": {"dtype": "<f8", "values": [1.0, {"float": "inf"}]}},
            {"target_scale": {"dtype": "object", "values": ["a", "b"]}},
            {"target_scale": [1.0, 2.0]},
        )
    ),
]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_kind_and_state_of_the_targets_are_checked(saved: Path, task: Any, tmp_path: Path) -> None:
    config, delta = read(saved / "numbers")
    assert_refused(forged(tmp_path / "reg", config | {"task": task}, delta))


def test_classes_of_another_kind_of_target_are_not_read(saved: Path, tmp_path: Path) -> None:
    config, delta = read(saved / "labels")
    del config["task"]
    assert "classes" in assert_refused(forged(tmp_path / "clf", config, delta))


ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "layernorm": [{"terms": "nope"}, {"terms": "gain"}, {"sites": "everywhere"}, {"sites": []}],
    "bias": [{"norms": "yes"}, {"sites": 3}, {"sites": ["ffn", {"tuple": []}]}],
    "lora": [
        {"rank": 10**8},
        {"rank": 0},
        {"rank": -2},
        {"rank": 2.0},
        {"rank": True},
        {"rank": "2"},
        {"rank": None},
        {"alpha": 0},
        {"alpha": {"float": "nan"}},
        {"alpha": {"float": "inf"}},
        {"targets": "all"},
        {"targets": [[]]},
    ],
    "prefix": [{"length": 10**9}, {"length": 0}, {"projection": 0}, {"init": "zeros"}],
    "adapter": [
        {"size": 10**8},
        {"size": {"float": "nan"}},
        {"scale": -1},
        {"sites": "embedding"},
        {"insertion": "both"},
        {"activation": "eval"},
    ],
}
LAYERS: list[Any] = [
    {"range": [0, 10**9, 1]},
    {"range": [0, 10**30, 1]},
    {"range": [-(10**9), 0, 1]},
    {"range": [0, 0, 1]},
    "top",
    0,
    -1,
    1.5,
    None,
    [],
    [0.5],
    [[0]],
    {"dict": []},
]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (method, arguments)
        for method, listed in ARGUMENTS.items()
        for arguments in [*listed, *({"layers": layers} for layers in LAYERS), {"command": "true"}]
    ],
    ids=repr,
)
def test_arguments_of_methods_are_checked_by_the_methods(
    saved: Path, method: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    config, delta = read(saved / "all")
    for entry in config["tuning"]:
        if entry["method"] == method:
            entry |= arguments
    assert_refused(forged(tmp_path / "fitted", config, delta))
    config, delta = read(saved / "all")
    for entry in config["params"]["tuning"]["sum"]:
        if entry["name"] == method:
            entry["params"] |= arguments
    path = forged(tmp_path / "to fit", config, delta)
    if arguments == {"terms": "gain"}:
        load(path)  # a fit may well do that; the one that was done did not
    else:
        assert_refused(path)


# -- JSON ------------------------------------------------------------------------------------


TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "nested": lambda text: text[:-1] + ', "more": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "nested objects": lambda text: text[:-1] + ', "more": ' + '{"a":' * 50_000 + "1" + "}" * 50_001,
    "nested values": lambda text: (
        text.replace('"lr": "auto"', '"lr": ' + '{"tuple": [' * 300 + "1" + "]}" * 300)
        .replace("300", "300")
        .replace('"verbose": 0', '"verbose": ' + "[" * 900 + "]" * 900)
    ),
    "NaN": lambda text: text.replace('"max_epochs": 1', '"max_epochs": NaN'),
    "Infinity": lambda text: text.replace('"max_epochs": 1', '"max_epochs": Infinity'),
    "-Infinity": lambda text: text.replace('"max_epochs": 1', '"max_epochs": -Infinity'),
    "too large": lambda text: text.replace('"max_epochs": 1', '"max_epochs": 1e999'),
    "endless digits": lambda text: text.replace('"max_epochs": 1', '"max_epochs": ' + "1" * 9999),
    "a key twice": lambda text: text[:-1] + ', "pooling": "mean"}',
    "byte order mark": lambda text: "\ufeff" + text,
    "UTF-16": lambda text: text.encode("utf-16"),
    "Latin-1": lambda text: text.replace("blue", "blüe").encode("latin-1"),
    "two values": lambda text: text + text,
    "cut": lambda text: text[: len(text) // 2],
    "binary": lambda text: b"\x00\xff" * 50,
}


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
def test_json_is_read_strictly(
    saved: Path, change: Callable[[str], str | bytes], tmp_path: Path
) -> None:
    config, delta = read(saved / "all")
    text = change(json.dumps(config))
    content = text if isinstance(text, bytes) else text.encode()
    assert content != json.dumps(config).encode()
    assert "config.json" in assert_refused(forged(tmp_path / "clf", content, delta))


# -- the delta -------------------------------------------------------------------------------


def without(part: str) -> Callable[[Arrays], Arrays]:
    return lambda delta: {name: value for name, value in delta.items() if part not in name}


def with_each(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda delta: {
        name: change(value) if part in name else value for name, value in delta.items()
    }


DELTAS: dict[str, Callable[[Arrays], Arrays]] = {
    "nothing": lambda delta: {},
    "no head": without("head/"),
    "no bias of the head": without("head/bias"),
    "head of one class fewer": with_each("head/", lambda value: value[:-1]),
    "head of other vectors": with_each("head/weight", lambda value: value[:, :-1]),
    "another array of the head": lambda delta: delta | {"head/more": np.zeros(3, "f4")},
    "no norms": without("layernorm/"),
    "no gains": without("/gain"),
    "gain of two axes": with_each("/gain", lambda value: value[None]),
    "no A": without("/A"),
    "no B": without("/B"),
    "A of another rank": with_each("/A", lambda value: np.vstack([value, value])),
    "no keys": without("/keys"),
    "keys of another length": with_each("/keys", lambda value: value[:, :1]),
    "no way up": without("/up_weight"),
    "another name": lambda delta: delta | {"lora/somewhere/C": np.zeros((2, 2), "f4")},
    "another method": lambda delta: delta | {"full/somewhere/weight": np.zeros(2, "f4")},
    "no method": lambda delta: delta | {"weight": np.zeros(2, "f4")},
    "integers": with_each("head/bias", lambda value: value.astype("i4")),
    "half precision": with_each("head/bias", lambda value: value.astype("f2")),
    "not a number": with_each("head/bias", lambda value: value * np.float32("nan")),
    "infinite": with_each("layernorm/", lambda value: value + np.float32("inf")),
}


@pytest.mark.parametrize("change", DELTAS.values(), ids=DELTAS)
def test_arrays_are_those_of_the_tuning(
    saved: Path, change: Callable[[Arrays], Arrays], tmp_path: Path
) -> None:
    config, delta = read(saved / "all")
    assert_refused(forged(tmp_path / "clf", config, change(delta)))


def header(content: bytes, **entries: Any) -> bytes:
    """Safetensors ``content`` whose header says something else of one array."""
    size = int.from_bytes(content[:8], "little")
    said = json.loads(content[8 : 8 + size])
    said["head/bias"] |= entries
    text = json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "cut": lambda content: content[:-4],
    "longer": lambda content: content + b"0000",
    "endless header": lambda content: (2**62).to_bytes(8, "little") + content[8:],
    "endless shape": lambda content: header(content, shape=[10**12]),
    "endless data": lambda content: header(content, data_offsets=[0, 10**15]),
    "overlapping": lambda content: header(content, data_offsets=[0, 12]),
    "backwards": lambda content: header(content, data_offsets=[12, 0]),
    "unknown type": lambda content: header(content, dtype="F99"),
    "type of one byte": lambda content: header(content, dtype="F8_E4M3", shape=[12]),
    "negative": lambda content: header(content, shape=[-3]),
    "page of HTML": lambda content: b"<!DOCTYPE html><html></html>",
    "pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_headers_of_arrays_are_checked(
    saved: Path, change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    config, delta = read(saved / "all")
    assert_refused(forged(tmp_path / "clf", config, change(save_arrays(delta))))


# -- what only the backbone can tell -----------------------------------------------------------


def test_a_consistent_forgery_is_refused_before_a_network_is_built(
    saved: Path, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, delta = read(saved / "native")
    n = 5000
    config |= labels_of("<i8", *range(n)) | {"embedding_size": 1}
    head = {name: value for name, value in delta.items() if name.startswith("head/")}
    narrow = {
        name: np.zeros((n, 1) if value.ndim == 2 else n, "f4") for name, value in head.items()
    }
    clf = load(forged(tmp_path / "native", config, delta | narrow))
    # It would take n times the width.
    monkeypatch.setattr("sklearn_lntune.network.native_network.with_native_head", None)
    with pytest.raises(ValueError, match="belongs to another model"):
        clf.predict(texts)

    config, delta = read(saved / "all")
    config |= {"embedding_size": 2}
    clf = load(forged(tmp_path / "all", config, delta | {"head/weight": np.zeros((3, 2), "f4")}))
    monkeypatch.setattr("sklearn_lntune.network.network.RowHead", None)
    with pytest.raises(ValueError, match="belongs to another model"):
        clf.predict(texts)


@pytest.mark.parametrize("export", ["export_transformers", "export_peft", "export_onnx"])
def test_a_delta_of_another_model_is_not_exported(export: str, saved: Path, tmp_path: Path) -> None:
    config, delta = read(saved / "native")
    changed = {name: value if "head" in name else value[:5] for name, value in delta.items()}
    clf = load(forged(tmp_path / "clf", config, changed))
    with pytest.raises(ValueError, match="belongs to another model"):
        getattr(clf, export)(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_length_beyond_the_positions_is_an_error_at_prediction(
    saved: Path, tmp_path: Path, texts: list[str]
) -> None:
    config, delta = read(saved / "all")
    clf = load(forged(tmp_path / "clf", config | {"max_length": 10**6}, delta))
    with pytest.raises(ValueError, match=r"max_length=1000000, which is beyond the 64 positions"):
        clf.predict(texts)
    bank = DeltaBank.from_folder(tmp_path)
    with pytest.raises(ValueError, match="max_length=1000000"):
        bank.predict(texts)


# -- what is no file -----------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def link_to_a_folder(path: Path) -> None:
    (path.parent.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent.parent / "elsewhere", target_is_directory=True)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


ODD = pytest.mark.parametrize(
    "make", [pipe, device, listening, Path.mkdir, link_to_a_folder, link_to_itself, dangling_link]
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs the files of POSIX")


@POSIX
@ODD
@pytest.mark.parametrize("name", ["SHA256SUMS", "config.json", "delta.safetensors", "more"])
def test_what_is_no_file_is_refused(
    saved: Path, name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = forged(tmp_path / "clf", *read(saved / "all"))
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    if (name, make) == ("more", Path.mkdir):
        load(folder)  # an empty folder holds nothing
    else:
        assert_refused(folder)


@POSIX
@ODD
@pytest.mark.parametrize("name", ["clf.zip", "clf"])
def test_neither_file_nor_folder_is_no_classifier(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / name)
    with pytest.raises(ValueError, match=name):
        load(tmp_path / "in" / name)


@POSIX
def test_a_bank_passes_over_what_is_no_file(saved: Path, tmp_path: Path, texts: list[str]) -> None:
    forged(tmp_path / "clf", *read(saved / "all"))
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "device.zip").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "SHA256SUMS")
    bank = DeltaBank.from_folder(tmp_path)
    assert bank.names == ["clf"]
    assert len(bank.predict(texts)) == len(texts)


def test_a_backbone_beside_it_is_used_only_if_it_is_listed(saved: Path, tmp_path: Path) -> None:
    folder = forged(tmp_path / "clf", *read(saved / "all"))
    (folder / "backbone").mkdir()
    assert load(folder).backbone == load(saved / "all").backbone
    (folder / "backbone" / "README.md").write_text("free")
    assert load(folder).backbone == load(saved / "all").backbone
    (folder / "backbone" / "config.json").write_text("{}")
    assert_refused(folder)


@POSIX
def test_a_linked_backbone_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = forged(tmp_path / "clf", *read(saved / "all"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    (folder / "backbone").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "'backbone'" in assert_refused(folder)


def test_links_to_files_are_read_as_in_the_cache_of_the_hub(saved: Path, tmp_path: Path) -> None:
    folder = forged(tmp_path / "clf", *read(saved / "all"))
    for name in ("SHA256SUMS", "config.json", "delta.safetensors"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    load(folder)


# -- zips ------------------------------------------------------------------------------------------


@pytest.fixture
def members(saved: Path) -> dict[str, bytes]:
    names = ("config.json", "delta.safetensors", "SHA256SUMS")
    return {name: (saved / "all" / name).read_bytes() for name in names}


def test_overlapping_entries_are_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    """Many names of one content: a small file that would unpack to a large one."""
    big, n = b"0" * 10_000, 200
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writer:
        for name, content in members.items():
            writer.writestr(name, content)
        writer.writestr("a000", big)
        first = writer.getinfo("a000")
        for number in range(1, n):
            entry = zipfile.ZipInfo(f"a{number:03}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(entry, field, getattr(first, field))
            writer.filelist.append(entry)
        writer.comment = b"sha256:" + 64 * b"0"
    body = buffer.getvalue()[:-71]
    assert len(body) < n * len(big) / 20
    path = tmp_path / "bomb.zip"
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    assert_refused(path)


def test_sizes_claimed_in_a_zip_are_not_believed(members: dict[str, bytes], tmp_path: Path) -> None:
    content = sealed(members.items())
    claimed = struct.pack("<LL", len(members["config.json"]), len(members["config.json"]))
    assert claimed in content
    body = content.replace(claimed, struct.pack("<LL", 2**31, 2**31))[:-71]
    path = tmp_path / "clf.zip"
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    assert_refused(path)


@pytest.mark.parametrize(
    "name", ["../up", "/etc/up", "a/../../up", "config.json/", "con\nfig", "C:\\up", ".", "./"]
)
def test_names_that_lead_elsewhere_are_refused(
    members: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "in" / "clf.zip"
    path.parent.mkdir()
    digest = hashlib.sha256(b"more").hexdigest()
    listed = members["SHA256SUMS"] + f"{digest}  {name}\n".encode()
    path.write_bytes(sealed((members | {"SHA256SUMS": listed, name: b"more"}).items()))
    with contextlib.suppress(DamagedFileError):
        load(path)  # nothing is unpacked, so such a name may do no harm
    assert not (tmp_path / "up").exists()


def test_a_large_file_that_is_no_zip_of_ours_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.zip"
    with open(path, "wb") as stream:
        stream.truncate(2**40)  # on the disk it takes nothing, in memory it would
    assert_refused(path)
