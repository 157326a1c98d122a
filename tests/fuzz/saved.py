"""Saved classifiers and adapters that are damaged, or forged with digests that are right."""

from __future__ import annotations

import copy
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.harness import Example, check, describe
from fuzz.inputs import check_learnt, kept_whole
from fuzz.subject import LABELS, TEXTS, Subject
from hypothesis import strategies as st
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from sklearn_lntune import LNTunedTransformerClassifier, load
from sklearn_lntune.persistence.sealed import write_sealed
from sklearn_lntune.training.checkpoint import ARRAYS, FIT, STATE

SUMS = "SHA256SUMS"
_BOOL = st.booleans()

# -- bytes -------------------------------------------------------------------------------

Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, Damage]:
    """A change of some bytes, at places given as shares of the whole."""
    kind = draw(
        st.sampled_from(
            ["flip", "flip", "cut", "drop", "zero", "repeat", "insert", "append", "swap"]
        )
    )
    at, more = draw(st.floats(0, 1)), draw(st.integers(1, 64))
    noise = draw(st.binary(min_size=1, max_size=8))

    def change(whole: bytes) -> bytes:
        i = min(int(at * len(whole)), max(len(whole) - 1, 0))
        part = whole[i : i + more]
        if kind == "flip":
            flipped = bytes(byte ^ noise[k % len(noise)] or 1 for k, byte in enumerate(part[:1]))
            return whole[:i] + flipped + whole[i + 1 :]
        return {
            "cut": whole[:i],
            "drop": whole[:i] + whole[i + more :],
            "zero": whole[:i] + bytes(len(part)) + whole[i + more :],
            "repeat": whole[:i] + part + whole[i:],
            "insert": whole[:i] + noise + whole[i:],
            "append": whole + noise,
            "swap": whole[i:] + whole[:i],
        }[kind]

    return f"{kind} at {at:.4f} ({more}, {noise!r})", change


@st.composite
def damaged(draw: st.DrawFn) -> Example:
    """A saved zip or folder with damage: refused, or none of what counts was hit."""
    zipped = draw(st.booleans())
    name, change = draw(damages())
    file = draw(st.sampled_from(["config.json", "delta.safetensors", SUMS, "README.md"]))
    deed = (
        "change" if zipped else draw(st.sampled_from(["change", "change", "remove", "add", "move"]))
    )
    target = "zip" if zipped else f"{deed} {file} of a folder"
    return Example(
        f"damaged: {target}, {name}",
        lambda subject: _of_damage(subject, zipped, deed, file, change),
    )


def _of_damage(subject: Subject, zipped: bool, deed: str, file: str, change: Damage) -> None:
    with subject.scratch() as scratch:
        source = subject.saved_zip if zipped else subject.saved_folder
        path = scratch / source.name
        if zipped:
            path.write_bytes(change(source.read_bytes()))
        else:
            shutil.copytree(source, path)
            hit = path / file
            if deed == "change":
                hit.write_bytes(change(hit.read_bytes()))
            elif deed == "remove":
                hit.unlink()
            elif deed == "add":
                (path / "more.bin").write_bytes(change(b"more"))
            else:
                hit.rename(path / f"{file}.old")
        clf = load(path)
        check(clf.get_params() == subject.fitted.get_params(), "damage changes a parameter")
        found = clf.predict_proba(TEXTS)
        check(bool((found == subject.probabilities).all()), "damage changes the answers")


# -- JSON --------------------------------------------------------------------------------

_SCALARS = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            2,
            3,
            10**6,
            10**9,
            2**63,
            10**30,
            -(10**9),
            0.5,
            -1.5,
            1e308,
        ),
        *(math.nan, math.inf, "", "x", "auto", "mean", "native", "..", "../../x", "/etc/passwd"),
        *("\0", "\ud800", "0", "x" * 2000, "<U500000000", "float64", "object", "int32"),
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=4,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something stands, the whole left out; of long lists, the start."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())[:80]
    elif isinstance(value, list):
        inner = list(enumerate(value[:5]))
    found = [(*at, key) for key, _ in inner]
    for key, each in inner:
        found += _places(each, (*at, key))
    return found


