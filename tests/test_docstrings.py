"""The docstring of everything public follows numpydoc."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

from sklearn_lntune.tuning import TuningMethod

MODULES = ("", ".tuning", ".datasets", ".inspection", ".serving")

#: Codes of numpydoc that the project does not follow.
NOT_FOLLOWED = {
    "ES01",  # an extended summary: one line is often enough
    "SA01",  # a section See Also: the API reference lists neighbours together
    "EX01",  # an example: classes and functions have one, most methods do not need their own
    "SS05",  # takes a plural ("Biases of ...") for a verb in the third person
}
#: Also of an override without sections of its own: the method of the base class has them.
INHERITED = {"PR01", "RT01"}


def _function(member: Any) -> Any:
    member = member.fget if isinstance(member, property) else member
    return inspect.unwrap(getattr(member, "__func__", member))


def _public_members(kind: type) -> Iterator[str]:
    """Names of what this package defines on the class; an old name of a method is no member."""
    for owner in kind.__mro__:
        if owner.__module__.startswith("sklearn_lntune"):
            for name, member in vars(owner).items():
                if name.startswith("_") or not (callable(member) or hasattr(member, "__get__")):
                    continue
                if getattr(_function(member), "__name__", None) == name:
                    yield name


def _public_objects() -> Iterator[str]:
    for ending in MODULES:
        module = f"sklearn_lntune{ending}"
        for name in import_module(module).__all__:
            value = getattr(import_module(module), name)
            if not callable(value):
                continue
            yield f"{module}.{name}"
            if inspect.isclass(value):
                yield from (f"{module}.{name}.{member}" for member in _public_members(value))


PUBLIC = sorted(set(_public_objects()))


def _inherits_sections(path: str) -> bool:
    """Whether ``path`` is an override of a `TuningMethod`'s method, without sections."""
    owner, _, name = path.rpartition(".")
    module, _, owner = owner.rpartition(".")
    kind = getattr(import_module(module), owner, None) if module else None
    if kind is TuningMethod or not inspect.isclass(kind) or not issubclass(kind, TuningMethod):
        return False
    doc = NumpyDocString(inspect.getdoc(getattr(kind, name)))
    return hasattr(TuningMethod, name) and not (doc["Parameters"] or doc["Returns"])


def test_public_objects_are_found() -> None:
    assert {
        "sklearn_lntune.LNTunedTransformerClassifier.fit",  # inherited from a base of ours
        "sklearn_lntune.LNTunedTransformerClassifier.history_",
        "sklearn_lntune.DeltaBank.from_folder",
        "sklearn_lntune.tuning.TuningMethod.attach",
        "sklearn_lntune.tuning.ScaleTuning.merge",
        "sklearn_lntune.datasets.fetch_text_dataset",
    } <= set(PUBLIC)
    assert "sklearn_lntune.tuning.TuningMethod.settled" not in PUBLIC


@pytest.mark.parametrize("path", PUBLIC)
def test_docstring_is_valid(path: str) -> None:
    accepted = NOT_FOLLOWED | (INHERITED if _inherits_sections(path) else set())
    errors = [error for error in validate(path)["errors"] if error[0] not in accepted]
    assert not errors
