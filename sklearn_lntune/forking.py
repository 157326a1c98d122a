"""Keep forked children from inheriting held locks, vanished threads and clean-up duties.

A fork copies the memory of a process but, of its threads, only the one that forks. A lock
held by another thread would stay locked in the child for ever, and an object that removes
a file when it is collected would remove the parent's file.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
