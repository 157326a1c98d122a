"""The order of the examples in the gallery: what most readers want first."""

from __future__ import annotations

_FIRST = (
    "quickstart.py",
    "look_inside.py",
    "tuning_methods.py",
    "several_labels.py",
    "regression.py",
    "tagging.py",
    "images.py",
    "long_texts.py",
    "bank.py",
    "save_and_share.py",
    "fused_search.py",
    "many_devices.py",
)


class ReadingOrder:
    """Sorts file names; those that are not listed come last."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> tuple[int, str]:
        name = filename.replace("\\", "/").rpartition("/")[2]
        return (_FIRST.index(name) if name in _FIRST else len(_FIRST)), name

    def __repr__(self) -> str:
        return type(self).__name__
