"""Keep forked children from inheriting held locks, vanished threads and clean-up duties.

A fork copies the memory of a process but, of its threads, only the one that forks. A lock
held by another thread would stay locked in the child for ever, and an object that removes
a file when it is collected would remove the parent's file.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: A fork waits this long at most for other threads to sleep.
QUIET_SECONDS = 1.0

_functions: list[Callable[[], None]] = []
# Weak references: most objects with a lock are collected long before the process ends.
_methods: dict[weakref.WeakMethod[Callable[[], None]], None] = {}
_forked = _forked_with_torch = False


def on_fork(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every child forked from now on, before anything else runs there.

    Parameters
    ----------
    callback : callable
        Takes no arguments. A bound method is called only as long as its object exists.
    """
    if hasattr(callback, "__self__"):
        _methods[weakref.WeakMethod(callback, lambda gone: _methods.pop(gone, None))] = None
    else:
        _functions.append(callback)


def is_forked() -> bool:
    """Whether this process was forked after the package had been imported."""
    return _forked


def is_forked_with_torch() -> bool:
    """Whether this process was forked after torch had been imported, too."""
    return _forked_with_torch


class ForkSafeLock:
    """A lock that is free in a forked child, even if it was held in the parent.

    Parameters
    ----------
    kind : callable, default=threading.Lock
        Or ``threading.RLock``.

    Examples
    --------
    >>> with ForkSafeLock():
    ...     pass
    """

    def __init__(self, kind: Callable[[], Any] = threading.Lock) -> None:
        self._kind = kind
        self._renew()
        on_fork(self._renew)

    def _renew(self) -> None:
        self._lock = self._kind()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def remove_with(owner: Any, folder: str) -> weakref.finalize[Any, Any]:
    """Remove ``folder`` when ``owner`` is collected or this process ends, but not in a child."""
    return weakref.finalize(owner, _remove, folder, os.getpid())


def _remove(folder: str, made_by: int) -> None:
    if os.getpid() == made_by:
        shutil.rmtree(folder, ignore_errors=True)


def _in_child() -> None:
    global _forked, _forked_with_torch
    _forked = True
    _forked_with_torch = _forked_with_torch or "torch" in sys.modules
    # Methods first: they renew the locks, which the functions may acquire.
    for method in list(_methods):
        if (callback := method()) is not None:
            callback()
    for callback in _functions:
        callback()


def _wait_for_quiet() -> None:
    """Let threads that compute, or are about to end, come to rest before a fork.

    The allocator of MKL, which PyTorch multiplies with, takes spin locks for moments, among
    others when a thread ends. One that is taken during a fork is never released in the child,
    whose first product then waits for ever. A thread that sleeps holds none.
    """
    if "torch" not in sys.modules:
        return
    end = time.monotonic() + QUIET_SECONDS
    while _others_run() and time.monotonic() < end:
        time.sleep(0.001)


def _others_run() -> bool:
    """Whether another thread of this process is running, as far as the system tells."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            if int(thread.name) == threading.get_native_id():
                continue
            # "4711 (name of the program) S ...", in which the name may hold anything.
            state = (thread / "stat").read_text("latin-1").rpartition(")")[2].split()[0]
            if state in "RD":
                return True
    except OSError as error:
        # A thread that has just ended may have others that end with it; a system without
        # /proc tells nothing.
        return Path("/proc/self/task").exists() and error.errno in (errno.ENOENT, errno.ESRCH)
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_quiet, after_in_child=_in_child)
