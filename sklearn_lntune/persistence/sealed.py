"""Files under checksums: a folder or a zip, written whole or not at all.

``SHA256SUMS`` lists the digest of every other file except READMEs and dot files, which
the hub and people may change. A zip also carries the digest of all its bytes before the
comment in its comment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence.names import BACKBONE_FOLDER
from sklearn_lntune.persistence.replacing import (
    read_steadily,
    remove,
    replacement,
    standing,
    to_disk,
)
from sklearn_lntune.persistence.untrusted import open_regular, read_regular

SUMS, CARD = "SHA256SUMS", "README.md"
_LINE = re.compile(rb"([0-9a-f]{64})  ([^\n]+)\n")
_COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
_COMMENT_SIZE = len(b"sha256:") + 64
_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCAL_HEADER_SIZE = 30
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same file
#: How a zip of ours begins: a file that is not compressed, of that date.
_BEGIN = re.compile(rb"PK\x03\x04..\x00\x00\x00\x00\x00\x00\x21\x00", re.DOTALL)

Content = bytes | Path
#: From the files that were read, the names of others that may be in the folder, too.
Beside = Callable[[Mapping[str, bytes]], Collection[str]]


# -- both kinds ----------------------------------------------------------------------


def write_sealed(path: Path, files: Mapping[str, Content]) -> None:
    """Write ``files`` by name to the folder, or the ``.zip``, at ``path``.

    What this function wrote there before is replaced once the new one is complete, damaged
    or not. Dot files and READMEs that others put into a folder stay in it.

    Parameters
    ----------
    path : Path
    files : mapping of str to bytes or Path
        Contents, or files to copy.

    Raises
    ------
    ValueError
        If there is something else at ``path``, or one of ``files`` has a name that leads
        out of it.
    """
    for name in files:
        check_name(name)
    path = Path(os.path.realpath(path))  # a link stays one, and "." has a name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{path.parent} is not a folder, so nothing can be in it.") from error
    with replacement(path) as fresh:
        if is_zip(path):
            _check_zip(path, files)
            _write_zip(fresh, files)
        else:
            _check_folder(path, files)
            _write_folder(fresh, files)
            with contextlib.suppress(FileNotFoundError):
                keep = partial(_keep_what_is_free, fresh=fresh, files=files)
                read_steadily(path, keep, until_the_end=True)


def is_zip(path: Path) -> bool:
    """Whether ``path`` is to be one file."""
    return path.suffix.lower() == ".zip"


def is_there(path: Path) -> bool:
    """Whether something was written to ``path``, a crash while replacing it included."""
    return standing(path) is not None


def read_sealed(
    path: Path, *, only: Collection[str] | None = None, beside: Beside | None = None
) -> dict[str, bytes]:
    """The contents of the files at ``path``, checked.

    It may be replaced meanwhile: then they are those of the old one or of the new one.

    Parameters
    ----------
    path : Path
    only : collection of str, optional
        The files to return, if they are there; all are checked.
    beside : callable, optional
        The names of other files that may be in the folder without being listed, from the
        contents.

    Raises
    ------
    DamagedFileError
        If a byte is not as it was written, a file is missing or too many, or one is a
        device, a pipe, or a link to a folder.
    """
    try:
        return read_steadily(path, partial(_read, path=path, only=only, beside=beside))
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is gone.") from error


def is_checked(name: str) -> bool:
    """Whether ``SHA256SUMS`` lists the file ``name``."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not (hidden or name == SUMS or parts[-1].upper().startswith("README"))


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


def _read(
    where: Path, path: Path, only: Collection[str] | None, beside: Beside | None
) -> dict[str, bytes]:
    if where.is_dir():
        return _read_folder(where, path, only, beside)
    contents = _read_zip(where, path)
    return {name: contents[name] for name in contents if only is None or name in only}


def _sums(files: Mapping[str, Content]) -> bytes:
    lines = []
    for name in sorted(filter(is_checked, files)):
        content = files[name]
        digest = (
            hashlib.sha256(content).hexdigest()
            if isinstance(content, bytes)
            else _digest_of(content)
        )
        lines.append(f"{digest}  {name}\n")
    return "".join(lines).encode()