@st.composite
def forgeries(draw: st.DrawFn, values: st.SearchStrategy[Any] = _VALUES) -> Any:
    """A function that changes a JSON value at one place, and its name."""
    where = draw(st.floats(0, 1, exclude_max=True))
    deed = draw(st.sampled_from(["replace", "replace", "replace", "delete", "add", "copy", "wrap"]))
    fresh = draw(values)
    named = [""]

    def change(whole: Any) -> Any:
        places = _places(whole)
        if not places:
            return fresh
        place = places[int(where * len(places))]
        named[0] = f"{deed} {'/'.join(map(str, place))[:80]} {describe(fresh, 60)}"
        whole = copy.deepcopy(whole)
        holder = whole
        for key in place[:-1]:
            holder = holder[key]
        key = place[-1]
        if deed == "replace":
            holder[key] = fresh
        elif deed == "delete":
            del holder[key]
        elif deed == "add" and isinstance(holder, dict):
            holder["more"] = fresh
        elif deed == "copy" and isinstance(holder, dict):
            holder["copy"] = holder[key]
        elif deed == "copy":
            holder.append(holder[key])
        else:
            holder[key] = [holder[key]]
        return whole

    return named, change


def _forged_json(content: bytes, changes: list[Any], notes: list[str]) -> bytes:
    whole = json.loads(content)
    for name, change in changes:
        whole = change(whole)
        notes.append(name[0])
    return json.dumps(whole).encode("utf-8", "surrogatepass")


# -- forged documents ------------------------------------------------------------------------

#: Forms of a value that `save` knows, with claims that cost much or mean nothing.
_CLAIMS = st.sampled_from(
    [
        {"range": [0, 10**9, 1]},
        {"range": [0, 1, 0]},
        {"range": [0, 10**400, 1]},
        {"range": []},
        {"tuple": [1, 2]},
        {"tuple": 3},
        {"float": "nan"},
        {"float": "x"},
        {"float": None},
        {"dict": [[1, 2]]},
        {"dict": [[{"dict": []}, 1]]},
        {"dict": [1]},
        {"path": "/nowhere"},
        {"path": "\0"},
        {"path": None},
        {"method": {"name": "lora", "params": {"rank": 10**8}}},
        {"method": {"name": "prefix", "params": {"length": 10**9}}},
        {"method": {"name": "adapter", "params": {"size": 10**9}}},
        {"method": {"name": "nonsense", "params": {}}},
        {"method": {"name": "layernorm", "params": {"nonsense": 1}}},
        {"method": {}},
        {"sum": []},
        {"sum": [{"name": "bias", "params": {"layers": {"range": [0, 10**9, 1]}}}] * 2},
        {"sum": None},
        {"dtype": "<U500000000", "values": ["a", "b"]},
        {"dtype": "<U4", "values": ["b", "a"]},
        {"dtype": "<U4", "values": ["a", "a"]},
        {"dtype": "<i8", "values": [1, 2, 3]},
        {"dtype": "<f8", "values": [{"float": "nan"}, 1.0]},
        {"dtype": "object", "values": [[1], [2]]},
        {"dtype": "V8", "values": ["a", "b"]},
        {"dtype": "M8[D]", "values": ["2024-01-01", "NaT"]},
        {"dtype": "i8,i8", "values": [1, 2]},
        {"dtype": "(2,)i8", "values": [1, 2]},
        {"dtype": {"names": ["a"]}, "values": [1]},
    ]
)
_CONFIG_VALUES = st.one_of(_VALUES, _CLAIMS, _CLAIMS)


