"""Files under checksums: a folder or a zip, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence.replacing import (
    read_steadily,
    remove,
    replacement,
    standing,
    to_disk,
)
from sklearn_lntune.persistence.sums import (
    SUMS,
    Content,
    check_digest,
    check_name,
    check_names,
    core_of,
    digest_of,
    is_checked,
    is_ours,
    names_listed,
    ours_among,
    parse_sums,
)
from sklearn_lntune.persistence.sums import sums_of as _sums
from sklearn_lntune.persistence.untrusted import read_regular
from sklearn_lntune.persistence.zips import check_zip, read_zip, write_zip

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
        check_target(path, files)
        if is_zip(path):
            write_zip(fresh, files)
        else:
            _write_folder(fresh, files)
            with contextlib.suppress(FileNotFoundError):
                keep = partial(_keep_what_is_free, fresh=fresh, files=files)
                read_steadily(path, keep, until_the_end=True)


def check_target(path: Path, names: Collection[str]) -> None:
    """Raise a ValueError if writing files of these ``names`` to ``path`` would be a loss."""
    files = dict.fromkeys(names, b"")
    if is_zip(path):
        check_zip(path, files)
    else:
        _check_folder(path, files)


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


def listed_files(path: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file at ``path`` that is under a checksum, which is not checked."""

    def listed(where: Path) -> dict[str, tuple[int, str]]:
        if where.is_dir():
            sums = parse_sums(_bytes(where, SUMS, path), path)
            return {name: ((where / name).stat().st_size, sums[name]) for name in sums}
        contents = read_zip(where, path)
        return {
            name: (len(content), hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
            if is_checked(name)
        }

    return read_steadily(path, listed)


def _read(
    where: Path, path: Path, only: Collection[str] | None, beside: Beside | None
) -> dict[str, bytes]:
    if where.is_dir():
        return _read_folder(where, path, only, beside)
    contents = read_zip(where, path)
    return {name: contents[name] for name in contents if only is None or name in only}


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
    listed = parse_sums(_bytes(where, SUMS, path), path)
    there = set(_entries(where))
    contents = {}
    check_names(listed, there if beside is None else there & set(listed), path)
    for name, digest in listed.items():
        if only is None or name in only:
            contents[name] = _bytes(where, name, path)
            found = hashlib.sha256(contents[name]).hexdigest()
        else:
            found = _unless_odd(digest_of, where, name, path)
        check_digest(name, digest, found, path)
    if beside is not None:
        check_names(listed, there - set(beside(contents)), path)
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
