"""Put a classifier into a repository on the hub, beside what others have put there."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn_lntune.persistence.document import Document
from sklearn_lntune.persistence.names import BACKBONE_FOLDER, is_local, last_part
from sklearn_lntune.persistence.sealed import write_sealed
from sklearn_lntune.persistence.sums import (
    CARD,
    SUMS,
    Content,
    core_of,
    is_checked,
    names_listed,
    ours_among,
)
from sklearn_lntune.persistence.untrusted import parse_json_object, read_regular

#: Where transformers notes the name that a backbone was loaded by.
_NOTES = {"config.json": "_name_or_path", "tokenizer_config.json": "name_or_path"}
#: Parameters that hold a path of this machine and mean nothing on another.
_LOCAL_PARAMS = ("checkpoint",)


def published(document: Document) -> Document:
    """``document`` without the paths of this machine.

    Of the folder of a backbone its own name is left.
    """
    backbone, params = document.state.backbone, document.params
    fitted_on = backbone["name"]
    if of_a_folder := is_local(fitted_on, backbone["revision"]):
        backbone = {**backbone, "name": last_part(fitted_on)}
    params = {name: value for name, value in params.items() if name not in _LOCAL_PARAMS}
    now = params.get("backbone", "")  # may have been set since
    if isinstance(now, os.PathLike) or (of_a_folder if now == fitted_on else is_local(now)):
        params["backbone"] = last_part(now)
    return replace(document, params=params, state=replace(document.state, backbone=backbone))


def without_paths(files: Mapping[str, Content]) -> dict[str, Content]:
    """``files``, where those of a backbone do not tell where it was saved.

    What transformers notes of that has no part in the backbone's fingerprint.
    """
    changed: dict[str, Content] = {}
    for file, key in _NOTES.items():
        name = f"{BACKBONE_FOLDER}/{file}"
        if name not in files:
            continue
        content = files[name]
        held = parse_json_object(content if isinstance(content, bytes) else read_regular(content))
        if isinstance(noted := held.get(key), str) and is_local(noted):
            held[key] = last_part(noted)
            changed[name] = json.dumps(held, indent=2, ensure_ascii=False).encode() + b"\n"
    return {**files, **changed}


def publish(
    repo: str,
    files_with: Callable[[tuple[str, ...]], Mapping[str, Content]],
    *,
    private: bool | None,
    revision: str | None,
    token: str | bool | None,
) -> str:
    """Commit a classifier to ``repo``, in the place of an earlier one if there is one.

    Parameters
    ----------
    repo : str
        ``"user/name"``; made if it is not there.
    files_with : callable
        The files by name, from the names of others in the repository, which stay.
    private, revision, token
        As for `push_to_hub`.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ValueError
        If a file of another name in the repository would be overwritten.
    """
    from huggingface_hub import HfApi

    files = files_with(())  # whatever is wrong with them is raised before a repository is made
    api = HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo, branch=revision, exist_ok=True)
    there = set(api.list_repo_files(repo, revision=revision))
    ours = _written_here(api, repo, revision, there, core_of(files))
    foreign = there - ours
    _check_clashes(repo, foreign, {*files, SUMS})
    stale = {name for name in ours if is_checked(name)} - set(files)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "classifier")
        write_sealed(folder, files_with(tuple(sorted(filter(is_checked, foreign)))))
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message="A classifier of sklearn-lntune",
            ignore_patterns=[CARD] if CARD in foreign else None,
            delete_patterns=[glob.escape(name) for name in sorted(stale)] or None,
        )
    return str(commit.commit_url)


def _written_here(
    api: Any, repo: str, revision: str | None, there: set[str], core: set[str]
) -> set[str]:
    """The files of ``there`` that an earlier classifier consists of."""
    listed: set[str] = set()
    if SUMS in there:
        with tempfile.TemporaryDirectory() as parent:
            file = api.hf_hub_download(repo, SUMS, revision=revision, cache_dir=parent)
            listed = names_listed(Path(file).read_bytes())
    ours = ours_among(there, listed, core)
    return ours | (there & {SUMS, CARD}) if ours else ours


def _check_clashes(repo: str, foreign: set[str], ours: set[str]) -> None:
    in_backbone = {name for name in foreign if name.startswith(f"{BACKBONE_FOLDER}/")}
    clashes = (foreign & ours - {CARD}) | set(filter(is_checked, in_backbone))
    if clashes:
        raise ValueError(
            f"the repository {repo} holds {sorted(clashes)[:3]}, which no classifier of "
            "sklearn-lntune put there and which this one would overwrite. Publish under another "
            "name, or delete them on the hub first."
        )
