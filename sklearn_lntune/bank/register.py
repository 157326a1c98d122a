"""The members of a bank by name, which change safely while other threads predict."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.bank.shelf import saved_in, size_of
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.estimators.loading import load
from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.persistence import FittedState

if TYPE_CHECKING:
    from sklearn_lntune.bank.homes import Member


@dataclass(frozen=True)
class View:
    """The members at one moment; a view is never changed, only replaced by another."""

    members: Mapping[str, Member] = field(default_factory=dict)
    #: Those that can be read again.
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of all, loaded or not."""
        return list(dict.fromkeys([*self.files, *self.members]))

    def __contains__(self, name: object) -> bool:
        return name in self.members or name in self.files


class Register:
    """The members of a bank.

    A prediction takes the current view and uses it to its end, without a lock. A change holds
    the lock, and replaces the view by a new one.

    Parameters
    ----------
    folder : Path, optional
        Folder of saved classifiers, which are read when they are needed.
    max_memory : int, optional
        Bytes of deltas to hold.
    load_options : mapping, default={}
        Arguments for `load`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        max_memory: int | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.view = View() if folder is None else View({}, saved_in(folder))
        self._folder = folder
        self._max_memory = max_memory
        self._load_options = load_options or {}
        self._lock = ForkSafeLock(threading.RLock)  # never held while a network predicts
        self._backbones: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._homes: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._clock = itertools.count()
        self._last_used: dict[str, int] = {}

    # -- changes -------------------------------------------------------------------

    def add(self, classifiers: Mapping[str, BaseTuned]) -> None:
        """Add fitted classifiers under new names."""
        with self._lock:
            for name in classifiers:
                if name in self.view:
                    raise ValueError(f"the bank has {name!r} already; use replace.")
            self._publish(self._members_of(classifiers), self.view.files)

    def replace(self, name: str, clf: BaseTuned) -> None:
        """Let a fitted classifier take the place of the one called ``name``."""
        with self._lock:
            self._check_known([name], self.view)
            self._publish(self._members_of({name: clf}), without(self.view.files, {name}))

    def remove(self, name: str) -> None:
        """Forget the classifier ``name``; its file, if it has one, stays."""
        with self._lock:
            self._check_known([name], self.view)
            self._drop({name})
            self.view = View(self.view.members, without(self.view.files, {name}))

    def reload(self, name: str) -> None:
        """Read the file of ``name`` again; it may have come since the bank was made.

        Where it cannot be read, what was in its place stays.
        """
        if self._folder is None:
            raise ValueError("this bank is of no folder: use replace, or DeltaBank.from_folder.")
        files = saved_in(self._folder)
        if name not in files:
            raise ValueError(f"there is no saved classifier {name!r} in {self._folder}.")
        with self._lock:
            member = self._read({name: files[name]}, needed={name})
            self._publish(member, {**self.view.files, name: files[name]})

    # -- for predictions -------------------------------------------------------------

    def ready(self, names: Collection[str], view: View | None = None) -> dict[str, Member]:
        """The members called ``names``, as in ``view``; missing ones are read first."""
        view = view or self.view
        self._check_known(names, view)
        members = {name: view.members[name] for name in names if name in view.members}
        files = {name: view.files[name] for name in names if name not in members}
        del view  # what has to go to make room shall not be kept by it
        if files:
            with self._lock:
                for name, file in list(files.items()):
                    # Another thread may have read it while this one waited for the lock.
                    if name in self.view.members and self.view.files.get(name) == file:
                        members[name] = self.view.members[name]
                        del files[name]
                members |= self._read(files, needed=names)
        for name in names:
            self._last_used[name] = next(self._clock)
        return {name: members[name] for name in names}

    def _read(self, files: Mapping[str, Path], needed: Collection[str]) -> dict[str, Member]:
        """Members from ``files``; those removed meanwhile are not added to the bank."""
        classifiers = {name: load(file, **self._load_options) for name, file in files.items()}
        self._make_room(needed, sum(map(size_of, files.values())))
        read = self._members_of(classifiers)
        kept = {name: member for name, member in read.items() if name in self.view.files}
        self._publish(kept, self.view.files)
        return read

    def portions(self, view: View) -> list[list[str]]:
        """All names, in groups that fit in ``max_memory``."""
        if self._max_memory is None:
            return [view.names]
        portions: list[list[str]] = [[]]
        room = self._max_memory
        for name in view.names:
            member = view.members.get(name)
            size = member.nbytes if member else size_of(view.files[name])
            if portions[-1] and size > room:
                portions.append([])
                room = self._max_memory
            portions[-1].append(name)
            room -= size
        return portions

    def _members_of(self, classifiers: Mapping[str, Any]) -> dict[str, Member]:
        """Copy the deltas of ``classifiers``; they are not visible before they are published."""
        # torch and transformers are imported from here on only.
        from sklearn_lntune.bank.homes import find_home
        from sklearn_lntune.prediction.predictor import located

        found = []
        for name, clf in classifiers.items():
            state = _state_of(name, clf)
            backbone, placement = located(
                state, BackboneRef.from_params(vars(clf)), Where.from_params(vars(clf))
            )
            identity = (backbone.fingerprint, backbone.tokenizer_fingerprint)
            backbone = self._backbones.setdefault(identity, backbone)
            home = find_home(self._homes, state, backbone, placement)
            found.append((name, home, state, int(clf.n_features_in_)))
        for home, n in Counter(home for _, home, _, _ in found).items():
            home.reserve(n)
        return {name: home.take_in(state, n_columns) for name, home, state, n_columns in found}

    def _publish(self, members: Mapping[str, Member], files: Mapping[str, Path]) -> None:
        self.view = View({**self.view.members, **members}, files)

    def _make_room(self, needed: Collection[str], size: int) -> None:
        """Drop the least recently used members until ``size`` bytes fit in ``max_memory``."""
        members, files = self.view.members, self.view.files
        if self._max_memory is None:
            return
        excess = sum(member.nbytes for member in members.values()) + size - self._max_memory
        dropped = set()
        for name in sorted(members, key=lambda name: self._last_used.get(name, -1)):
            if excess <= 0:
                break
            if name in files and name not in needed:
                dropped.add(name)
                excess -= members[name].nbytes
        self._drop(dropped)

    def _drop(self, names: Collection[str]) -> None:
        """Remove members, and shrink the stacks that are mostly empty then."""
        from sklearn_lntune.bank.homes import compacted

        gone = [self.view.members[name] for name in names if name in self.view.members]
        left = without(self.view.members, names)
        for name in names:
            self._last_used.pop(name, None)
        self.view = View(compacted(self._homes, left, gone), self.view.files)

    def _check_known(self, names: Collection[str], view: View) -> None:
        unknown = [name for name in names if name not in view.members and name not in view.files]
        if unknown:
            raise ValueError(
                f"the bank has no classifier called {unknown[:5]}; it has {view.names[:20]}."
            )


def _state_of(name: str, clf: Any) -> FittedState:
    """The fitted state of a classifier."""
    if not isinstance(name, str):
        raise TypeError(f"names of classifiers are strings; got {name!r}.")
    if not isinstance(clf, BaseTuned):
        raise TypeError(
            f"{name!r} must be a fitted estimator of sklearn_lntune; got {type(clf).__name__}. Of "
            "a pipeline, pass its last step."
        )
    check_is_fitted(clf, "delta_")
    return FittedState.from_attributes(vars(clf))


def without(mapping: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """``mapping`` without the keys ``names``."""
    return {name: value for name, value in mapping.items() if name not in names}
