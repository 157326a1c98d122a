"""Backbone folders that are malformed, or written in another way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.harness import Example, check, describe
from fuzz.inputs import check_learnt, kept_whole
from fuzz.saved import (
    RAW_JSON,
    RAW_TENSORS,
    damages,
    forgeries,
    tensor_forgeries,
)
from fuzz.subject import LABELS, TEXTS, Subject
from hypothesis import strategies as st
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from sklearn_lntune import clear_backbones

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
#: What sentence-transformers adds.
EXTRAS: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
}


@dataclass(frozen=True)
class Deed:
    """A change of a folder.

    Attributes
    ----------
    name : str
    do : callable
        Given the folder.
    is_fatal : bool
        Whether the folder is of no use afterwards, so that an answer would be nonsense.
    is_harmless : bool
        Whether it is the same backbone afterwards.
    """

    name: str
    do: Callable[[Path], None]
    is_fatal: bool = False
    is_harmless: bool = False


def _json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def _write(folder: Path, name: str, value: Any, **options: Any) -> None:
    text = json.dumps(value, **options)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))


def _edit(name: str, change: Callable[[Any], Any], **options: Any) -> Callable[[Path], None]:
    return lambda folder: _write(folder, name, change(_json(folder, name)), **options)


def _set(name: str, key: str, value: Any) -> Callable[[Path], None]:
    return _edit(name, lambda whole: whole | {key: value})


def _weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        file = folder / WEIGHTS
        file.write_bytes(write_tensors(change(read_tensors(file.read_bytes())), {"format": "pt"}))

    return do


def _header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the header of the weights and nothing else."""

    def do(folder: Path) -> None:
        whole = (folder / WEIGHTS).read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8:end])
        change(header)
        fresh = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(len(fresh).to_bytes(8, "little") + fresh + whole[end:])

    return do


def _in_shards(
    index: Callable[[dict[str, Any]], Any] = lambda index: index,
) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        tensors = read_tensors((folder / WEIGHTS).read_bytes())
        (folder / WEIGHTS).unlink()
        names = sorted(tensors)
        weight_map = {}
        for number, part in enumerate((names[::2], names[1::2]), 1):
            shard = f"model-0000{number}-of-00002.safetensors"
            held = write_tensors({name: tensors[name] for name in part}, {"format": "pt"})
            (folder / shard).write_bytes(held)
            weight_map |= dict.fromkeys(part, shard)
        whole = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        _write(folder, INDEX, index(whole))

    return do


def _pointing(shard: str) -> Callable[[Path], None]:
    """An index whose first tensor stands in ``shard``."""

    def index(whole: dict[str, Any]) -> dict[str, Any]:
        first = min(whole["weight_map"])
        return whole | {"weight_map": whole["weight_map"] | {first: shard}}

    return _in_shards(index)


def _offsets(header: dict[str, Any], change: Callable[[int, int], list[int]]) -> None:
    name = max(key for key in header if key != "__metadata__")
    header[name]["data_offsets"] = change(*header[name]["data_offsets"])


def _first(header: dict[str, Any], **fields: Any) -> None:
    name = min(key for key in header if key != "__metadata__")
    header[name] |= fields


def _removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with(name: str, content: bytes) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return do


