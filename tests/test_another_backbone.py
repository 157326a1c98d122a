"""A fitted classifier and a backbone that moved, changed, or is another."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save_backbone
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_lntune import (
    BackboneMismatchError,
    DeltaBank,
    LNTunedTransformerClassifier,
    clear_backbones,
    load,
)

Clf = Callable[..., LNTunedTransformerClassifier]
FORMAT1 = Path(__file__).parent / "persistence" / "format1"


@pytest.fixture
def clf(tiny_clf: Clf, texts: list[str], labels: list[str]) -> LNTunedTransformerClassifier:
    return tiny_clf(max_epochs=1, precision="float32").fit(texts, labels)


@pytest.fixture
def halved(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Path:
    """The same backbone in half precision, which computes all but the same."""
    folder = Path(shutil.copytree(tiny_backbone(), tmp_path / "halved"))
    file = folder / "model.safetensors"
    tensors = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    return folder


# -- where it is -------------------------------------------------------------------------


@pytest.fixture
def in_folder(
    tiny_backbone: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The working folder, with a backbone in ``models/bert``."""
    here = tmp_path / "here"
    shutil.copytree(tiny_backbone(), here / "models" / "bert")
    monkeypatch.chdir(here)
    yield here
    clear_backbones()


@pytest.mark.parametrize("path", ["models/bert", "./models/../models/bert", Path("models", "bert")])
def test_a_relative_path_leads_where_it_led_at_the_fit(
    path: Any,
    in_folder: Path,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clf = tiny_clf(max_epochs=1).set_params(backbone=path).fit(texts, labels)
    expected = clf.predict_proba(texts)
    monkeypatch.chdir(tmp_path)
    clear_backbones()
    assert (clf.predict_proba(texts) == expected).all()
    assert clf.backbone is path
    assert clf.backbone_["folder"] == str(in_folder / "models" / "bert")
    assert (pickle.loads(pickle.dumps(clf)).predict_proba(texts) == expected).all()
    clf.partial_fit(texts, labels)
    monkeypatch.chdir("/")
    assert clf.predict(texts).shape == (40,)
    # it stands nowhere but in memory and in pickles
    clf.save(tmp_path / "saved")
    assert str(in_folder).encode() not in b"".join(
        file.read_bytes() for file in (tmp_path / "saved").iterdir()
    )
    with pytest.raises(ValueError, match=r"is not a folder here.*set_params\(backbone=\.\.\.\)"):
        load(tmp_path / "saved").predict(texts)
    shutil.move(in_folder, tmp_path / "moved")
    with pytest.raises(ValueError, match=f"was fitted on .*bert', which was {in_folder}"):
        clf.predict(texts)
    # a clone knows nothing of the fit
    with pytest.raises(ValueError, match="is not a folder here"):
        clone(clf).fit(texts, labels)


def test_a_relative_path_may_be_of_another_folder_once_the_first_is_gone(
    in_folder: Path,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clf = tiny_clf(max_epochs=1).set_params(backbone="models/bert").fit(texts, labels)
    expected = clf.predict_proba(texts)
    shutil.move(in_folder, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert (clf.predict_proba(texts) == expected).all()


def test_a_link_is_followed_anew(
    in_folder: Path, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    save_backbone(in_folder / "newer", initializer_range=0.5)
    link = in_folder / "current"
    link.symlink_to(in_folder / "models" / "bert")
    clf = tiny_clf(max_epochs=1).set_params(backbone="current").fit(texts, labels)
    link.unlink()
    link.symlink_to(in_folder / "newer")
    clear_backbones()
    with pytest.raises(BackboneMismatchError, match="differs in its weights"):
        clf.predict(texts)


# -- what it is --------------------------------------------------------------------------


def test_the_error_says_what_differs_and_what_to_do(
    clf: LNTunedTransformerClassifier, halved: Path, texts: list[str]
) -> None:
    with pytest.raises(BackboneMismatchError) as caught:
        clf.set_params(backbone=halved).predict(texts)
    message = str(caught.value)
    assert "differs in its weights. Its delta" in message
    assert "set_params(backbone=...)" in message
    assert "accept_backbone()" in message


def test_an_accepted_backbone_is_that_of_the_classifier(
    clf: LNTunedTransformerClassifier, halved: Path, texts: list[str], tmp_path: Path
) -> None:
    expected, delta = clf.predict_proba(texts), clf.delta_
    clf.set_params(backbone=halved)
    assert clf.accept_backbone() is clf
    assert clf.delta_ is delta
    assert clf.backbone_["name"] == str(halved)
    np.testing.assert_allclose(clf.predict_proba(texts), expected, atol=1e-3)
    clf.save(tmp_path / "saved" / "topic.zip")
    back = load(tmp_path / "saved" / "topic.zip")
    assert (back.predict(texts) == clf.predict(texts)).all()
    bank = DeltaBank.from_folder(tmp_path / "saved")
    assert (bank.predict(texts)["topic"] == clf.predict(texts)).all()


def test_a_loaded_one_can_be_tied_on_the_way_into_a_bank(
    clf: LNTunedTransformerClassifier, halved: Path, texts: list[str], tmp_path: Path
) -> None:
    clf.save(tmp_path / "clf.zip")
    with pytest.raises(BackboneMismatchError):
        DeltaBank({"topic": load(tmp_path / "clf.zip", backbone=halved)})
    back = load(tmp_path / "clf.zip", backbone=halved).accept_backbone()
    assert (DeltaBank({"topic": back}).predict(texts)["topic"] == back.predict(texts)).all()


def test_what_does_not_fit_cannot_be_accepted(
    clf: LNTunedTransformerClassifier, texts: list[str], tmp_path: Path
) -> None:
    before = clf.backbone_
    expected = clf.predict_proba(texts)
    place = clf.backbone
    wide = save_backbone(tmp_path / "wide", hidden_size=32)
    short = save_backbone(tmp_path / "short", max_position_embeddings=16)
    for other, match in (
        (wide, "does not fit the backbone .*wide.*: this delta belongs to another model"),
        (short, "max_length=64 is beyond the 16 positions"),
        (tmp_path / "absent", "is not a folder here"),
    ):
        with pytest.raises(ValueError, match=match):
            clf.set_params(backbone=other).accept_backbone()
    assert clf.backbone_ is before
    assert (clf.set_params(backbone=place).predict_proba(texts) == expected).all()
    with pytest.raises(NotFittedError):
        clone(clf).accept_backbone()


# -- going on ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["warm_start", "partial_fit"])
def test_a_fit_goes_on_with_the_same_backbone_and_pooling_only(
    way: str,
    clf: LNTunedTransformerClassifier,
    halved: Path,
    texts: list[str],
    labels: list[str],
) -> None:
    place = clf.backbone

    def go_on(**params: Any) -> LNTunedTransformerClassifier:
        clf.set_params(warm_start=way == "warm_start", **params)
        return clf.fit(texts, labels) if way == "warm_start" else clf.partial_fit(texts, labels)

    expected = clf.predict_proba(texts)
    before = dict(vars(clf))
    with pytest.raises(BackboneMismatchError, match=r"differs in its weights\. warm_start and"):
        go_on(backbone=halved)
    with pytest.raises(ValueError, match="pooling='cls' is 'cls' here.*learnt with 'mean'"):
        go_on(backbone=place, pooling="cls")
    clf.set_params(pooling="auto", warm_start=False)
    assert vars(clf) == before
    assert (clf.predict_proba(texts) == expected).all()

    clf.set_params(backbone=halved).accept_backbone()
    assert go_on().predict(texts).shape == (40,)


def test_a_fit_that_starts_anew_may_be_on_any(
    clf: LNTunedTransformerClassifier, halved: Path, texts: list[str], labels: list[str]
) -> None:
    fresh = clone(clf).set_params(backbone=halved, pooling="cls").fit(texts, labels)
    again = clf.set_params(backbone=halved, pooling="cls").fit(texts, labels)
    assert (again.predict_proba(texts) == fresh.predict_proba(texts)).all()


# -- from before there were parts ---------------------------------------------------------


def test_a_classifier_of_format_1_tells_what_differs(tmp_path: Path) -> None:
    backbone = Path(shutil.copytree(FORMAT1 / "folder" / "backbone", tmp_path / "backbone"))
    clf = load(FORMAT1 / "classifier.zip", backbone=backbone)
    assert "parts" not in clf.backbone_
    assert clf.predict(["good"]).shape == (1,)
    file = backbone / "tokenizer.json"
    whole = file.read_text("utf-8")
    file.write_text(whole.replace('"happy"', '"sunny"'), "utf-8")
    with pytest.raises(BackboneMismatchError, match="differs in the files of its tokenizer"):
        clf.predict(["good"])
    file.write_text(whole, "utf-8")
    (backbone / "vocab.txt").write_text("not read", "utf-8")
    with pytest.raises(BackboneMismatchError, match="files of its tokenizer.*accept_backbone"):
        clf.predict(["good"])
    assert "parts" in clf.accept_backbone().backbone_
    assert clf.predict(["good"]).shape == (1,)