def _digest_of(file: Path) -> str:
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parse(sums: bytes, path: Path) -> dict[str, str]:
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
            raise DamagedFileError(f"{path}: {SUMS} is damaged: a name is no text.") from error
        if name in listed:
            raise DamagedFileError(f"{path}: {SUMS} is damaged: it lists {name!r} twice.")
        listed[name] = line[1].decode()
        position = line.end()
    return listed


def _check_names(listed: Collection[str], there: Collection[str], path: Path) -> None:
    found = {name for name in there if is_checked(name)}
    for names, what in ((set(listed) - found, "missing"), (found - set(listed), "not listed")):
        if names:
            raise DamagedFileError(
                f"{path} is damaged: {sorted(names)[:3]} {'is' if len(names) == 1 else 'are'} "
                f"{what} in it, going by {SUMS}."
            )


def _check_digest(name: str, digest: str, found: str, path: Path) -> None:
    if digest != found:
        raise DamagedFileError(
            f"{path}: {name} is damaged: its SHA-256 is {found[:16]}..., and {SUMS} says "
            f"{digest[:16]}.... Take a fresh copy."
        )


# -- folders -------------------------------------------------------------------------


def _write_folder(folder: Path, files: Mapping[str, Content]) -> None:
    for name, content in [*files.items(), (SUMS, _sums(files))]:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            shutil.copyfile(content, file)
        to_disk(file)


def _check_folder(path: Path, files: Mapping[str, Content]) -> None:
    """Raise a ValueError if replacing what is at ``path`` would be a loss."""
    with contextlib.suppress(FileNotFoundError):  # nothing is there
        read_steadily(path, partial(_check_replaceable, path=path, files=files))


def _check_replaceable(old: Path, path: Path, files: Mapping[str, Content]) -> None:
    if not old.is_dir():
        raise ValueError(f"{path} is a file; give a folder, or a name that ends in .zip.")
    core = core_of(files)
    foreign = {entry.name for entry in old.iterdir() if not entry.name.startswith(".")}
    listed = names_listed(read_regular(old / SUMS)) if (old / SUMS).is_file() else set()
    if is_ours(foreign, listed, core):
        there = set(filter(is_checked, _entries(old)))
        foreign = there - ours_among(there, listed, core)
    if foreign:
        raise ValueError(
            f"{path} is a folder with other things in it ({sorted(foreign)[:3]}), which would be "
            "lost. Give a new name, or delete it."
        )


def _keep_what_is_free(old: Path, fresh: Path, files: Mapping[str, Content]) -> None:
    """Copy what others put into the folder: a repository, for instance, or notes."""
    for name in _entries(old, hidden=True):
        source, target = old / name, fresh / name
        if name in files or is_checked(name) or name == SUMS:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(target)  # of a first try
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True, copy_function=_copy)
        else:
            _copy(source, target)


def _copy(source: str | Path, target: str | Path) -> None:
    """Copy a file or a link as it is; sockets and pipes mean nothing in another place."""
    if os.path.islink(source) or os.path.isfile(source):
        shutil.copy2(source, target, follow_symlinks=False)


def _entries(folder: Path, *, hidden: bool = False) -> Iterator[str]:
    """Names of what is in ``folder``: files, links and whatever else is not a folder.

    What is in hidden folders is left out; they themselves are named with ``hidden``.
    """
    for parent, folders, names in os.walk(folder):
        for name in list(folders):
            if name.startswith(".") or os.path.islink(os.path.join(parent, name)):
                folders.remove(name)
                names.append(name)
        for name in names:
            if hidden or not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix()


def _read_folder(
    where: Path, path: Path, only: Collection[str] | None, beside: Beside | None
) -> dict[str, bytes]:
    listed = _parse(_bytes(where, SUMS, path), path)
    there = set(_entries(where))
    contents = {}
    _check_names(listed, there if beside is None else there & set(listed), path)
    for name, digest in listed.items():
        if only is None or name in only:
            contents[name] = _bytes(where, name, path)
            found = hashlib.sha256(contents[name]).hexdigest()
        else:
            found = _unless_odd(_digest_of, where, name, path)
        _check_digest(name, digest, found, path)
    if beside is not None:
        _check_names(listed, there - set(beside(contents)), path)
    return contents


