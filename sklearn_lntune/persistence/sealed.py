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
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from sklearn_lntune.exceptions import DamagedFileError

SUMS = "SHA256SUMS"
_LINE = re.compile(rb"([0-9a-f]{64})  ([^\n]+)\n")
_COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
_END = b"PK\x05\x06"
_END_SIZE = 22
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same file

Content = bytes | Path


def write_sealed(path: Path, files: Mapping[str, Content]) -> None:
    """Write ``files`` by name to the folder, or the ``.zip``, at ``path``.

    What is there already is replaced once the new one is complete.

    Parameters
    ----------
    path : Path
    files : mapping of str to bytes or Path
        Contents, or files to copy.
    """
    path = path.resolve()  # a link stays one, and "." has a name
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_zip(path):
        _write_zip(path, files)
    else:
        _write_folder(path, files)


def is_zip(path: Path) -> bool:
    """Whether ``path`` is to be one file."""
    return path.suffix.lower() == ".zip"


def read_sealed(path: Path, *, keep: str | None = None) -> dict[str, bytes]:
    """The contents of the files at ``path``, checked.

    Parameters
    ----------
    path : Path
    keep : str, optional
        Files in this folder are checked and left where they are.

    Raises
    ------
    DamagedFileError
        If a byte is not as it was written, or a file is missing or too many.
    """
    if path.is_file():
        return _read_zip(path)
    listed = _parse(_bytes(path / SUMS, path), path)
    _check_names(listed, _files_in(path), path)
    contents = {}
    for name, digest in listed.items():
        if keep is not None and name.startswith(keep + "/"):
            found = _digest_of(path / name)
        else:
            contents[name] = _bytes(path / name, path)
            found = hashlib.sha256(contents[name]).hexdigest()
        _check_digest(name, digest, found, path)
    return contents


def _files_in(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}


def is_there(path: Path) -> bool:
    """Whether something was written to ``path``, a crash while replacing it included."""
    _recover(path)
    return path.exists()


def is_checked(name: str) -> bool:
    """Whether ``SHA256SUMS`` lists the file ``name``."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not (hidden or name == SUMS or parts[-1].upper().startswith("README"))


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
    with open(file, "rb") as stream:
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


def _check_names(listed: Mapping[str, str], there: set[str], path: Path) -> None:
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


def _bytes(file: Path, path: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(
            f"{path} has no {file.name}: it is not a saved classifier, or not a whole one."
        ) from None


# -- folders -------------------------------------------------------------------------


def _write_folder(path: Path, files: Mapping[str, Content]) -> None:
    """Write beside ``path``, then change names: a crash leaves the old one or the new."""
    if path.is_file():
        raise ValueError(f"{path} is a file; give a folder, or a name that ends in .zip.")
    _recover(path)
    hidden = _check_replaceable(path)
    old, fresh = _previous(path), _beside(path)
    shutil.rmtree(old, ignore_errors=True)  # what is at `path` is newer
    try:
        for name, content in [*files.items(), (SUMS, _sums(files))]:
            file = fresh / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                shutil.copyfile(content, file)
            _to_disk(file)
        for kept in hidden:  # a repository, for instance
            copy = shutil.copytree if kept.is_dir() else shutil.copy2
            copy(kept, fresh / kept.name)
        _to_disk(fresh)
        if path.exists():
            path.replace(old)
        fresh.replace(path)
        _to_disk(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        _recover(path)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        raise


def _check_replaceable(path: Path) -> list[Path]:
    """What is hidden in the folder, which may hold nothing else but a saved classifier."""
    if not path.is_dir():
        return []
    there = _files_in(path)
    try:
        listed = set(_parse((path / SUMS).read_bytes(), path)) if SUMS in there else set()
    except DamagedFileError:
        listed = set()
    if foreign := {name for name in there if is_checked(name)} - listed:
        raise ValueError(
            f"{path} is a folder with other things in it ({sorted(foreign)[:3]}); give a new name."
        )
    return [entry for entry in path.iterdir() if entry.name.startswith(".")]


def _previous(path: Path) -> Path:
    """Where the old folder stands between the two changes of names."""
    return path.parent / f".{path.name}.previous"


def _recover(path: Path) -> None:
    """Finish what a crash between the two changes of names left."""
    old = _previous(path)
    if old.is_dir() and not path.exists():
        old.replace(path)


def _to_disk(file: Path) -> None:
    """Wait until the file system has it; where folders cannot be opened, never mind."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(PermissionError):  # Windows, where it was opened to read
            os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    """A name of its own for what will become ``path``."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.new"


# -- zips ----------------------------------------------------------------------------


def _write_zip(path: Path, files: Mapping[str, Content]) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; remove it or give another name.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [*files.items(), (SUMS, _sums(files))]:
            held = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, _DATE), held)
        archive.comment = b"sha256:" + b"0" * 64  # of the right length
    body = buffer.getvalue()[: -len(archive.comment)]
    body += b"sha256:" + hashlib.sha256(body).hexdigest().encode()
    fresh = _beside(path)
    try:
        fresh.write_bytes(body)
        _to_disk(fresh)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _to_disk(path.parent)


def _read_zip(path: Path) -> dict[str, bytes]:
    whole = path.read_bytes()
    size = len(b"sha256:") + 64
    body, comment = whole[:-size], whole[-size:]
    said = _COMMENT.fullmatch(comment)
    if said is None or body[-_END_SIZE:][:4] != _END:
        raise DamagedFileError(f"{path} is damaged at its end, or is no zip of a saved classifier.")
    intact = hashlib.sha256(body).hexdigest().encode() == said[1]
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                raise zipfile.BadZipFile("compressed")
            names = archive.namelist()
            if len(set(names)) < len(names):
                raise zipfile.BadZipFile("a name twice")
            contents = {name: archive.read(name) for name in names}
        listed = _parse(contents.pop(SUMS, b""), path)
        _check_names(listed, set(contents), path)
        for name, digest in listed.items():
            _check_digest(name, digest, hashlib.sha256(contents[name]).hexdigest(), path)
    except DamagedFileError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
        raise DamagedFileError(f"{path} is damaged: its directory cannot be read.") from error
    if not intact:
        raise DamagedFileError(
            f"{path} is damaged: its files are whole, but not all of its bytes are as they were "
            "written."
        )
    return contents