def _in_turn(*deeds: Callable[[Path], None]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        for each in deeds:
            each(folder)

    return do


def _more_tokens(whole: Any) -> Any:
    """A tokenizer with a token that the model has no row for."""
    whole["model"]["vocab"]["unheard-of"] = 500
    return whole


_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_SMALL |= {"intermediate_size": 24, "projection_dim": 16}


def _other_model(model_type: str, **more: Any) -> Callable[[Path], None]:
    """The configuration of a model that reads something other than tokens."""
    return lambda folder: _write(folder, CONFIG, {"model_type": model_type, **_SMALL, **more})


_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
_HTML = b"<!DOCTYPE html><html><body>404</body></html>"
DEEDS = [
    # -- of no use afterwards
    Deed("no config", _removed(CONFIG), is_fatal=True),
    Deed("no weights", _removed(WEIGHTS), is_fatal=True),
    Deed("no tokenizer", _in_turn(_removed(TOKENIZER), _removed(TOKENIZER_CONFIG)), is_fatal=True),
    Deed("no vocabulary", _removed(TOKENIZER), is_fatal=True),
    *(
        Deed(f"{name} is {describe(content, 20)}", _with(name, content), is_fatal=True)
        for name in (CONFIG, WEIGHTS, TOKENIZER)
        for content in (_LFS, _HTML, b"", b"\0" * 64, b"null", b"[]")
    ),
    Deed("NaN in the weights", _weights(lambda t: {k: v * np.nan for k, v in t.items()}), True),
    Deed("infinite weights", _weights(lambda t: {k: v + np.inf for k, v in t.items()}), True),
    Deed("tokens beyond the rows", _edit(TOKENIZER, _more_tokens), is_fatal=True),
    Deed("a vision model", _other_model("vit"), is_fatal=True),
    Deed("a speech model", _other_model("wav2vec2"), is_fatal=True),
    Deed("two towers", _other_model("clip", text_config=_SMALL, vision_config=_SMALL), True),
    Deed("an unknown model", _set(CONFIG, "model_type", "nonsense"), is_fatal=True),
    Deed("no model_type", _edit(CONFIG, lambda c: {k: c[k] for k in c if k != "model_type"}), True),
    *(
        Deed(f"{key}={value}", _set(CONFIG, key, value), is_fatal=True)
        for key, value in (
            *(
                ("hidden_size", 10**9),
                ("hidden_size", -1),
                ("hidden_size", "16"),
                ("hidden_size", 0),
            ),
            *(("num_hidden_layers", 10**9), ("num_hidden_layers", -1), ("num_hidden_layers", None)),
            *(("vocab_size", 10**12), ("vocab_size", 3), ("num_attention_heads", 7)),
            *(
                ("num_attention_heads", 0),
                ("intermediate_size", 10**12),
                ("hidden_act", "nonsense"),
            ),
            *(("max_position_embeddings", -1), ("max_position_embeddings", 10**12)),
            *(("hidden_size", True), ("layer_norm_eps", "small")),
        )
    ),
    *(
        Deed(f"a shard called {shard}", _pointing(shard), is_fatal=True)
        for shard in (
            *(
                "../../outside.safetensors",
                "/etc/passwd",
                "pytorch_model.bin",
                "missing.safetensors",
            ),
            *("", ".", "sub/model.safetensors", "..\\x.safetensors", "a\0.safetensors", CONFIG),
        )
    ),
    *(
        Deed(
            f"an index that is {describe(content, 20)}",
            _in_turn(_in_shards(), _with(INDEX, content)),
            True,
        )
        for content in (b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 3}}', _LFS)
    ),
    Deed("short offsets", _header(lambda h: _offsets(h, lambda a, b: [a, b - 4])), is_fatal=True),
    Deed("long offsets", _header(lambda h: _offsets(h, lambda a, b: [a, b + 4])), is_fatal=True),
    Deed("turned offsets", _header(lambda h: _offsets(h, lambda a, b: [b, a])), is_fatal=True),
    Deed("far offsets", _header(lambda h: _offsets(h, lambda a, b: [10**15, 10**15 + 4])), True),
    Deed("a large shape", _header(lambda h: _first(h, shape=[10**9, 10**9])), is_fatal=True),
    Deed("an unknown type", _header(lambda h: _first(h, dtype="F128")), is_fatal=True),
    Deed("a type of other size", _header(lambda h: _first(h, dtype="F64")), is_fatal=True),
    Deed("half of the weights", _weights(lambda t: dict(sorted(t.items())[::2]))),
    Deed("no weights inside", _weights(lambda t: {}), is_fatal=True),
    Deed("weights of another model", _weights(lambda t: {f"x.{k}": v for k, v in t.items()})),
    # -- the same backbone afterwards
    Deed("nothing", lambda folder: None, is_harmless=True),
    Deed(
        "JSON in another form",
        _edit(CONFIG, lambda c: c, indent=7, sort_keys=True),
        is_harmless=True,
    ),
    Deed("in shards", _in_shards(), is_harmless=True),
    Deed(
        "weights in another order",
        _weights(lambda t: dict(sorted(t.items())[::-1])),
        is_harmless=True,
    ),
    Deed("another version", _set(CONFIG, "transformers_version", "4.0.0"), is_harmless=True),
    Deed("a README", _with("README.md", b"# hello"), is_harmless=True),
    Deed("an unused vocab.txt", _with("vocab.txt", b"a\nb\n"), is_harmless=True),
    Deed("a hidden folder", _with(".cache/x", b"x"), is_harmless=True),
]


