"""Names that writing and reading agree on."""

from __future__ import annotations

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
