"""Replace a folder or a file, while readers see either the old one or the new one.

Neither readers nor writers wait for each other. A writer writes under a hidden name next to the
path, holding a lock file that shows that it is alive, and then renames. Linux exchanges two
folders atomically. On other systems the old folder is moved aside before the new one takes
its name; a reader between the two steps, or after a crash there, finds the old one aside.
Readers change nothing. A folder may be replaced and removed while it is read: `read_steadily`
then reads it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What a kernel, a file system or a sandbox that does not know the call answers.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
#: What renaming a folder answers where there is another; on Windows an empty one counts.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)
#: Of a file's name in bytes; ours are longer, and file systems allow 255.
_LONGEST_NAME = 180

Result = TypeVar("Result")


# -- writing -------------------------------------------------------------------------


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which replaces ``path`` at the end.

    On an error ``path`` stays as it is. Files left by killed writers are removed.
    """
    with _token(path) as token:
        _remove_leftovers(path, token)
        fresh = _beside(path, f"{token}.new")
        try:
            yield fresh
            to_disk(fresh)
            if fresh.is_dir():
                _replace_folder(path, fresh, _beside(path, f"{token}.old"))
            else:
                fresh.replace(path)
            to_disk(path.parent)
        finally:
            remove(fresh)  # after an exchange, the old folder
        _remove_leftovers(path, token)


def _replace_folder(path: Path, fresh: Path, aside: Path) -> None:
    """Rename ``fresh`` to ``path``; other writers may do the same at any moment."""
    while True:
        try:
            if path.exists() and _exchange(path, fresh):
                return
        except FileNotFoundError:  # another writer has moved `path` aside since the check
            if not fresh.exists():
                raise
            continue
        with contextlib.suppress(FileNotFoundError):
            path.replace(aside)
        try:
            fresh.replace(path)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _TAKEN and path.exists():
                continue  # another writer was faster: replace its folder in turn
            with contextlib.suppress(OSError):
                aside.replace(path)
            raise
        finally:
            if path.exists():
                remove(aside)
        return


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically; False if the system cannot do that."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    if rename(*names, _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one))


def to_disk(file: Path) -> None:
    """Flush a file or a folder to disk; ignored on systems that cannot open folders."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(PermissionError):  # Windows, where it was opened to read
            os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


# -- hidden names ----------------------------------------------------------------------
#
# ``.<name>.<token>.new`` is being written, ``.<name>.<token>.old`` was moved aside, and as
# long as the writer with this token lives, it holds a lock on ``.<name>.<token>.lock``.


def _beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder that belongs to ``path``."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.parent / f".{name}.{ending}"


@contextlib.contextmanager
def _token(path: Path) -> Iterator[str]:
    """A token for hidden names, which are taken for those of a living writer until the end."""
    while True:
        token = uuid.uuid4().hex
        file = _beside(path, f"{token}.lock")
        lock = FileLock(file)
        with contextlib.suppress(OSError, NotImplementedError):  # a file system without locks
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            # Another writer may have removed it between its creation and its locking.
            if not file.exists():
                lock.release()
                continue
        break
    try:
        yield token
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            file.unlink()


def _remove_leftovers(path: Path, own: str) -> None:
    """Remove the files of writers of ``path`` that have died."""
    for token, endings in _hidden(path).items():
        if token == own or _lives(_beside(path, f"{token}.lock"), "lock" in endings):
            continue
        remove(_beside(path, f"{token}.new"))
        if path.exists():  # otherwise the folder moved aside is the only copy
            remove(_beside(path, f"{token}.old"))
        remove(_beside(path, f"{token}.lock"))
    if path.exists():
        remove(_previous(path))


def _lives(file: Path, there: bool) -> bool:
    """Whether the lock ``file`` is held, or may be."""
    if not there:
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False


def _hidden(path: Path) -> dict[str, set[str]]:
    """The endings of the names beside ``path``, by their token."""
    name = re.escape(_beside(path, "").name)
    pattern = re.compile(rf"{name}([0-9a-f]{{32}})\.(new|old|lock)")
    found: dict[str, set[str]] = {}
    with contextlib.suppress(OSError):  # no such folder, or one that may not be listed
        for entry in os.listdir(path.parent):
            if named := pattern.fullmatch(entry):
                found.setdefault(named[1], set()).add(named[2])
    return found


def _previous(path: Path) -> Path:
    """Where earlier versions of this package moved the old folder."""
    return _beside(path, "previous")


# -- reading ---------------------------------------------------------------------------


def standing(path: Path) -> Path | None:
    """The current location of the content of ``path``; None if there is none."""
    for _ in range(3):
        if os.path.exists(path):  # never raises, however odd the name
            return path
        # It is being replaced, or was when the machine stopped.
        if aside := _moved_aside(path):
            return aside
        # It has been replaced by now, so look again.
    return None


def _moved_aside(path: Path) -> Path | None:
    """The folder that was moved aside last."""
    tokens = [token for token, endings in _hidden(path).items() if "old" in endings]
    times = {}
    for aside in (*(_beside(path, f"{token}.old") for token in tokens), _previous(path)):
        with contextlib.suppress(OSError):
            times[aside] = aside.stat().st_ctime_ns
    return max(times, key=lambda aside: times[aside]) if times else None


def standing_in(folder: Path) -> list[Path]:
    """The visible paths in ``folder`` at which something stands, sorted."""
    names = {entry.name for entry in folder.iterdir()}
    aside = re.compile(r"\.(.+)\.(?:[0-9a-f]{32}\.old|previous)")
    moved = {found[1] for name in names if (found := aside.fullmatch(name))}
    return [folder / name for name in sorted(names | moved) if not name.startswith(".")]


def read_steadily(
    path: Path, read: Callable[[Path], Result], *, until_the_end: bool = False
) -> Result:
    """What ``read`` makes of ``path``; it is called again if that was replaced meanwhile.

    Parameters
    ----------
    path : Path
    read : callable
        Gets the folder or file. Where it raises and ``path`` is another by then, it has
        read a mixture or something that was being removed.
    until_the_end : bool, default=False
        Whether it is called again, too, where it returns and ``path`` is another by then.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    """
    while True:
        where = standing(path)
        if where is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        with contextlib.ExitStack() as stack:
            try:
                before = stack.enter_context(_held(where))
            except FileNotFoundError:
                continue
            try:
                found = read(where)
            except (ValueError, OSError):
                if _is_still(path, before):
                    raise
                continue
            if not until_the_end or _is_still(path, before):
                return found


@contextlib.contextmanager
def _held(where: Path) -> Iterator[os.stat_result]:
    """What ``where`` is; nothing else is taken for it until the end."""
    found = where.stat()
    if os.name != "posix" or not stat.S_ISDIR(found.st_mode):
        yield found
        return
    # While it is open, its number is not given to another, even if it is removed.
    handle = os.open(where, os.O_RDONLY)
    try:
        yield os.fstat(handle)
    finally:
        os.close(handle)


def _is_still(path: Path, before: os.stat_result) -> bool:
    """Whether ``path`` names what it named ``before``."""
    now = standing(path)
    try:
        return now is not None and os.path.samestat(now.stat(), before)
    except FileNotFoundError:
        return False
