"""Read pooling and longest input from the files of all versions of sentence-transformers.

``modules.json`` lists the modules and their folders. The pooling is in the folder of the
module ``Pooling``: one flag for each mode up to version 5.3, one key since then. The
longest input is in ``sentence_bert_config.json`` (or its siblings of the first versions);
since 5.4 in the tokenizer's configuration.
"""

from __future__ import annotations

import contextlib
from pathlib import Path, PureWindowsPath
from typing import Any

from sklearn_lntune.backbone.files import check_inside, read_json

MODULES = "modules.json"
#: File of the pooling if there is no list of modules.
_USUAL_POOLING = "1_Pooling"
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: Names in sentence-transformers -> our names, for the poolings that are supported.
_MODES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: A tokenizer without a limit has a huge number in its place.
_NO_LIMIT = 1 << 40


def pooling_config(folder: Path) -> Path | None:
    """The file that describes the pooling of the model in ``folder``; None without one.

    Raises
    ------
    ValueError
        If the list of modules is malformed, or what they compute is not computed here.
    """
    if not (folder / MODULES).is_file():
        file = folder / _USUAL_POOLING / "config.json"
        return file if file.is_file() else None
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    if "Pooling" in kinds:
        at = kinds.index("Pooling")
        strange = [kind for kind in kinds[1:at] if kind != "Dropout"]
    else:
        strange = [kind for kind in kinds if "pooling" in kind.lower()]
    if strange:
        raise ValueError(
            f"{folder / MODULES} lists the module {strange[0]!r:.80}, which decides what is pooled "
            "and is not computed here."
        )
    if "Pooling" not in kinds:
        return None
    file = folder / modules[at][1] / "config.json"
    if not file.is_file():
        raise ValueError(f"{file} is missing, where {folder / MODULES} says the pooling is.")
    check_inside(folder, file)
    return file


def transformer_folder(folder: Path) -> Path | None:
    """The folder inside ``folder`` in which the first versions saved the model itself."""
    with contextlib.suppress(ValueError, IndexError):
        inner = folder / _modules(folder)[0][1]
        if inner != folder and (inner / "config.json").is_file():
            return inner
    return None


def pooling_files(folder: Path) -> list[Path]:
    """The files that a copy of ``folder`` needs for its pooling, whatever their content."""
    try:
        paths = [path for kind, path in _modules(folder) if kind == "Pooling"]
    except ValueError:  # without a list of modules, or with one that is not read anyway
        paths = [_USUAL_POOLING]
    return [file for path in paths if (file := folder / path / "config.json").is_file()]


def named_pooling(folder: Path) -> str | None:
    """The pooling that the files in ``folder`` name; None if they name none.

    Raises
    ------
    ValueError
        If it is not one of those computed here, or the files are malformed.
    """
    file = pooling_config(folder)
    if file is None:
        return None
    said = read_json(file, dict)
    mode = said.get("pooling_mode")
    if mode is None:
        if not _FLAGS.keys() & said.keys():
            return None
        # sentence-transformers takes the mean if no flag is set.
        mode = [name for flag, name in _FLAGS.items() if said.get(flag)] or "mean"
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if not isinstance(mode, str) or mode not in _MODES:
        what = " and ".join(map(str, mode)) if isinstance(mode, list) else str(mode)
        raise ValueError(f"{file} names the pooling {what!r:.80}, which is not computed here.")
    return _MODES[mode]


def named_length(folder: Path, tokenizer: Any) -> int | None:
    """The longest input, in tokens, that the files in ``folder`` name; None without one.

    Raises
    ------
    ValueError
        If what they name is not a positive int.
    """
    files = [folder / name for name in _TRANSFORMER_FILES if (folder / name).is_file()]
    if not files and not (folder / MODULES).is_file():
        return None
    said = read_json(files[0], dict) if files else {}
    for path in (
        ("processing_kwargs", "text", "max_length"),
        ("processing_kwargs", "common", "max_length"),
        ("processor_kwargs", "model_max_length"),
        ("tokenizer_args", "model_max_length"),
        ("max_seq_length",),
    ):
        length: Any = said
        for key in path:
            length = length.get(key) if isinstance(length, dict) else None
        if length is None:
            continue
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ValueError(f"{files[0]} names {'.'.join(path)}={length!r:.80}, not a length.")
        return length if length < _NO_LIMIT else None
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT else None


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Class and folder of each module, in order."""
    file = folder / MODULES
    found = []
    for module in read_json(file, list):
        kind, path = (
            (module.get("type"), module.get("path", "")) if isinstance(module, dict) else (None, "")
        )
        if not isinstance(kind, str) or not isinstance(path, str):
            raise ValueError(
                f"{file} must list modules with 'type' and 'path'; got {module!r:.80}."
            )
        windows = PureWindowsPath(path)
        if windows.anchor or ".." in windows.parts or "\0" in path:
            raise ValueError(f"{file} names the folder {path!r:.80}, which is not inside its own.")
        found.append((kind.rpartition(".")[2], path))
    return found
