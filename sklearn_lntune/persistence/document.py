"""A classifier as files: ``config.json`` and ``delta.safetensors``, and back."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_lntune.checks import check_path
from sklearn_lntune.exceptions import DamagedFileError, UnknownMethodError
from sklearn_lntune.persistence.names import BACKBONE_FOLDER, is_hub_name
from sklearn_lntune.persistence.replacing import standing
from sklearn_lntune.persistence.schema import check_columns, check_notes, check_params, check_state
from sklearn_lntune.persistence.sealed import is_there, read_sealed
from sklearn_lntune.persistence.state import FittedState, portable
from sklearn_lntune.persistence.sums import SUMS, check_name
from sklearn_lntune.persistence.untrusted import parse_json_object
from sklearn_lntune.persistence.values import decode, decode_array, encode, encode_array
from sklearn_lntune.task import OneLabel

#: Rises when the files change their meaning; older ones keep loading.
FORMAT_VERSION = 2
#: That of classifiers with one label per row and without windows, which older versions read.
VERSION_OF_ONE_LABEL = 1
CONFIG, DELTA = "config.json", "delta.safetensors"
_PACKAGES = ("sklearn-lntune", "torch", "transformers", "scikit-learn", "skorch", "numpy")


@dataclass(frozen=True)
class Document:
    """What a saved classifier consists of.

    Attributes
    ----------
    params : dict
        The estimator's parameters.
    state : FittedState
    columns : dict
        ``n_features_in`` and, where ``X`` was a frame, ``feature_names_in``.
    metrics : dict of str to float
        As given by the user.
    data : str or None
        What the user said of the data.
    beside : tuple of str
        Files of others in the repository that it is published in.
    """

    params: dict[str, Any]
    state: FittedState
    columns: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    data: str | None = None
    beside: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """Contents by file name."""
        from safetensors.numpy import save

        state = self.state
        config = {
            "format_version": _version_of(state),
            "versions": {**_versions(), "python": platform.python_version()},
            "params": {name: encode(value) for name, value in self.params.items()},
            "backbone": portable(state.backbone),
            "tuning": [
                {key: encode(value) for key, value in entry.items()} for entry in state.tuning
            ],
            "pooling": state.pooling,
            "max_length": state.max_length,
            **_windows(state),
            "embedding_size": state.embedding_size,
            **_encoded_targets(state),
            "columns": {
                key: encode_array(value) if isinstance(value, np.ndarray) else value
                for key, value in self.columns.items()
            },
            "training": {
                "n_steps": state.n_steps,
                "n_epochs": state.n_epochs,
                "log": [{key: encode(value) for key, value in row.items()} for row in state.log],
            },
            "metrics": {name: encode(float(value)) for name, value in self.metrics.items()},
            "data": self.data,
            **({"beside": list(self.beside)} if self.beside else {}),
        }
        text = json.dumps(config, indent=1, allow_nan=False)
        delta = {name: np.ascontiguousarray(value) for name, value in state.delta.items()}
        return {CONFIG: text.encode() + b"\n", DELTA: save(delta)}

    def check(self) -> None:
        """Raise a ValueError if a part of it cannot be read again."""
        check_params(self.params)
        check_state(self.state)
        check_columns(self.columns, self.state.window_pooling)
        check_notes(self.metrics, self.data)

    @classmethod
    def read(cls, files: Mapping[str, bytes], where: str) -> Document:
        """The document in the contents ``files`` of ``where``.

        Raises
        ------
        ValueError
            If a newer version wrote them.
        DamagedFileError
            If they are not what `files` gives, or claim what cannot be.
        """
        from safetensors import SafetensorError

        try:
            config = parse_json_object(files[CONFIG])
            version, writer = config["format_version"], config["versions"]
            if type(version) is not int or not isinstance(writer, dict):
                raise TypeError("format_version")
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedFileError(
                f"{where}: {CONFIG} is missing or not that of a saved classifier."
            ) from error
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{where} was saved in format {version}, by sklearn-lntune "
                f"{writer.get('sklearn-lntune')}, and this version reads up to {FORMAT_VERSION}; "
                "upgrade sklearn-lntune."
            )
        try:
            document = cls._from(config, files[DELTA])
            document.check()
        except UnknownMethodError as error:
            raise UnknownMethodError(f"{where}: {error}") from error
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            RecursionError,
            SafetensorError,
        ) as error:
            told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise DamagedFileError(
                f"{where}: {CONFIG} and {DELTA} do not describe a classifier ({told})."
            ) from error
        return document

    @classmethod
    def _from(cls, config: Mapping[str, Any], delta: bytes) -> Document:
        from safetensors.numpy import load

        training, windows = config["training"], config.get("windows", {})
        state = FittedState(
            backbone=portable(config["backbone"]),
            tuning=[{k: decode(v) for k, v in entry.items()} for entry in config["tuning"]],
            pooling=config["pooling"],
            max_length=config["max_length"],
            delta=load(delta),
            embedding_size=config["embedding_size"],
            log=[{k: decode(v) for k, v in row.items()} for row in training["log"]],
            n_steps=training["n_steps"],
            n_epochs=training["n_epochs"],
            stride=windows.get("stride"),
            window_pooling=windows.get("window_pooling"),
            **_decoded_targets(config),
        )
        return cls(
            params={name: decode(value) for name, value in config["params"].items()},
            state=state,
            columns={
                key: decode_array(value) if isinstance(value, dict) else value
                for key, value in config["columns"].items()
            },
            metrics={name: decode(value) for name, value in config["metrics"].items()},
            data=config["data"],
            beside=beside(config),
        )


def _version_of(state: FittedState) -> int:
    first = state.target_kind == OneLabel.kind and state.stride is None
    return VERSION_OF_ONE_LABEL if first else FORMAT_VERSION


def _encoded_targets(state: FittedState) -> dict[str, Any]:
    """Kind and state of the targets; with one label per row, as the first format has them."""
    targets = {name: encode_array(value) for name, value in state.target_state.items()}
    if state.target_kind == OneLabel.kind:
        return targets
    return {"task": {"kind": state.target_kind, "state": targets}}


def _decoded_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    task = config.get("task")
    if task is None:
        return {"target_state": {"classes": decode_array(config["classes"])}}
    targets = {name: decode_array(value) for name, value in task["state"].items()}
    return {"target_kind": task["kind"], "target_state": targets}


def _windows(state: FittedState) -> dict[str, Any]:
    """The entry of a classifier that cuts long texts into windows."""
    if state.stride is None:
        return {}
    return {"windows": {"stride": state.stride, "window_pooling": state.window_pooling}}


def beside(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of other files in the same repository, from a ``config.json``.

    Raises
    ------
    ValueError
        If one could be taken for a part of the classifier.
    """
    names = config.get("beside", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("beside must be a list of names")
    for name in names:
        check_name(name)
        if name.startswith(f"{BACKBONE_FOLDER}/"):
            raise ValueError(f"beside names {name!r}, which is the backbone's")
    return tuple(names)


def read_document(
    path: str | os.PathLike[str], *, revision: str | None, token: str | bool | None
) -> tuple[Document, Path | None]:
    """The document at ``path``, and the backbone that is kept with it, if one is.

    Parameters
    ----------
    path : str or path
        A folder, a zip, or a name on the hub.
    revision, token
        For the hub.
    """
    local = find_saved(path, revision=revision, token=token)
    files = read_sealed(local, only=(CONFIG, DELTA), beside=_beside)
    document = Document.read(files, str(path))
    for folder in (local, standing(local) or local):
        if (folder / BACKBONE_FOLDER / CONFIG).is_file():  # then it is listed and checked
            return document, folder / BACKBONE_FOLDER
    return document, None


def find_saved(
    path: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """Where the classifier ``path`` is on this machine; one on the hub is downloaded.

    Raises
    ------
    ValueError
        If there is nothing here, and the hub has no such classifier.
    """
    local = check_path("path", path)
    return local if is_there(local) else _from_hub(str(path), revision, token)


def _beside(files: Mapping[str, bytes]) -> tuple[str, ...]:
    try:
        return beside(parse_json_object(files[CONFIG]))
    except (KeyError, ValueError):  # `Document.read` says what is wrong
        return ()


def _from_hub(name: str, revision: str | None, token: str | bool | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if not is_hub_name(name):
        raise ValueError(
            f"{name!r} is neither a folder nor a file nor a name on the hub (user/name)."
        )
    try:
        # The list alone first: what has none is no classifier, and may be very large.
        found = Path(snapshot_download(name, revision=revision, token=token, allow_patterns=SUMS))
        if is_ours := (found / SUMS).is_file():
            found = Path(snapshot_download(name, revision=revision, token=token))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ValueError(
            f"{name!r} is neither a folder nor a file here, and could not be downloaded from the "
            f"Hugging Face hub ({type(error).__name__})."
        ) from error
    if not is_ours:
        raise DamagedFileError(f"{name!r} on the hub has no {SUMS}: it is not a saved classifier.")
    return found


def unsavable(params: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that JSON cannot hold."""
    names = []
    for name, value in params.items():
        try:
            encode(value)
        except TypeError:
            names.append(name)
    return names


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            continue
    return found
