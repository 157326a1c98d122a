"""A backbone's own code runs if trust_remote_code says so, and never else."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_backbone

import sklearn_lntune
from sklearn_lntune import (
    BackboneMismatchError,
    LNTunedTransformerClassifier,
    clear_backbones,
)

Clf = Callable[..., LNTunedTransformerClassifier]

#: Part of a backbone, it leaves a mark as soon as it is imported.
CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

Path({mark!r}).touch()

class OwnConfig(BertConfig):
    model_type = {kind!r}

class OwnModel(BertModel):
    config_class = OwnConfig

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is there once the code has run."""
    from transformers import dynamic_module_utils

    modules = tmp_path / "modules"
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    yield tmp_path / "mark"
    clear_backbones()


def add_entries(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


def backbone_with_code(folder: Path, mark: Path, kind: str) -> Path:
    """A tiny BERT whose configuration names classes in a file of its own."""
    save_backbone(folder)
    (folder / "own.py").write_text(CODE.format(mark=str(mark), kind=kind), "utf-8")
    classes = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    add_entries(folder / "config.json", model_type=kind, auto_map=classes)
    tokenizer = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    add_entries(
        folder / "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="OwnTokenizer"
    )
    return folder


@pytest.fixture(params=["bert", "no-known-kind"])
def backbone(request: pytest.FixtureRequest, tmp_path: Path, mark: Path) -> Path:
    """A backbone with code; of a kind that transformers knows too, or not."""
    return backbone_with_code(tmp_path / "backbone", mark, request.param)


def test_fitting_does_not_run_it(
    backbone: Path, mark: Path, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    for pooling in ("mean", "native"):
        clf = tiny_clf(pooling=pooling).set_params(backbone=backbone)
        with contextlib.suppress(ValueError):  # of the kind that is not known
            clf.fit(texts, labels).predict(texts)
    assert not mark.exists()


def test_it_runs_where_it_is_trusted(
    tmp_path: Path, mark: Path, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    backbone = backbone_with_code(tmp_path / "backbone", mark, "no-known-kind")
    clf = tiny_clf().set_params(backbone=backbone, trust_remote_code=True)
    assert clf.fit(texts, labels).predict(texts).shape == (40,)
    assert mark.exists()  # so the other tests look in the right place


def test_a_kind_that_needs_code_is_an_error_that_says_so(
    tmp_path: Path, mark: Path, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    backbone = backbone_with_code(tmp_path / "backbone", mark, "no-known-kind")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        tiny_clf().set_params(backbone=backbone).fit(texts, labels)
    assert not mark.exists()


def test_what_a_saved_classifier_claims_of_trust_is_not_heard(
    backbone: Path, mark: Path, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf().fit(texts, labels)
    clf.set_params(backbone=backbone, trust_remote_code=True)
    clf.save(tmp_path / "clf.zip")
    assert b'"trust_remote_code": true' in (tmp_path / "clf.zip").read_bytes()
    back = sklearn_lntune.load(tmp_path / "clf.zip")
    assert back.trust_remote_code is False
    with contextlib.suppress(ValueError, BackboneMismatchError):
        back.predict(texts)
    assert not mark.exists()
    assert sklearn_lntune.load(tmp_path / "clf.zip", trust_remote_code=True).trust_remote_code


def test_a_backbone_kept_with_the_classifier_does_not_run_either(
    mark: Path, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    backbone = backbone_with_code(tmp_path / "backbone", mark, "no-known-kind")
    clf = tiny_clf().set_params(backbone=backbone, trust_remote_code=True).fit(texts, labels)
    clf.save(tmp_path / "whole", include_backbone=True)
    assert (tmp_path / "whole" / "backbone" / "own.py").is_file()
    expected = clf.predict_proba(texts)
    clear_backbones()
    mark.unlink()
    back = sklearn_lntune.load(tmp_path / "whole")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        back.predict(texts)
    assert not mark.exists()
    trusted = sklearn_lntune.load(tmp_path / "whole", trust_remote_code=True)
    assert (trusted.predict_proba(texts) == expected).all()


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
@pytest.mark.parametrize("wanted", ["someone/some-kernel", "flash_attention_2"])
def test_a_configuration_cannot_ask_for_a_kernel(
    wanted: str,
    key: str,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Kernels are compiled code that transformers fetches from the hub.
    fetched = []

    def fetch(name: str, *args: Any, **kwargs: Any) -> Any:
        fetched.append(name)
        raise ImportError(name)

    hub_kernels = pytest.importorskip("transformers.integrations.hub_kernels")
    for name in ("get_kernel", "load_and_register_attn_kernel"):
        monkeypatch.setattr(hub_kernels, name, fetch)
    backbone = save_backbone(tmp_path / "backbone")
    add_entries(backbone / "config.json", **{key: wanted})
    clf = tiny_clf().set_params(backbone=backbone)
    assert clf.fit(texts, labels).predict(texts).shape == (40,)
    assert fetched == []


class Mark:
    """Pickled, it leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside-safetensors"])
def test_pickled_weights_are_never_opened(
    beside: bool,
    mark: Path,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    backbone = save_backbone(tmp_path / "backbone")
    torch.save({"weight": Mark(mark)}, backbone / "pytorch_model.bin")
    clf = tiny_clf().set_params(backbone=backbone)
    if beside:
        assert clf.fit(texts, labels).predict(texts).shape == (40,)
    else:
        (backbone / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"has no model\.safetensors.*can run code"):
            clf.fit(texts, labels)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Mark(mark)))
    assert mark.exists()  # it would have