@st.composite
def folders(draw: st.DrawFn) -> Example:
    """A backbone's folder with one thing wrong, or none."""
    kind = draw(st.sampled_from(["deed"] * 4 + ["forged"] * 4 + ["damaged", "tensors", "raw"]))
    with_extras = draw(st.booleans())
    names = [CONFIG, CONFIG, TOKENIZER, TOKENIZER_CONFIG, *(EXTRAS if with_extras else ())]
    name = draw(st.sampled_from([*names, WEIGHTS] if kind in ("damaged", "raw") else names))
    notes: list[str] = []
    deed = draw(st.sampled_from(DEEDS))
    if kind == "forged":
        note, change = draw(forgeries())

        def forge(folder: Path) -> None:
            _edit(name, change)(folder)
            notes[:] = note

        deed = Deed(f"forged {name} ", forge)
    elif kind == "damaged":
        text, damage = draw(damages())

        def harm(folder: Path) -> None:
            (folder / name).write_bytes(damage((folder / name).read_bytes()))

        deed = Deed(f"damaged {name}: {text}", harm)
    elif kind == "tensors":
        text, tensors = draw(tensor_forgeries())
        deed = Deed(f"tensors: {text}", _weights(tensors))
    elif kind == "raw":
        content = draw(st.sampled_from(RAW_TENSORS if name == WEIGHTS else RAW_JSON))
        deed = Deed(f"{name} is {describe(content, 40)}", _with(name, content))
    precision = draw(st.sampled_from(["float32", "float32", "float64"]))  # the latter converts
    return _example(deed, with_extras, precision, notes)


def every_deed() -> list[Example]:
    """Each of `DEEDS` by itself."""
    return [_example(deed, with_extras=True, precision="float32") for deed in DEEDS]


def _example(
    deed: Deed, with_extras: bool, precision: str, notes: list[str] | None = None
) -> Example:
    label = f"folder: {deed.name}, extras: {with_extras}, {precision} "
    return Example(
        label,
        lambda subject: _of_folder(subject, deed, with_extras, precision),
        [] if notes is None else notes,
    )


def _of_folder(subject: Subject, deed: Deed, with_extras: bool, precision: str) -> None:
    clear_backbones()
    with subject.scratch() as scratch:
        folder = scratch / "backbone"
        shutil.copytree(subject.backbone, folder)
        if with_extras:
            for name, value in EXTRAS.items():
                _write(folder, name, value)
        deed.do(folder)
        clf = subject.classifier(backbone=folder, precision=precision, max_length="auto")
        with kept_whole(clf):
            clf.fit(TEXTS, LABELS)
        check(not deed.is_fatal, f"taken, though of no use: {deed.name}")
        check_learnt(clf)
        found = clf.predict_proba(TEXTS)
        check(bool(np.isfinite(found).all()), "probabilities are not finite")
        if deed.is_harmless:
            again = subject.copy_of_fitted().set_params(backbone=folder)
            same = np.allclose(again.predict_proba(TEXTS), subject.probabilities, atol=1e-6)
            check(same, "the same backbone answers otherwise")
