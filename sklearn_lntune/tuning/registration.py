"""The registry of tuning methods by name.

`base.TuningMethod` calls `register` for each class derived from it.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakSet

HEAD = "head"
#: Other words allowed in the string ``tuning``; `registry` adds the presets.
reserved = {HEAD}
#: Names occur in delta arrays (``name/path/array``), strings (``name+name``) and nested
#: parameters (``name__parameter``), so they must not contain the separators.
_NAME = re.compile(r"[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*")
_registered: dict[str, type[Any]] = {}
_seen: WeakSet[type[Any]] = WeakSet()


def register(method: type[Any]) -> None:
    """Register ``method`` under its name; a class that sets none is ignored.

    The same class defined again replaces the old one, as when a notebook cell is run
    again. A class defined inside a function never replaces another class, and any other
    class replaces it.

    Raises
    ------
    ValueError
        If the name is malformed, or belongs to another class.
    """
    name = vars(method).get("name")
    if name is None:
        return
    # Before the checks: a refused class lives on until it is collected, and `registered`, which
    # looks at all subclasses, must not raise for it again.
    _seen.add(method)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in reserved:
        raise ValueError(
            f"{method.__qualname__}.name must be letters and digits, with single '-', '_' or '.' "
            f"between them, and none of {sorted(reserved)}; got {name!r}."
        )
    known = _registered.get(name)
    if known is None or is_redefinition(method, known) or "<locals>" in known.__qualname__:
        _registered[name] = method
    elif "<locals>" not in method.__qualname__:
        raise _taken(method, name, known)


def check_registered(method: type[Any], name: str) -> None:
    """Raise unless ``method`` is registered as ``name``.

    Raises
    ------
    ValueError
        If ``name`` belongs to another class, or to the parent of ``method``.
    """
    if "name" not in vars(method):
        raise ValueError(
            f"the tuning method {method.__qualname__} needs a name of its own: {name!r} is that of "
            "the class it derives from."
        )
    known = _registered[name]
    if not is_redefinition(method, known):
        raise _taken(method, name, known)


def registered(parent: type[Any]) -> dict[str, type[Any]]:
    """Every known method by its name; ``parent`` is the class that all derive from."""
    # cloudpickle, which sends classes of a notebook to other processes, sets the attributes of
    # a class only after creating it, when `__init_subclass__` has already run without a name.
    for method in _subclasses(parent):
        if method not in _seen:
            register(method)
    return dict(_registered)


def is_redefinition(method: type[Any], known: type[Any]) -> bool:
    """Whether ``method`` is the class ``known``, or that class defined again.

    It may have moved, say from a notebook to a module. Methods of this package cannot be
    replaced in this way.
    """
    built_in = known.__module__.startswith(f"{__package__}.")
    return method.__qualname__ == known.__qualname__ and (
        method.__module__ == known.__module__ or not built_in
    )


def _taken(method: type[Any], name: str, known: type[Any]) -> ValueError:
    return ValueError(
        f"the tuning method {method.__qualname__} has the name {name!r}, which is that of "
        f"{known.__module__}.{known.__qualname__}. Give it another name."
    )


def _subclasses(parent: type[Any]) -> list[type[Any]]:
    """All classes derived from ``parent``."""
    direct = parent.__subclasses__()
    return direct + [each for child in direct for each in _subclasses(child)]
