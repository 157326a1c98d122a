"""What is saved comes back: bit for bit, type for type, from a folder and from a zip."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import save_backbone
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_lntune import BackboneMismatchError, DeltaBank, LNTunedTransformerClassifier, load
from sklearn_lntune.persistence import FittedState
from sklearn_lntune.persistence.sealed import read_sealed, write_sealed
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    TuningSum,
)

Clf = Callable[..., LNTunedTransformerClassifier]
KINDS = pytest.mark.parametrize("name", ["saved", "saved.zip"])


@pytest.fixture(scope="module")
def fitted(
    tiny_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> LNTunedTransformerClassifier:
    clf = LNTunedTransformerClassifier(
        tiny_backbone(), max_epochs=2, min_steps=0, precision="float64", device="cpu"
    )
    return clf.set_params(batch_size=8, random_state=0).fit(texts, labels)


@pytest.fixture
def clf(fitted: LNTunedTransformerClassifier) -> LNTunedTransformerClassifier:
    """A copy, free to change."""
    return copy.deepcopy(fitted)


def exact(params: dict[str, Any]) -> dict[str, tuple[type, str]]:
    """Parameters in a form that tells a list from a range, and 1 from True."""
    return {name: (type(value), repr(value)) for name, value in params.items()}


def assert_same(back: LNTunedTransformerClassifier, clf: LNTunedTransformerClassifier) -> None:
    assert exact(back.get_params()) == exact(clf.get_params())
    found, expected = (FittedState.from_attributes(vars(each)) for each in (back, clf))
    assert found.target_kind == expected.target_kind
    assert set(found.target_state) == set(expected.target_state)
    for name, value in expected.target_state.items():
        assert found.target_state[name].dtype == value.dtype
        assert exact({"": found.target_state[name].tolist()}) == exact({"": value.tolist()})
    assert set(found.delta) == set(expected.delta)
    for name, value in expected.delta.items():
        assert found.delta[name].dtype == value.dtype
        assert found.delta[name].shape == value.shape
        assert found.delta[name].tobytes() == value.tobytes()
    for field in ("backbone", "tuning", "pooling", "max_length", "embedding_size", "log"):
        assert getattr(found, field) == getattr(expected, field)
    assert (found.n_steps, found.n_epochs) == (expected.n_steps, expected.n_epochs)
    assert back.n_features_in_ == clf.n_features_in_
    pd.testing.assert_frame_equal(back.history_, clf.history_)


def there(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, dot files included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


# -- round trips -----------------------------------------------------------------------


@KINDS
def test_a_saved_one_predicts_bit_for_bit_the_same(
    clf: LNTunedTransformerClassifier, texts: list[str], name: str, tmp_path: Path
) -> None:
    clf.save(tmp_path / name)
    back = load(tmp_path / name)
    assert_same(back, clf)
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert (back.predict(texts) == clf.predict(texts)).all()
    assert (back.embed(texts) == clf.embed(texts)).all()


LABELS: dict[str, Callable[[int], Any]] = {
    "str": lambda i: ["no", "yes", "größer"][i % 3],
    "int64": lambda i: [-5, 0, 2**40][i % 3],
    "bool": lambda i: i % 2 == 0,
    "object": lambda i: ["a", "longer", ""][i % 3],
    "float64": lambda i: [0.0, 1.0, -2.0][i % 3],
}


@KINDS
@pytest.mark.parametrize("kind", LABELS)
def test_classes_keep_their_type(
    tiny_clf: Clf, texts: list[str], kind: str, name: str, tmp_path: Path
) -> None:
    y = np.array([LABELS[kind](i) for i in range(len(texts))], dtype=kind)
    clf = tiny_clf(max_epochs=1).fit(texts, y)
    clf.save(tmp_path / name)
    back = load(tmp_path / name)
    assert_same(back, clf)
    assert back.classes_.dtype == y.dtype
    assert back.predict(texts).dtype == y.dtype
    assert (back.predict(texts) == clf.predict(texts)).all()


@KINDS
def test_sentence_pairs(
    tiny_clf: Clf, texts: list[str], labels: list[str], name: str, tmp_path: Path
) -> None:
    X = list(zip(texts, reversed(texts), strict=True))
    clf = tiny_clf(max_epochs=1).fit(X, labels)
    clf.save(tmp_path / name)
    back = load(tmp_path / name)
    assert_same(back, clf)
    assert back.n_features_in_ == 2
    assert not hasattr(back, "feature_names_in_")
    assert (back.predict_proba(X) == clf.predict_proba(X)).all()
    with pytest.raises(ValueError, match="expecting 2 features"):
        back.predict(texts)


@KINDS
def test_column_names(
    tiny_clf: Clf, texts: list[str], labels: list[str], name: str, tmp_path: Path
) -> None:
    X = pd.DataFrame({"subject": texts, "body": texts[::-1]})
    clf = tiny_clf(max_epochs=1).fit(X, labels)
    clf.save(tmp_path / name)
    back = load(tmp_path / name)
    assert_same(back, clf)
    assert back.feature_names_in_.dtype == object
    assert back.feature_names_in_.tolist() == ["subject", "body"]
    assert (back.predict_proba(X) == clf.predict_proba(X)).all()
    with pytest.raises(ValueError, match="feature names"):
        back.predict(X.rename(columns={"body": "text"}))


SUM = LayerNormTuning(terms="gain", layers=range(1, 2)) + PrefixTuning(4, layers=1)
PARAMS: dict[str, dict[str, Any]] = {
    "name": {"tuning": "layernorm+bias"},
    "method": {"tuning": LayerNormTuning(sites=("attention", "ffn"), layers=[0, -1])},
    "range": {"tuning": BiasTuning(sites="ffn", layers=range(2), norms=False)},
    "tuple": {"tuning": LoraTuning(4, alpha=0.5, targets=("query",), layers=(0, 1))},
    "float": {"tuning": AdapterTuning(8, scale=0.1, activation="relu")},
    "sum": {"tuning": SUM},
    "empty sum": {"tuning": TuningSum()},
    "dict of lr": {"lr": {"layernorm": 5e-3, "prefix": "auto"}},
    "integer keys": {"class_weight": {0: 0.5, 1: 2}},
    "string keys": {"class_weight": {"blue": 1.0, "red": 1e-300}},
    "bool keys": {"class_weight": {True: 0.1 + 0.2, False: 1}},
    "none": {"max_grad_norm": None, "random_state": None, "class_weight": None},
    "numbers": {"lr": 0.1, "warmup": 0, "batch_size": 3, "weight_decay": 5e-324},
    "flags": {"early_stopping": True, "warm_start": True, "scoring": "accuracy"},
    "text": {"revision": "Größe \u2028 '\"\\ \n", "device": ""},
    "string": {"backbone": "some/where", "max_length": 12},
    "path": {"backbone": Path("some") / "where"},
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_parameters_come_back_as_they_were(
    clf: LNTunedTransformerClassifier, params: dict[str, Any], tmp_path: Path
) -> None:
    clf.set_params(**params).save(tmp_path / "saved.zip")
    back = load(tmp_path / "saved.zip")
    assert exact(back.get_params(deep=False)) == exact(clf.get_params(deep=False))


def test_numpy_scalars_come_back_as_plain_numbers(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    scalars: dict[str, Any] = {
        "lr": np.float64(0.5),
        "dropout": np.float32(0.1),
        "batch_size": np.int64(4),
    }
    scalars |= {"warm_start": np.bool_(True), "pooling": np.str_("mean")}
    clf.set_params(**scalars, tuning=LayerNormTuning(layers=np.int64(1)))
    clf.save(tmp_path / "saved.zip")
    back = load(tmp_path / "saved.zip")
    for name, value in scalars.items():
        assert getattr(back, name) == value
        assert type(getattr(back, name)) is type(value.item())
    assert repr(back.tuning) == "LayerNormTuning(layers=1)"


@pytest.mark.parametrize("tuning", [SUM, "full", "head"], ids=["sum", "full", "head"])
def test_every_array_of_a_delta_comes_back(
    tiny_clf: Clf, texts: list[str], labels: list[str], tuning: Any, tmp_path: Path
) -> None:
    clf = tiny_clf(tuning=tuning, pooling="native", max_epochs=1).fit(texts, labels)
    clf.save(tmp_path / "saved")
    back = load(tmp_path / "saved")
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert {k: v.tobytes() for k, v in back.delta_.items()} == {
        k: v.tobytes() for k, v in clf.delta_.items()
    }


# -- what is written -------------------------------------------------------------------


def test_the_folder_holds_four_files_and_no_pickle(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    files = there(tmp_path / "saved")
    assert set(files) == {"README.md", "SHA256SUMS", "config.json", "delta.safetensors"}
    assert sum(len(content or b"") for content in files.values()) < 10_000


def test_config_says_what_the_classifier_is(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.set_params(tuning=SUM).save(tmp_path / "saved", metrics={"accuracy": 0.75}, data="a line")
    config = config_of(tmp_path / "saved")
    assert config["format_version"] == 1
    packages = {"sklearn-lntune", "torch", "transformers", "scikit-learn", "skorch", "numpy"}
    assert set(config["versions"]) == {*packages, "python"}
    assert set(config["params"]) == set(clf.get_params(deep=False))
    assert config["params"]["tuning"] == {
        "sum": [
            {
                "name": "layernorm",
                "params": {"terms": "gain", "sites": "all", "layers": {"range": [1, 2, 1]}},
            },
            {
                "name": "prefix",
                "params": {"length": 4, "layers": 1, "projection": None, "init": "vocabulary"},
            },
        ]
    }
    assert config["classes"] == {"dtype": "<U5", "values": ["blue", "green", "red"]}
    assert config["backbone"] == clf.backbone_
    assert set(config["backbone"]) == {
        *("name", "revision", "fingerprint", "tokenizer", "parameters", "parts")
    }
    assert (config["pooling"], config["max_length"]) == ("mean", 64)
    assert config["training"] == {"n_steps": 10, "n_epochs": 2, "log": clf.log_}
    assert config["metrics"] == {"accuracy": 0.75}
    assert config["data"] == "a line"
    assert config["columns"] == {"n_features_in": 1}


@pytest.mark.parametrize(
    "number",
    [0.75, 1, np.float64(0.75), np.float32(0.75), float("nan")],
    ids=["float", "int", "float64", "float32", "nan"],
)
def test_metrics_of_any_number_type(
    clf: LNTunedTransformerClassifier, number: Any, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved", metrics={"score": number})
    found = config_of(tmp_path / "saved")["metrics"]["score"]
    assert found == ({"float": "nan"} if np.isnan(number) else float(number))
    assert f"score: {float(number):.4g}" in (tmp_path / "saved" / "README.md").read_text("utf-8")


def test_without_metrics(clf: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    clf.save(tmp_path / "saved")
    assert config_of(tmp_path / "saved")["metrics"] == {}


@KINDS
def test_the_same_content_is_the_same_bytes(
    clf: LNTunedTransformerClassifier, name: str, tmp_path: Path
) -> None:
    for folder in ("one", "two", "three"):
        clf.save(tmp_path / folder / name, metrics={"accuracy": 0.5}, data="a line")
        clf = load(tmp_path / folder / name)
    one, two, three = (there(tmp_path / folder) for folder in ("one", "two", "three"))
    assert one == two == three


# -- replacing -------------------------------------------------------------------------


@KINDS
def test_saving_again_replaces_what_was_there(
    clf: LNTunedTransformerClassifier, name: str, tmp_path: Path
) -> None:
    clf.save(tmp_path / name)
    first = clf.delta_
    for factor in (2, 3):
        clf.delta_ = {key: factor * value for key, value in first.items()}
        clf.save(tmp_path / name)
        assert_same(load(tmp_path / name), clf)
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_to_a_folder_can_be_saved_to_again(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    (tmp_path / "link").symlink_to(tmp_path / "saved", target_is_directory=True)
    for lr in (0.25, 0.5):
        clf.set_params(lr=lr).save(tmp_path / "link")
        assert load(tmp_path / "link").lr == lr


def test_folders_on_the_way_are_made_and_an_empty_one_is_used(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    clf.save(tmp_path / "empty")
    clf.save(tmp_path / "a" / "b" / "saved.zip")
    assert_same(load(tmp_path / "empty"), clf)
    assert_same(load(str(tmp_path / "a" / "b" / "saved.zip")), clf)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("things", "other things in it"),
        ("sums", "other things in it"),
        ("file", "is a file"),
        ("folder.zip", "is a folder"),
    ],
)
def test_what_is_no_saved_classifier_is_left_alone(
    clf: LNTunedTransformerClassifier, target: str, message: str, tmp_path: Path
) -> None:
    for folder, file in (("things", "a"), ("sums", "SHA256SUMS"), ("folder.zip", "a")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("")
        (tmp_path / folder / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = there(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        clf.save(tmp_path / target)
    assert str(tmp_path / target) in str(caught.value)
    assert there(tmp_path) == before


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writer:
        for name, content in members.items():
            writer.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def with_a_thesis(ours: bytes) -> bytes:
    """Our own zip, to which somebody has added a file."""
    buffer = io.BytesIO(ours)
    with zipfile.ZipFile(buffer, "a") as writer:
        writer.writestr("thesis.txt", "years of work")
    return buffer.getvalue()


FOREIGN_FILES: dict[str, Callable[[bytes], bytes]] = {
    "zip": lambda ours: zipped(thesis_txt="years of work"),
    "zip of a model": lambda ours: zipped(config_json="{}", model_safetensors="weights"),
    "zip with a list": lambda ours: zipped(SHA256SUMS="", config_json="{}", thesis_txt="mine"),
    "zip with a thesis": with_a_thesis,
    "text": lambda ours: b"years of work",
    "cut zip": lambda ours: zipped(thesis_txt="years of work")[:-30],
    "zip behind other bytes": lambda ours: b"#!/bin/sh" + zipped(thesis_txt="years of work"),
}


@pytest.mark.parametrize("content", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_a_file_of_somebody_elses_is_not_replaced(
    clf: LNTunedTransformerClassifier, content: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "thesis.zip"
    clf.save(path)
    path.write_bytes(content(path.read_bytes()))
    before = there(tmp_path)
    with pytest.raises(ValueError, match=r"thesis\.zip is there already .*new name"):
        clf.save(path)
    assert there(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@KINDS
def test_what_is_neither_file_nor_folder_is_not_replaced(
    clf: LNTunedTransformerClassifier, name: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=name):
        clf.save(tmp_path / name)
    assert (tmp_path / name).is_fifo()


SUM_LINE = 64 * "0" + "  "
FOREIGN_FOLDERS: dict[str, dict[str, str]] = {
    "READMEs": {"README.md": "mine"},
    "notes": {"README-my-notes.md": "mine", "sub/.env": "mine", "sub/README.txt": "mine"},
    "hidden below": {"sub/.env": "mine"},
    "a list of other files": {"SHA256SUMS": SUM_LINE + "film.iso\n", "film.iso": "mine"},
    "a model": {"config.json": "{}", "model.safetensors": "mine", "README.md": "mine"},
    "a listed model": {
        "SHA256SUMS": f"{SUM_LINE}config.json\n{SUM_LINE}model.safetensors\n",
        "config.json": "{}",
        "model.safetensors": "mine",
    },
    "an adapter": {"adapter_config.json": "{}", "adapter_model.safetensors": "mine"},
}


@pytest.mark.parametrize("files", FOREIGN_FOLDERS.values(), ids=FOREIGN_FOLDERS)
def test_a_folder_of_somebody_elses_is_not_replaced(
    clf: LNTunedTransformerClassifier, files: dict[str, str], tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "notes" / name).write_text(content)
    before = there(tmp_path)
    with pytest.raises(ValueError, match="notes is a folder with other things in it"):
        clf.save(tmp_path / "notes")
    assert there(tmp_path) == before


def with_everything_listed(folder: Path) -> None:
    """As ``sha256sum * > SHA256SUMS`` does."""
    names = [path.name for path in folder.iterdir() if path.name != "SHA256SUMS"]
    (folder / "SHA256SUMS").write_text("".join(f"{SUM_LINE}{name}\n" for name in names))


@pytest.mark.parametrize(
    "name", ["thesis.txt", "model.safetensors", "sub/thesis.txt", "backbone/thesis.txt"]
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_classifier_with_somebody_elses_files_is_not_replaced(
    clf: LNTunedTransformerClassifier, name: str, listed: bool, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    (tmp_path / "saved" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "saved" / name).write_text("mine")
    if listed:
        with_everything_listed(tmp_path / "saved")
    before = there(tmp_path)
    with pytest.raises(ValueError, match="other things in it") as caught:
        clf.save(tmp_path / "saved")
    assert name in str(caught.value)
    assert there(tmp_path) == before


def test_what_others_may_put_there_stays_when_it_is_replaced(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    mine = {
        ".git/config": "mine",
        ".gitattributes": "mine",
        "README-my-notes.md": "mine",
        "sub/.env": "mine",
        "sub/README.txt": "mine",
    }
    for name, content in mine.items():
        (tmp_path / "saved" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "saved" / name).write_text(content)
    (tmp_path / "saved" / ".git" / "root").symlink_to("/")
    clf.set_params(lr=0.5).save(tmp_path / "saved")
    assert load(tmp_path / "saved").lr == 0.5
    for name, content in mine.items():
        assert (tmp_path / "saved" / name).read_text() == content
    assert (tmp_path / "saved" / ".git" / "root").is_symlink()


def test_a_folder_of_a_fresh_repository_is_used(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    (tmp_path / "saved" / ".git").mkdir(parents=True)
    (tmp_path / "saved" / ".git" / "HEAD").write_text("ref: refs/heads/main")
    clf.save(tmp_path / "saved")
    assert_same(load(tmp_path / "saved"), clf)
    assert (tmp_path / "saved" / ".git" / "HEAD").read_text() == "ref: refs/heads/main"


@pytest.mark.parametrize("name", ["config.json", "delta.safetensors", "SHA256SUMS"])
@pytest.mark.parametrize("change", ["missing", "empty", "other"])
def test_a_damaged_classifier_is_replaced(
    clf: LNTunedTransformerClassifier, name: str, change: str, tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    (tmp_path / "saved" / name).unlink()
    if change != "missing":
        (tmp_path / "saved" / name).write_text("" if change == "empty" else "other")
    clf.save(tmp_path / "saved")
    assert_same(load(tmp_path / "saved"), clf)


def test_a_damaged_zip_is_replaced(clf: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    path = tmp_path / "saved.zip"
    clf.save(path)
    whole = path.read_bytes()
    files = read_sealed(path)
    with zipfile.ZipFile(path) as reader:
        entries = range(0, reader.start_dir, 97)
        directory = range(reader.start_dir, len(whole), 3)
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in entries]
    cut = [whole[:at] for at in (0, 60, len(whole) // 2, len(whole) - 1)]
    for content in (*flipped, *cut, whole + b"0"):
        path.write_bytes(content)
        write_sealed(path, files)
        assert path.read_bytes() == whole
    refused = 0
    for at in directory:  # where the names are: it may not be known any more, and then stays
        path.write_bytes(content := whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            write_sealed(path, files)
        except ValueError:
            refused += 1
            assert path.read_bytes() == content
        else:
            assert path.read_bytes() == whole
    assert refused < len(directory) / 3


def test_below_a_file_there_is_no_place(clf: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "saved", tmp_path / "file" / "more" / "saved.zip"):
        with pytest.raises(ValueError, match="is not a folder"):
            clf.save(path)
    assert there(tmp_path) == {"file": b"mine"}


ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "metrics a number": ({"metrics": 5}, "metrics must be a mapping"),
    "metrics a list": ({"metrics": ["accuracy"]}, "metrics must be a mapping"),
    "metric a word": ({"metrics": {"accuracy": "good"}}, r"metrics\['accuracy'\] must be a number"),
    "metric a list": ({"metrics": {"accuracy": [1]}}, r"metrics\['accuracy'\] must be a number"),
    "metric too large": ({"metrics": {"n": 10**400}}, r"metrics\['n'\] must be a number"),
    "metric of no name": ({"metrics": {3: 0.5}}, "metrics must be numbers by name"),
    "data an object": ({"data": object()}, "data must be a string; got object"),
    "data a list": ({"data": ["a"]}, "data must be a string; got list"),
    "drop a number": ({"drop": 5}, "drop must be names"),
    "drop numbers": ({"drop": [5, "lr"]}, r"drop names \['5'\]"),
}


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_wrong_arguments_are_named(
    clf: LNTunedTransformerClassifier, arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        clf.save(tmp_path / "saved", **arguments)
    with pytest.raises((TypeError, ValueError), match=message):
        clf.push_to_hub("me/tickets", **arguments)
    assert there(tmp_path) == {}


@pytest.mark.parametrize("path", [None, 5, b"saved", ["saved"]], ids=repr)
def test_a_path_is_a_string_or_a_path(clf: LNTunedTransformerClassifier, path: Any) -> None:
    for call in (clf.save, clf.export_peft, clf.export_transformers, clf.export_onnx):
        with pytest.raises(TypeError, match="must be a string or a path"):
            call(path)
    for read in (load, LNTunedTransformerClassifier.from_peft, DeltaBank.from_folder):
        with pytest.raises(TypeError, match="must be a string or a path"):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes_": np.array(["red", "blue", "green"])}, "classes must be sorted"),
        ({"max_length_": 2**40}, "max_length"),
        ({"delta_": {}}, "delta"),
        ({"tuning": LoraTuning(0)}, "rank"),
    ],
    ids=["classes", "max_length", "delta", "tuning"],
)
def test_what_could_not_be_read_again_is_not_written(
    clf: LNTunedTransformerClassifier, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    vars(clf).update(change)
    with pytest.raises(ValueError, match=f"cannot be saved: .*{message}"):
        clf.save(tmp_path / "saved")
    assert there(tmp_path) == {}


@KINDS
def test_labels_of_a_type_far_too_long_are_saved_in_one_that_fits(
    clf: LNTunedTransformerClassifier, name: str, tmp_path: Path
) -> None:
    names = clf.classes_.tolist()
    clf.classes_ = clf.classes_.astype("<U1000000")
    clf.save(tmp_path / name)
    assert load(tmp_path / name).classes_.dtype == np.dtype("<U5")
    assert load(tmp_path / name).classes_.tolist() == names


# -- parameters that cannot be written ---------------------------------------------------


@KINDS
def test_parameters_without_a_form_in_json_are_named(
    clf: LNTunedTransformerClassifier, name: str, tmp_path: Path
) -> None:
    clf.set_params(callbacks=[object()], scoring=len, random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match="JSON") as caught:
        clf.save(tmp_path / name)
    for param in ("callbacks", "scoring", "random_state"):
        assert param in str(caught.value)
    assert "drop=" in str(caught.value)
    with pytest.raises(ValueError, match=re.escape("['scoring']")) as caught:
        clf.save(tmp_path / name, drop=["callbacks", "random_state"])
    assert "callbacks" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@KINDS
def test_dropped_parameters_are_the_defaults(
    clf: LNTunedTransformerClassifier, texts: list[str], name: str, tmp_path: Path
) -> None:
    clf.set_params(callbacks=[object()], scoring=len, lr=0.5)
    clf.save(tmp_path / name, drop=("callbacks", "scoring", "lr"))
    back = load(tmp_path / name)
    assert (back.callbacks, back.scoring, back.lr) == (None, "loss", "auto")
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert clf.scoring is len


def test_drop_takes_one_name_and_refuses_unknown_ones(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.set_params(callbacks=[object()]).save(tmp_path / "saved", drop="callbacks")
    assert load(tmp_path / "saved").callbacks is None
    with pytest.raises(ValueError, match=re.escape("['callback', 'tuning__terms']")):
        clf.save(tmp_path / "saved", drop=["tuning__terms", "callback", "callbacks"])


def test_an_unfitted_one_has_nothing_to_save(tiny_clf: Clf, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        tiny_clf().save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


# -- the backbone ------------------------------------------------------------------------


@pytest.fixture
def own(clf: LNTunedTransformerClassifier, tmp_path: Path) -> LNTunedTransformerClassifier:
    """One whose backbone may be moved about."""
    return clf.set_params(backbone=save_backbone(tmp_path / "original"))


def test_the_loaded_one_takes_the_backbone_beside_it(
    own: LNTunedTransformerClassifier, texts: list[str], tmp_path: Path
) -> None:
    own.set_params(revision="main").save(tmp_path / "saved", include_backbone=True)
    back = load(tmp_path / "saved")
    assert back.backbone == tmp_path / "saved" / "backbone"
    assert back.revision is None
    other = load(tmp_path / "saved", backbone=tmp_path / "original")
    assert other.backbone == tmp_path / "original"
    assert (back.predict_proba(texts) == own.predict_proba(texts)).all()


def test_a_backbone_goes_into_no_zip(own: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="include_backbone"):
        own.save(tmp_path / "saved.zip", include_backbone=True)
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_folder_with_its_backbone_can_be_saved_onto_itself(
    own: LNTunedTransformerClassifier, texts: list[str], tmp_path: Path
) -> None:
    expected = own.predict_proba(texts)
    own.save(tmp_path / "saved", include_backbone=True)
    before = there(tmp_path / "saved")
    shutil.rmtree(tmp_path / "original")
    back = load(tmp_path / "saved")
    back.save(tmp_path / "saved", include_backbone=True)
    assert set(there(tmp_path / "saved")) == set(before)
    assert (load(tmp_path / "saved").predict_proba(texts) == expected).all()


def test_the_only_copy_of_a_backbone_is_not_lost_by_saving(
    own: LNTunedTransformerClassifier, texts: list[str], tmp_path: Path
) -> None:
    expected = own.predict_proba(texts)
    own.save(tmp_path / "saved", include_backbone=True)
    shutil.rmtree(tmp_path / "original")
    back = load(tmp_path / "saved")
    with contextlib.suppress(ValueError):  # to refuse is as good as to keep
        back.save(tmp_path / "saved", metrics={"accuracy": 0.5})
    assert (load(tmp_path / "saved").predict_proba(texts) == expected).all()


@KINDS
def test_a_moved_backbone_is_pointed_to(
    own: LNTunedTransformerClassifier, texts: list[str], name: str, tmp_path: Path
) -> None:
    expected = own.predict_proba(texts)
    own.set_params(revision="main").save(tmp_path / name)
    shutil.move(tmp_path / "original", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="original"):
        load(tmp_path / name).predict(texts)
    back = load(tmp_path / name, backbone=tmp_path / "elsewhere")
    assert back.get_params()["backbone"] == tmp_path / "elsewhere"
    assert back.revision is None
    assert (back.predict_proba(texts) == expected).all()


def test_another_backbone_is_refused_at_the_first_prediction(
    clf: LNTunedTransformerClassifier, texts: list[str], tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    other = save_backbone(tmp_path / "other", initializer_range=0.5)
    back = load(tmp_path / "saved", backbone=other)
    with pytest.raises(BackboneMismatchError, match="another model"):
        back.predict(texts)
    with pytest.raises(BackboneMismatchError, match="another model"):
        back.save(tmp_path / "again", include_backbone=True)


def test_trust_is_never_taken_from_a_file(
    clf: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf.set_params(trust_remote_code=True).save(tmp_path / "saved")
    assert load(tmp_path / "saved").trust_remote_code is False
    assert load(tmp_path / "saved", trust_remote_code=True).trust_remote_code is True


# -- what a loaded one can do ------------------------------------------------------------


def test_what_partial_fit_learnt_is_saved_and_can_go_on(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(lr=0.02)
    for _ in range(2):
        clf.partial_fit(texts, labels, classes=["blue", "green", "red", "rare"])
    clf.save(tmp_path / "saved")
    back = load(tmp_path / "saved")
    assert_same(back, clf)
    assert not hasattr(back, "moments_")
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    back.partial_fit(texts, labels)
    assert back.n_epochs_ == len(back.history_) == 3
    assert back.n_steps_ == 15


def test_a_loaded_one_can_be_cloned_fitted_pickled_and_inspected(
    clf: LNTunedTransformerClassifier, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved.zip")
    back = load(tmp_path / "saved.zip")
    assert_same(pickle.loads(pickle.dumps(back)), clf)
    assert len(back.net().history) == back.n_epochs_ == 2
    again = clone(back)
    assert not hasattr(again, "delta_")
    again.fit(texts, labels)
    assert (again.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert (back.fit(texts, labels).predict_proba(texts) == clf.predict_proba(texts)).all()


# -- what is not a saved classifier -----------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "no/where", "a/b/c"])
def test_a_path_with_nothing_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a folder") as caught:
        load(tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(ValueError, match=f"{name}' is neither a folder"):
        load(name)


def test_something_else_is_no_saved_classifier(
    tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("some text")
    (tmp_path / "none.zip").write_bytes(b"")
    for path in (tmp_path / "empty", tmp_path / "file", tmp_path / "none.zip", tiny_backbone()):
        with pytest.raises(ValueError, match="saved classifier") as caught:
            load(path)
        assert str(path) in str(caught.value)


def changed_config(folder: Path, **changes: Any) -> Path:
    """A folder like ``folder``, digests and all, with other entries in its config."""
    config = config_of(folder) | changes
    files: dict[str, bytes | Path] = {
        "config.json": json.dumps(config).encode(),
        "delta.safetensors": folder / "delta.safetensors",
    }
    write_sealed(folder.parent / "changed", files)
    return folder.parent / "changed"


def test_a_later_format_is_refused(clf: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    clf.save(tmp_path / "saved")
    later = changed_config(
        tmp_path / "saved", format_version=3, versions={"sklearn-lntune": "9.9"}, params="other"
    )
    message = r"saved in format 3, by sklearn-lntune 9\.9, .* reads up to 2; upgrade"
    with pytest.raises(ValueError, match=message):
        load(later)


ODD: dict[str, dict[str, Any]] = {
    "format is text": {"format_version": "1"},
    "format is null": {"format_version": None},
    "later, versions a list": {"format_version": 3, "versions": []},
    "params a list": {"params": []},
    "unknown parameter": {"params": {"no_such_parameter": 1}},
    "unknown kind of value": {"params": {"lr": {"pickle": "gASV"}}},
    "unknown method": {"params": {"tuning": {"method": {"name": "shell", "params": {}}}}},
    "unknown argument": {"params": {"tuning": {"method": {"name": "bias", "params": {"x": 1}}}}},
    "classes a list": {"classes": ["a", "b"]},
    "unknown type of classes": {"classes": {"dtype": "no such", "values": []}},
    "training missing": {"training": None},
    "tuning a number": {"tuning": 3},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_a_config_that_makes_no_sense_is_a_value_error(
    clf: LNTunedTransformerClassifier, changes: dict[str, Any], tmp_path: Path
) -> None:
    clf.save(tmp_path / "saved")
    with pytest.raises(ValueError, match="changed"):
        load(changed_config(tmp_path / "saved", **changes))


@pytest.mark.parametrize(
    "config",
    ["", "[]", "3", "{}", "[" * 100_000],
    ids=["nothing", "list", "number", "empty", "deep"],
)
def test_a_config_that_is_no_object_is_a_value_error(config: str, tmp_path: Path) -> None:
    write_sealed(tmp_path / "odd", {"config.json": config.encode(), "delta.safetensors": b""})
    with pytest.raises(ValueError, match="config.json"):
        load(tmp_path / "odd")


def test_a_folder_may_be_called_as_the_backbones_owner(
    clf: LNTunedTransformerClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clf.set_params(backbone="owner/model")  # on the hub, not in this folder
    clf.save("owner")
    assert load("owner").backbone == "owner/model"