def _bytes(where: Path, name: str, path: Path) -> bytes:
    return _unless_odd(read_regular, where, name, path)


def _unless_odd(read: Callable[[Path], Any], where: Path, name: str, path: Path) -> Any:
    """What ``read`` makes of the file ``name``, which may be missing, or be no file at all."""
    try:
        return read(where / name)
    except FileNotFoundError:
        raise DamagedFileError(
            f"{path} has no {name}: it is not a saved classifier, or not a whole one."
        ) from None
    except PermissionError:
        raise
    except (ValueError, OSError) as error:
        raise DamagedFileError(f"{path} is damaged: {name} cannot be read ({error}).") from error


# -- zips ----------------------------------------------------------------------------


def _write_zip(file: Path, files: Mapping[str, Content]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [*files.items(), (SUMS, _sums(files))]:
            held = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, _DATE), held)
        archive.comment = b"sha256:" + b"0" * 64  # of the right length
    body = buffer.getvalue()[:-_COMMENT_SIZE]
    body += b"sha256:" + hashlib.sha256(body).hexdigest().encode()
    file.write_bytes(body)


def _check_zip(path: Path, files: Mapping[str, Content]) -> None:
    """Raise a ValueError if replacing ``path`` would be a loss."""
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder; remove it or give another name.")
    if not path.is_file() or (path.stat().st_size and not _is_our_zip(path, files)):
        raise ValueError(
            f"{path} is there already and holds something else, which would be lost. Give a new "
            "name, or delete it."
        )


def _is_our_zip(path: Path, files: Mapping[str, Content]) -> bool:
    """Whether a file was written by `_write_zip`, perhaps damaged since."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, *_ODD_ZIP):
        # Cut off, or with a changed byte where the names are: one of its ends tells.
        with open_regular(path) as stream:
            begin = stream.read(_LOCAL_HEADER_SIZE + 255)
            stream.seek(max(0, path.stat().st_size - _COMMENT_SIZE))
            end = stream.read()
        first = begin[_LOCAL_HEADER_SIZE:].startswith(tuple(map(str.encode, core_of(files))))
        return bool((_BEGIN.match(begin) and first) or _COMMENT.fullmatch(end))
    return is_ours(names, (), core_of(files)) and names <= {*files, SUMS, CARD}


def _read_zip(file: Path, path: Path) -> dict[str, bytes]:
    try:
        stream = open_regular(file)
    except ValueError as error:
        raise DamagedFileError(f"{path} is no saved classifier: {error}.") from error
    with stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - _COMMENT_SIZE - _END_SIZE))
        end = stream.read()
        said = _COMMENT.fullmatch(end[_END_SIZE:])
        if said is None or not end.startswith(_END):  # before it is read, whatever its size
            raise DamagedFileError(
                f"{path} is damaged at its end, or is no zip of a saved classifier."
            )
        stream.seek(0)
        whole = stream.read()
    intact = hashlib.sha256(whole[:-_COMMENT_SIZE]).hexdigest().encode() == said[1]
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            _check_entries(archive)
            contents = {name: archive.read(name) for name in archive.namelist()}
        listed = _parse(contents.pop(SUMS, b""), path)
        _check_names(listed, contents, path)
        for name, digest in listed.items():
            _check_digest(name, digest, hashlib.sha256(contents[name]).hexdigest(), path)
    except DamagedFileError:
        raise
    except (zipfile.BadZipFile, *_ODD_ZIP) as error:
        raise DamagedFileError(f"{path} is damaged: its directory cannot be read.") from error
    if not intact:
        raise DamagedFileError(
            f"{path} is damaged: its files are whole, but not all of its bytes are as they were "
            "written."
        )
    return contents


#: What zipfile raises besides its own error.
_ODD_ZIP = (ValueError, OSError, EOFError, RuntimeError, struct.error, OverflowError)


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Raise where entries could unpack to more than the zip weighs."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("a name twice")
    end = 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise zipfile.BadZipFile("compressed")
        if entry.header_offset < end:
            raise zipfile.BadZipFile("overlapping entries")
        end = entry.header_offset + _LOCAL_HEADER_SIZE + entry.file_size
    if end > archive.start_dir:
        raise zipfile.BadZipFile("an entry beyond its end")
