"""Put a folder or a file in the place of another; readers see the old one or the new.

A writer holds a lock beside the path from beginning to end. So there is one at a time, and
whatever temporary names stand beside the path when it begins were left by killed ones.

Readers take no lock and change nothing. Linux exchanges two folders in one step. Elsewhere
the old folder is moved aside before the new one takes its name; a reader that comes between
the two steps finds the old one under `_previous`, and so does one that comes after a crash.
Either way a folder may be replaced, and removed, while it is being read: `read_steadily`
then reads again.
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
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from sklearn_lntune.exceptions import DamagedFileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What a kernel, a file system or a sandbox that does not know the call answers.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
#: Of a file's name in bytes; ours are longer, and file systems allow 255.
_LONGEST_NAME = 180

Result = TypeVar("Result")


# -- writing -------------------------------------------------------------------------


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; what is there at the end takes the place of ``path``.

    On an error ``path`` stays as it is. Waits for others that write to ``path``.
    """
    with _alone(path) as alone:
        if alone:
            _remove_leftovers(path)
        fresh = _beside(path, f"{uuid.uuid4().hex}.new")
        try:
            yield fresh
            to_disk(fresh)
            if fresh.is_dir():
                _replace_folder(path, fresh)
            else:
                fresh.replace(path)
            to_disk(path.parent)
        finally:
            _remove(fresh)  # the old folder, after an exchange


def _replace_folder(path: Path, fresh: Path) -> None:
    if path.exists() and _exchange(path, fresh):
        return
    old = _previous(path)
    if path.exists():
        _remove(old)  # what is at `path` is newer
        path.replace(old)
    try:
        fresh.replace(path)
    except BaseException:
        if old.exists():
            old.replace(path)
        raise
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot do that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if fcntl else None
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


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers left beside ``path``."""
    pattern = re.compile(re.escape(_beside(path, "").name) + r"[0-9a-f]{32}\.new")
    with contextlib.suppress(PermissionError):  # a folder that may be written, not listed
        for entry in path.parent.iterdir():
            if pattern.fullmatch(entry.name):
                _remove(entry)
    if path.exists():
        _remove(_previous(path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _previous(path: Path) -> Path:
    """Where the old folder stands between two changes of names."""
    return _beside(path, "previous")


def _beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder that belongs to ``path``."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.parent / f".{name}.{ending}"


# -- one writer at a time --------------------------------------------------------------


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Let nobody else write to ``path``; False where the file system knows no locks."""
    lock = _beside(path, "lock")
    try:
        release = _acquired(lock) if fcntl else _acquired_elsewhere(lock)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        release()


def _acquired(lock: Path) -> Callable[[], None]:
    """Wait for the ``lock``; returns what releases it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it has removed it, and the next one may have made another.
            gone = os.fstat(handle).st_nlink == 0
        except BaseException:
            os.close(handle)
            raise
        if not gone:
            break
        os.close(handle)

    def release() -> None:
        with contextlib.suppress(OSError):
            lock.unlink()
        # Explicitly: a process forked meanwhile holds the same handle.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)

    return release


def _acquired_elsewhere(lock: Path) -> Callable[[], None]:
    """As `_acquired`, on Windows, where an open file cannot be removed."""
    held = FileLock(lock)
    held.acquire()

    def release() -> None:
        held.release()
        with contextlib.suppress(OSError):
            lock.unlink()

    return release


# -- reading ---------------------------------------------------------------------------


def standing(path: Path) -> Path | None:
    """Where what ``path`` names is right now; None where there is nothing."""
    # Not at `path`: it is being replaced, or was when the machine stopped. Not aside either:
    # by now it has been replaced, and is at `path`. More looks, for several in a row.
    for candidate in (path, _previous(path)) * 4:
        if os.path.exists(candidate):  # never raises, however odd the name
            return candidate
    return None


def standing_in(folder: Path) -> list[Path]:
    """The visible paths in ``folder`` at which something stands, sorted."""
    names = {entry.name for entry in folder.iterdir()}
    moved = {found[1] for name in names if (found := re.fullmatch(r"\.(.+)\.previous", name))}
    return [folder / name for name in sorted(names | moved) if not name.startswith(".")]


def read_steadily(path: Path, read: Callable[[Path], Result]) -> Result:
    """What ``read`` makes of ``path``; it is called again if that was replaced meanwhile.

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
                return read(where)
            except (DamagedFileError, OSError):
                if _is_still(path, before):
                    raise


@contextlib.contextmanager
def _held(where: Path) -> Iterator[os.stat_result]:
    """What ``where`` is; nothing else is taken for it until the end."""
    found = where.stat()
    if fcntl is None or not stat.S_ISDIR(found.st_mode):
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
