"""Compare a backbone with that of a fit, and describe the differences."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn_lntune.backbone.format1 import backbone_fingerprint, tokenizer_digest
from sklearn_lntune.backbone.format1 import tokenizer_files as tokenizer_files_of_format1
from sklearn_lntune.backbone.identity import config_part
from sklearn_lntune.backbone.native_head import reads_pooler
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.where import BackboneRef
from sklearn_lntune.exceptions import BackboneMismatchError

#: Keys of a configuration that a message names.
_MAX_KEYS = 5


def folder_of(name: str | os.PathLike[str], fitted: Mapping[str, Any] | None = None) -> str | None:
    """The absolute path that ``name`` stands for; None if it is not the relative path of a folder.

    If the folder recorded in ``fitted`` still exists, it is that one: the working directory
    may have changed since.
    """
    if not isinstance(name, str | os.PathLike) or os.path.isabs(name):
        return None
    led = fitted.get("folder") if fitted else None
    if fitted and led and os.fspath(name) == fitted["name"] and os.path.isdir(led):
        return str(led)
    local = Path(name).expanduser()
    return os.path.abspath(local) if local.is_dir() else None


def fitted_backbone(fitted: Mapping[str, Any], ref: BackboneRef) -> Backbone:
    """The backbone that ``ref`` names, for a classifier that was fitted on ``fitted``.

    `check_same` checks whether it is the same.
    """
    place = folder_of(ref.name, fitted) or ref.name
    try:
        return get_backbone(place, ref.revision, ref.trust_remote_code)
    except ValueError as error:
        was = f", which was {fitted['folder']}" if fitted.get("folder") else ""
        raise ValueError(
            f"{error} (The classifier was fitted on {fitted['name']!r}{was}; if that is elsewhere "
            "now, say so with set_params(backbone=...).)"
        ) from error


def check_same(fitted: Mapping[str, Any], backbone: Backbone, pooling: str, remedy: str) -> None:
    """Raise a `BackboneMismatchError` that ends in ``remedy`` if the backbone differs."""
    if told := differences(fitted, backbone, pooling):
        raise BackboneMismatchError(
            f"this classifier was fitted on {fitted['name']!r} (revision {fitted['revision']}, "
            f"backbone fingerprint {str(fitted['fingerprint'])[:16]}, tokenizer fingerprint "
            f"{str(fitted['tokenizer'])[:16]}), and {backbone.source.name!r} here "
            f"({backbone.source.folder}, revision {backbone.source.revision}) differs in "
            f"{'; '.join(told)}. {remedy}"
        )


def differences(fitted: Mapping[str, Any], backbone: Backbone, pooling: str) -> list[str]:
    """Descriptions of what changed in ``backbone`` since the fit; empty if it is the same."""
    there, here = fitted.get("parts"), backbone.parts
    if not isinstance(there, Mapping):
        return _differences_of_format1(fitted, backbone)
    other = {name for name, part in here.items() if there.get(name) != part}
    told = []
    if "weights" in other:
        told.append("its weights")
    read = pooling == "pooler" or (pooling == "native" and _reads_pooler(backbone))
    if "pooler" in other and read:
        told.append("the weights of its pooler")
    # An unchanged file is the same configuration, even if a newer transformers adds keys to it.
    if {"config_file", "config"} <= other:
        told += _config_differences(there.get("config"), here["config"], backbone.config)
    if "code" in other:
        told.append("the code that comes with it (trust_remote_code)")
    return told + (
        _image_processor_differences(there, here, other)
        if backbone.takes_images
        else _tokenizer_differences(there, here, other)
    )


def _tokenizer_differences(
    there: Mapping[str, Any], here: Mapping[str, Any], other: set[str]
) -> list[str]:
    told = []
    # Unchanged files are the same tokenizer as long as it produces the same tokens.
    if "tokenizer_files" in other:
        if "tokenizer_class" in other:
            then, now = there.get("tokenizer_class"), here["tokenizer_class"]
            told.append(f"the class of its tokenizer, which was {then} and is {now}")
        if "vocabulary" in other:
            told.append("the vocabulary of its tokenizer")
    if "tokens" in other or {"rules", "tokenizer_files"} <= other:
        told.append("what its tokenizer does with texts")
    return told


def _image_processor_differences(
    there: Mapping[str, Any], here: Mapping[str, Any], other: set[str]
) -> list[str]:
    told = []
    if {"image_processor", "processor_files"} <= other:
        then, now = there.get("image_processor"), here["image_processor"]
        told.append(f"the class of its image processor, which was {then} and is {now}")
    # A setting that changes nothing about the probes, and is in changed files, may matter.
    if "pixels" in other or {"settings", "processor_files"} <= other:
        told.append("what its image processor does with images")
    return told


def _reads_pooler(backbone: Backbone) -> bool:
    return reads_pooler(backbone.config, backbone.trust_remote_code)


def _config_differences(then: Any, now: Mapping[str, Any], config: Any) -> list[str]:
    """The keys that differ; a key missing on either side has its default value."""
    if not isinstance(then, Mapping):
        return ["its configuration"]
    try:
        defaults = config_part(type(config)().to_dict())
    except Exception:  # remote code may have parameters without defaults
        defaults = {}
    values = {
        key: (then.get(key, defaults.get(key)), now.get(key, defaults.get(key)))
        for key in sorted(then.keys() | now.keys())
    }
    keys = [f"{key} (was {old!r}, is {new!r})" for key, (old, new) in values.items() if old != new]
    more = f" and {len(keys) - _MAX_KEYS} more" if len(keys) > _MAX_KEYS else ""
    return [f"its configuration: {', '.join(keys[:_MAX_KEYS])}{more}"] if keys else []


def _differences_of_format1(fitted: Mapping[str, Any], backbone: Backbone) -> list[str]:
    """As `differences`, for classifiers with the fingerprints of format 1."""
    folder = backbone.source.folder
    found = backbone_fingerprint(folder / "config.json", backbone.source.weight_files)
    tokenizer = tokenizer_digest(tokenizer_files_of_format1(folder))
    told = []
    if found != fitted["fingerprint"]:
        told.append(f"its weights or configuration (their fingerprint is {found[:16]})")
    if tokenizer != fitted["tokenizer"]:
        told.append(f"the files of its tokenizer (their fingerprint is {tokenizer[:16]})")
    return told
