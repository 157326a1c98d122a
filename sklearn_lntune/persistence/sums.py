"""``SHA256SUMS``: digests of files by name, and what may be known by them.

It lists every other file except READMEs and dot files, which the hub and people may change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence.names import BACKBONE_FOLDER
from sklearn_lntune.persistence.untrusted import open_regular

SUMS, CARD = "SHA256SUMS", "README.md"
_LINE = re.compile(rb"([0-9a-f]{64})  ([^\n]+)\n")

Content = bytes | Path


def sums_of(files: Mapping[str, Content]) -> bytes:
    """The list for ``files``."""
    lines = []
    for name in sorted(filter(is_checked, files)):
        content = files[name]
        digest = (
            hashlib.sha256(content).hexdigest()
            if isinstance(content, bytes)
            else digest_of(content)
        )
        lines.append(f"{digest}  {name}\n")
    return "".join(lines).encode()


def digest_of(file: Path) -> str:
    """The digest of a file, however large."""
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_sums(sums: bytes, path: Path) -> dict[str, str]:
    """Names and digests; anything but lines of the one form is damage."""
    listed: dict[str, str] = {}
    position = 0
    while position < len(sums):
        line = _LINE.match(sums, position)
        if line is None:
            raise DamagedFileError(f"{path}: {SUMS} is damaged: it is not a list of digests.")
        try:
            name = line[2].decode()
        except UnicodeDecodeError as error:
            raise DamagedFileError(f"{path}: {SUMS} is damaged: a name is not text.") from error
        if name in listed:
            raise DamagedFileError(f"{path}: {SUMS} is damaged: it lists {name!r} twice.")
        listed[name] = line[1].decode()
        position = line.end()
    return listed


def check_names(listed: Collection[str], there: Collection[str], path: Path) -> None:
    """Raise a DamagedFileError if ``path`` lacks a file, or has one too many."""
    found = {name for name in there if is_checked(name)}
    for names, what in ((set(listed) - found, "missing"), (found - set(listed), "not listed")):
        if names:
            raise DamagedFileError(
                f"{path} is damaged: {sorted(names)[:3]} {'is' if len(names) == 1 else 'are'} "
                f"{what} in it, going by {SUMS}."
            )


def check_digest(name: str, digest: str, found: str, path: Path) -> None:
    """Raise a DamagedFileError if the digest that was ``found`` is another."""
    if digest != found:
        raise DamagedFileError(
            f"{path}: {name} is damaged: its SHA-256 is {found[:16]}..., and {SUMS} says "
            f"{digest[:16]}.... Take a fresh copy."
        )


def is_checked(name: str) -> bool:
    """Whether ``SHA256SUMS`` lists the file ``name``."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    free = not parts or parts[-1].upper().startswith("README")
    return not (hidden or free or name == SUMS)


def check_name(name: str) -> None:
    """Raise a ValueError if ``name`` could be a file anywhere but in its folder."""
    parts = name.split("/")
    odd = any(part in ("", ".", "..") for part in parts) or "\\" in name or ":" in name
    if odd or name == SUMS or not name.isprintable():
        raise ValueError(f"{name!r} cannot be the name of a file in a saved folder; rename it.")


def is_ours(there: Collection[str], listed: Collection[str], core: Collection[str]) -> bool:
    """Whether a folder is one that was written here, perhaps damaged since.

    Parameters
    ----------
    there : collection of str
        The files in it.
    listed : collection of str
        What its ``SHA256SUMS`` lists: a file of that name may be anybody's.
    core : collection of str
        What every one has.
    """
    return bool(core) and set(core) <= {*there, *listed}


def ours_among(there: Collection[str], listed: Collection[str], core: set[str]) -> set[str]:
    """Those of the files ``there`` that were written here; arguments as for `is_ours`."""
    if not is_ours(there, listed, core):
        return set()
    backbone = {name for name in listed if name.startswith(f"{BACKBONE_FOLDER}/")}
    return {*there} & {*core, *backbone}


def names_listed(sums: bytes) -> set[str]:
    """The names in a ``SHA256SUMS`` that may be damaged."""
    return {found[2].decode(errors="replace") for found in _LINE.finditer(sums)}


def core_of(files: Mapping[str, Content]) -> set[str]:
    """The names of ``files`` by which a folder of their kind is known."""
    return {name for name in files if is_checked(name) and "/" not in name}