@st.composite
def tensor_forgeries(draw: st.DrawFn) -> tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    deed = draw(
        st.sampled_from(
            [
                "nan",
                "inf",
                "large",
                "type",
                "shape",
                "scalar",
                "empty",
                "rename",
                "drop",
                "add",
                "int",
            ]
        )
    )
    where = draw(st.floats(0, 1, exclude_max=True))
    kind = draw(st.sampled_from(["float64", "float16", "int64", "bool", "uint8"]))

    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        name = sorted(tensors)[int(where * len(tensors))]
        value, rest = tensors[name], {key: each for key, each in tensors.items() if key != name}
        with np.errstate(all="ignore"):  # of NaN to a whole number
            typed, whole = value.astype(kind), value.astype("int32")
            full = {
                each: np.full_like(value, number)
                for each, number in {"nan": np.nan, "inf": np.inf, "large": 3e38}.items()
            }
        renamed = {f"{name}x": value} if deed == "rename" else {"more": value, name: value}
        return rest | {
            **{each: {name: values} for each, values in full.items()},
            "type": {name: typed},
            "int": {name: whole},
            "shape": {name: value.reshape(1, *value.shape)},
            "scalar": {name: np.array(1, np.float32)},
            "empty": {name: value[:0]},
            "drop": {},
        }.get(deed, renamed)

    return f"{deed} {where:.3f} {kind}", change


RAW_JSON = [
    *(b"", b"{", b"[]", b"null", b"3", b'"x"', b"{}", b"\xff\xfe{}", b"NaN", b"{" * 5000),
    *(b"[" * 100_000, b'{"a": 1e999}', b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}', b"\0" * 9),
]
RAW_TENSORS = [
    *(b"", b"\0" * 8, b"\xff" * 16, (10**9).to_bytes(8, "little") + b"{}", b"not tensors"),
    (2).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"[]",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
    b"<html></html>",
]


@st.composite
def forged(draw: st.DrawFn) -> Example:
    """A saved classifier with fields that `save` did not write, under digests that are right."""
    kind = draw(st.sampled_from(["config"] * 6 + ["tensors", "tensors", "raw"]))
    raw = draw(st.sampled_from(RAW_JSON)), draw(st.sampled_from(RAW_TENSORS))
    changes = draw(st.lists(forgeries(_CONFIG_VALUES), min_size=1, max_size=2))
    tensor_name, tensor_change = draw(tensor_forgeries())
    zipped, swap = draw(st.booleans()), draw(st.booleans())
    named: list[str] = []

    def act(subject: Subject) -> None:
        files = {
            file.name: file.read_bytes()
            for file in subject.saved_folder.iterdir()
            if file.is_file()
        }
        del files[SUMS]
        if kind == "raw":
            files["config.json" if swap else "delta.safetensors"] = raw[0] if swap else raw[1]
        elif kind == "tensors":
            tensors = tensor_change(read_tensors(files["delta.safetensors"]))
            files["delta.safetensors"] = write_tensors(tensors)
        else:
            files["config.json"] = _forged_json(files["config.json"], changes, named)
        with subject.scratch() as scratch:
            path = scratch / ("forged.zip" if zipped else "forged")
            write_sealed(path, files)
            clf = load(path, backbone=subject.backbone if swap else None)
            _answers(clf, scratch)

    label = {"raw": describe(raw[0] if swap else raw[1]), "tensors": tensor_name}.get(kind, "")
    return Example(f"forged: {kind} {label}", act, named)


