"""Names that writing and reading agree on."""

from __future__ import annotations

import os
import re

#: Where a saved classifier keeps its own copy of the backbone.
BACKBONE_FOLDER = "backbone"

_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_name(name: str) -> bool:
    """Whether ``name`` is of the form ``"user/name"``.

    Examples
    --------
    >>> is_hub_name("me/tickets"), is_hub_name("../tickets")
    (True, False)
    """
    return _ON_HUB.fullmatch(name) is not None


def is_local(name: str, revision: str | None = "unknown") -> bool:
    """Whether a backbone's ``name`` is that of a folder, rather than one on the hub.

    What came from the hub has a ``revision``. Without it, a folder may look like a name on
    the hub once the working directory is another.

    Examples
    --------
    >>> is_local("/models/minilm"), is_local("me/minilm"), is_local("me/minilm", None)
    (True, False, True)
    """
    if os.path.isabs(name) or os.path.isdir(os.path.expanduser(name)):
        return True
    on_hub = is_hub_name(name) or re.fullmatch(r"\w[\w.-]*", name)
    return not on_hub or revision is None


def last_part(path: str | os.PathLike[str]) -> str:
    r"""The name of the folder at ``path``, whatever system that was written on.

    Examples
    --------
    >>> last_part("/home/me/models/minilm/"), last_part(r"C:\models\minilm")
    ('minilm', 'minilm')
    """
    path = os.fspath(path)
    if os.path.isdir(whole := os.path.expanduser(path)):  # "." has a name
        path = os.path.abspath(whole)
    parts = [part for part in re.split(r"[\\/]", path) if part]
    return parts[-1] if parts else BACKBONE_FOLDER
