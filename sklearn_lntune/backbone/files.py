"""Read a backbone's files as untrusted input.

Every error names the file, what is wrong with it, and what to do.
"""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open

_JSON_NAMES: dict[type, str] = {dict: "an object", list: "a list"}
#: What to do about a damaged file.
AGAIN = "download it again, or take it from another copy"
#: First bytes of placeholders for a file: what the placeholder is, and the remedy.
_STAND_INS = (
    (b"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull' in its repository"),
    (b"/annex/objects/", "a git-annex pointer: run 'git annex get' in its repository"),
    (b"<!doctype", f"a web page, as failed downloads leave: {AGAIN}"),
    (b"<html", f"a web page, as failed downloads leave: {AGAIN}"),
    (b"<?xml", f"an XML page, as failed downloads leave: {AGAIN}"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (
        b"pk\x03\x04",
        "a PyTorch checkpoint under another name: load it with transformers and save it again "
        "with model.save_pretrained(folder)",
    ),
)


def stand_in(file: Path) -> str | None:
    """What ``file`` is if it merely stands in for the real one, with the remedy; else None."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise unreadable(file, error) from error
    if not head:
        return f"empty: {AGAIN}"
    head = head.lower()
    plain = head.lstrip()
    return next(
        (what for start, what in _STAND_INS if head.startswith(start) or plain.startswith(start)),
        None,
    )


def read_json(file: Path, kind: type) -> Any:
    """The object (``dict``) or list in the JSON ``file``.

    Raises
    ------
    ValueError
        If the file cannot be read or holds something else.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise unreadable(file, error) from error
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply to be read; {AGAIN}.") from error
    except ValueError as error:
        what = stand_in(file)
        if what is None:
            raise ValueError(
                f"{file} is not JSON in plain UTF-8 ({error}); correct it, or {AGAIN}."
            ) from error
        raise ValueError(f"{file} is not JSON but {what}.") from error
    if not isinstance(content, kind):
        raise ValueError(
            f"{file} must hold {_JSON_NAMES[kind]}, and holds {type(content).__name__}; {AGAIN}."
        )
    return content


def check_safetensors(file: Path) -> None:
    """Let safetensors check the header of ``file`` against its size.

    Raises
    ------
    ValueError
        If it is not a whole safetensors file.
    """
    if not file.is_file():
        raise ValueError(f"{file} is missing, or is not a file; {AGAIN}.")
    try:
        with safe_open(file, framework="np"):
            pass
    except OSError as error:
        raise unreadable(file, error) from error
    except SafetensorError as error:
        what = stand_in(file) or f"cut off or damaged ({error}): {AGAIN}"
        raise ValueError(f"{file} does not contain safetensors; it is {what}.") from error


def shards_of(index: Path) -> list[Path]:
    """The files that an index of shards names, in order.

    The index is untrusted: it may name files in its own folder only.

    Raises
    ------
    ValueError
        If it is malformed, names another file, or a shard is missing.
    """
    names = read_json(index, dict).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(
            f"{index}: 'weight_map' must name the file of each tensor, but it is "
            f"{type(names).__name__ if names is None else names!r:.80}; {AGAIN}."
        )
    return [weights_file(index, name) for name in sorted(set(map(_as_text, names.values())))]


def weights_file(named_in: Path, name: str) -> Path:
    """The file of weights ``name`` beside ``named_in``, which names it.

    Raises
    ------
    ValueError
        If the name is not that of a safetensors file in this very folder.
    """
    folder = named_in.parent
    # Paths of both Windows and POSIX are refused, since the folder may come from either.
    plain = name == PureWindowsPath(name).name == Path(name).name and "\0" not in name
    if not plain or not name.endswith(".safetensors"):
        raise ValueError(
            f"{named_in} names the weights file {name!r:.80}, but only plain names ending in "
            f"'.safetensors' in its own folder are read. Do not trust this folder; {AGAIN}."
        )
    file = folder / name
    if not file.is_file():
        raise ValueError(f"{folder} has no {name}, which {named_in.name} names; download it, too.")
    check_inside(folder, file)
    return file


def check_inside(folder: Path, file: Path) -> None:
    """Refuse a ``file`` that is a link to somewhere outside ``folder``.

    Links within the cache of the hub are allowed, from ``snapshots/<commit>`` to ``blobs``.

    Raises
    ------
    ValueError
    """
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":
        inside.append(inside[0].parent.parent / "blobs")
    real = file.resolve()
    if not any(real.is_relative_to(parent) for parent in inside):
        raise ValueError(
            f"{file} is a link to {real}, outside its folder. If you trust it, put a copy of that "
            "file in its place."
        )


def unreadable(file: Path, error: OSError) -> ValueError:
    """The error for a file that the operating system cannot read."""
    why = error.strerror or str(error)
    return ValueError(f"{file} cannot be read ({why}); is it a file, with permissions to read?")


def _as_text(name: object) -> str:
    return name if isinstance(name, str) else repr(name)