def _answers(clf: Any, scratch: Path) -> None:
    """What loads can be looked at, predicts something sane or says why not, and saves again."""
    repr(clf)
    check(hasattr(clf, "classes_"), "what was loaded has no classes_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = clf.predict_proba(TEXTS)
        answers = clf.predict(TEXTS)
        vectors = clf.embed(TEXTS)
    check(found.shape == (len(TEXTS), len(clf.classes_)), f"probabilities: {found.shape}")
    check(bool(np.isfinite(found).all()), "probabilities are not finite")
    check(bool(np.isfinite(vectors).all()), "vectors are not finite")
    check(set(map(str, answers.tolist())) <= set(map(str, clf.classes_.tolist())), "other labels")
    check(vectors.shape[1] == clf.embedding_size_, "embedding_size_ is not that of the vectors")
    clf.save(scratch / "again.zip")
    same = load(scratch / "again.zip", backbone=clf.backbone).predict_proba(TEXTS)
    check(bool((same == found).all()), "saved again, it answers otherwise")


# -- checkpoints ----------------------------------------------------------------------------


@st.composite
def checkpoints(draw: st.DrawFn) -> Example:
    """The state of a finished fit, damaged or forged; the same fit is called again."""
    kind = draw(st.sampled_from(["damage", "config", "config", "tensors", "raw"]))
    name, damage = draw(damages())
    file = draw(st.sampled_from([FIT, ARRAYS, SUMS]))
    changes = draw(st.lists(forgeries(), min_size=1, max_size=2))
    tensor_name, tensor_change = draw(tensor_forgeries())
    raw, swap = (draw(st.sampled_from(RAW_JSON)), draw(st.sampled_from(RAW_TENSORS))), draw(_BOOL)
    notes: list[str] = []

    def act(subject: Subject) -> None:
        expected = subject.checkpointed
        with subject.scratch() as scratch:
            shutil.copytree(subject.folder / "checkpoint", scratch / "fit")
            state = scratch / "fit" / STATE
            files = {each.name: each.read_bytes() for each in state.iterdir()}
            if kind == "damage":
                (state / file).write_bytes(damage(files[file]))
            else:
                del files[SUMS]
                if kind == "config":
                    files[FIT] = _forged_json(files[FIT], changes, notes)
                elif kind == "tensors":
                    files[ARRAYS] = write_tensors(tensor_change(read_tensors(files[ARRAYS])))
                else:
                    files[FIT if swap else ARRAYS] = raw[0] if swap else raw[1]
                write_sealed(state, files)
            clf = subject.classifier(checkpoint=scratch / "fit")
            with kept_whole(clf):
                clf.fit(TEXTS, LABELS)
            check_learnt(clf)
            same = all((clf.delta_[key] == value).all() for key, value in expected.items())
            check(same or kind != "damage", "damage changes what is resumed")

    label = {"damage": f"{file} {name}", "tensors": tensor_name}.get(kind, "")
    return Example(f"checkpoint: {kind} {label} ", act, notes)


# -- adapters ------------------------------------------------------------------------------


@st.composite
def adapters(draw: st.DrawFn) -> Example:
    """An adapter in peft's form with forged fields."""
    kind = draw(st.sampled_from(["config"] * 4 + ["tensors", "tensors", "raw", "bytes"]))
    source = draw(st.sampled_from(["layernorm", "lora"]))
    changes = draw(st.lists(forgeries(), min_size=1, max_size=2))
    tensor_name, tensor_change = draw(tensor_forgeries())
    damage_name, damage = draw(damages())
    raw = draw(st.sampled_from(RAW_JSON)), draw(st.sampled_from(RAW_TENSORS))
    swap = draw(st.booleans())
    classes = draw(st.sampled_from([None, None, ["a", "b"], ["a"], [], "ab", [None, 1], 3]))
    named: list[str] = []

    def act(subject: Subject) -> None:
        with subject.scratch() as scratch:
            folder = scratch / "adapter"
            shutil.copytree(subject.adapter(source), folder)
            config, tensors = folder / "adapter_config.json", folder / "adapter_model.safetensors"
            if kind == "config":
                config.write_bytes(_forged_json(config.read_bytes(), changes, named))
            elif kind == "tensors":
                tensors.write_bytes(
                    write_tensors(tensor_change(read_tensors(tensors.read_bytes())))
                )
            else:
                hit = config if swap else tensors
                fresh = raw[0 if swap else 1]
                hit.write_bytes(fresh if kind == "raw" else damage(hit.read_bytes()))
            backbone = subject.backbone if swap else None
            clf = LNTunedTransformerClassifier.from_peft(
                folder, classes, backbone=backbone, device="cpu", precision="float32"
            )
            _answers(clf, scratch)

    label = {"tensors": tensor_name, "bytes": damage_name}.get(kind, "")
    return Example(f"adapter: {source} {kind} {label}, classes={classes!r} ", act, named)
