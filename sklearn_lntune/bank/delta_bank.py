"""`DeltaBank`: many fitted classifiers over one backbone at prediction. No torch code here."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.bank.shelf import saved_in, size_of
from sklearn_lntune.checks import check_number
from sklearn_lntune.classifier import LNTunedTransformerClassifier, load
from sklearn_lntune.persistence import FittedState
from sklearn_lntune.task import OneLabel
from sklearn_lntune.text.check import Text, check_texts

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.bank.homes import Member

_WHERE = ("backbone", "revision", "trust_remote_code", "device", "precision")


@dataclass(frozen=True)
class _View:
    """What the bank holds at one moment; never changed, only replaced."""

    members: Mapping[str, Member] = field(default_factory=dict)
    #: Those that can be read again.
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.files, *self.members]))


class DeltaBank:
    """Many fitted classifiers, asked together: one backbone, one pass for all their rows.

    Each row of a batch meets the gains, biases and other learnt values of its own
    classifier; the products with frozen weights are shared. Answers are those of the single
    classifiers.

    Parameters
    ----------
    classifiers : mapping of str to LNTunedTransformerClassifier, optional
        Fitted classifiers by name. What they learnt is copied; the classifiers are not
        kept.

    Notes
    -----
    Classifiers may differ in everything. Those with the same backbone (known by its
    fingerprint, wherever its files are), tuning methods, pooling, device and precision run
    in one pass, whatever their classes and ``max_length``. Full tuning, ``pooling="native"``
    and models whose layers read more than the rows of a batch (DeBERTa's relative positions)
    do not stack: such classifiers take turns, one after the other.

    Threads may predict while others add, remove or reload: a prediction goes by what the
    bank held when it began.

    Examples
    --------
    >>> from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> topic = clf.fit(X[:64], y[:64])
    >>> bank = DeltaBank({"topic": topic, "length": clf.fit(X[:64], [len(x) > 60 for x in X[:64]])})
    >>> bank.predict(["it froze again", "where is my money?"]).columns.tolist()
    ['topic', 'length']
    >>> bank.predict(["it froze again", "where is my money?"], tasks=["topic", "length"]).shape
    (2,)
    """

    def __init__(
        self, classifiers: Mapping[str, LNTunedTransformerClassifier] | None = None
    ) -> None:
        self._view = _View()
        #: Held by whoever changes the bank; never while a network predicts.
        self._lock = threading.RLock()
        self._backbones: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._homes: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._clock = itertools.count()
        self._last_used: dict[str, int] = {}
        self._folder: Path | None = None
        self._max_memory: int | None = None
        self._load_options: dict[str, Any] = {}
        classifiers = classifiers or {}
        if not isinstance(classifiers, Mapping):
            raise TypeError(
                f"classifiers must be a mapping of names to fitted classifiers; got "
                f"{type(classifiers).__name__}."
            )
        if classifiers:
            self._publish(self._members_of(classifiers), {})

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        max_memory: int | None = None,
        backbone: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """A bank of the classifiers saved in ``folder``, each read when first asked for.

        Parameters
        ----------
        folder : str or path
            Holds what `LNTunedTransformerClassifier.save` wrote: ``topic.zip`` or the folder
            ``topic`` is the classifier ``"topic"``.
        max_memory : int, optional
            Bytes of deltas to hold. Beyond it those not used for longest are dropped, and
            read again when asked for. A request that needs more than this at once exceeds it
            until the next one. All are held by default.
        backbone, trust_remote_code
            As for `load`.

        Returns
        -------
        DeltaBank

        Raises
        ------
        ValueError
            If there is no such folder, or two classifiers in it have one name.

        Examples
        --------
        >>> bank = DeltaBank.from_folder("classifiers", max_memory=2**30)  # doctest: +SKIP
        """
        if max_memory is not None:
            check_number("max_memory", max_memory, integer=True, low=1)
        bank = cls()
        bank._folder = Path(folder)
        bank._max_memory = max_memory
        bank._load_options = {"backbone": backbone, "trust_remote_code": trust_remote_code}
        bank._view = _View({}, saved_in(folder))
        return bank

    # -- answers -------------------------------------------------------------------

    def predict(self, X: Any, tasks: Sequence[str] | None = None) -> pd.DataFrame | np.ndarray:
        """The most likely label: of every task for each row, or of one task a row.

        Parameters
        ----------
        X : array-like of str
            Texts or sentence pairs, as for the classifiers.
        tasks : array-like of str of shape (n_samples,), optional
            The name of the classifier that each row is for.

        Returns
        -------
        pandas.DataFrame of shape (n_samples, n_tasks)
            Without ``tasks``: a column a classifier; the index is that of ``X``, if it has
            one.
        ndarray of shape (n_samples,)
            With ``tasks``. Of type object where classifiers have labels of different kinds.

        Raises
        ------
        ValueError
            If a name is unknown, or a classifier expects pairs and gets texts or vice versa.
        DamagedFileError
            If the file of a classifier that is needed is not as it was written.
        """
        if tasks is None:
            import pandas as pd

            columns = {
                name: OneLabel(member.classes).decide(logits)
                for name, member, logits in self._every_task(X)
            }
            index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
            return pd.DataFrame(columns, index=index)
        answers = [
            (rows, OneLabel(member.classes).decide(logits))
            for rows, member, logits in self._mixed(X, tasks)
        ]
        dtypes = [labels.dtype for _, labels in answers]
        one_kind = len({dtype.kind for dtype in dtypes}) == 1
        mixed = np.empty(
            sum(len(rows) for rows, _ in answers), np.result_type(*dtypes) if one_kind else object
        )
        for rows, labels in answers:
            mixed[rows] = labels
        return mixed

    def predict_proba(
        self, X: Any, tasks: Sequence[str] | None = None
    ) -> dict[str, np.ndarray] | list[np.ndarray]:
        """Probability of each class; columns in the order of `classes`.

        Parameters
        ----------
        X, tasks : array-like
            As for `predict`.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_classes)
            Without ``tasks``: by name.
        list of ndarray of shape (n_classes,)
            With ``tasks``: one a row, as long as its task has classes.
        """
        if tasks is None:
            return {name: OneLabel.probabilities(logits) for name, _, logits in self._every_task(X)}
        by_row: dict[int, np.ndarray] = {}
        for rows, _, logits in self._mixed(X, tasks):
            by_row |= zip(rows.tolist(), OneLabel.probabilities(logits), strict=True)
        return [by_row[row] for row in range(len(by_row))]

    def classes(self, name: str) -> np.ndarray:
        """The labels of the classifier ``name``, in the order of probabilities."""
        return self._ready([name], self._view)[name].classes

    # -- members -------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of all classifiers, loaded or not."""
        return self._view.names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._view.members or name in self._view.files

    def __repr__(self) -> str:
        view = self._view
        return f"DeltaBank of {len(view.names)} classifiers, {len(view.members)} in memory"

    def add(self, name: str, clf: LNTunedTransformerClassifier) -> None:
        """Take in a fitted classifier under a new name."""
        with self._lock:
            if name in self:
                raise ValueError(f"the bank has {name!r} already; use replace.")
            self._publish(self._members_of({name: clf}), self._view.files)

    def replace(self, name: str, clf: LNTunedTransformerClassifier) -> None:
        """Let a fitted classifier take the place of the one called ``name``."""
        with self._lock:
            self._check_known([name], self._view)
            self._publish(self._members_of({name: clf}), _without(self._view.files, {name}))

    def remove(self, name: str) -> None:
        """Forget the classifier ``name``; its file, if it has one, stays."""
        with self._lock:
            self._check_known([name], self._view)
            self._drop({name})
            self._view = _View(self._view.members, _without(self._view.files, {name}))

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
            clf = load(files[name], **self._load_options)
            self._make_room({name}, size_of(files[name]))
            members = self._members_of({name: clf})
            self._publish(members, {**self._view.files, name: files[name]})

    # -- parts ---------------------------------------------------------------------

    def _every_task(self, X: Any) -> Iterator[tuple[str, Member, np.ndarray]]:
        """Name, member and logits of each task, for all rows of ``X``."""
        texts, row_text = _distinct(check_texts(X))
        view = self._view
        if not view.names:
            raise ValueError("the bank holds no classifier.")
        portions = self._portions(view)
        # Files, unlike what was read from them, may be kept until the end of a long way.
        files, kept = view.files, _without(view.members, view.files if portions[1:] else ())
        del view
        for names in portions:
            view = _View({**self._view.members, **kept}, files)
            yield from self._portion(names, view, texts, row_text)

    def _portion(
        self, names: list[str], view: _View, texts: list[Text], row_text: np.ndarray
    ) -> Iterator[tuple[str, Member, np.ndarray]]:
        members = self._ready(names, view)
        _check_columns(members, texts)
        found = _logits(texts, {members[name]: np.arange(len(texts)) for name in names})
        for name in names:
            yield name, members[name], found[members[name]][row_text]

    def _mixed(
        self, X: Any, tasks: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, Member, np.ndarray]]:
        """Row numbers, member and logits of each task that ``tasks`` names."""
        texts, row_text = _distinct(check_texts(X))
        if isinstance(tasks, str) or len(tasks) != len(row_text):
            raise ValueError(
                f"tasks must hold one name a row of X ({len(row_text)}); got "
                f"{repr(tasks) if isinstance(tasks, str) else len(tasks)}."
            )
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(tasks):
            rows_of.setdefault(name, []).append(row)
        members = self._ready(rows_of, self._view)
        _check_columns(members, texts)
        rows = {members[name]: np.array(own) for name, own in rows_of.items()}
        distinct = {
            member: np.unique(row_text[own], return_inverse=True) for member, own in rows.items()
        }
        found = _logits(texts, {member: numbers for member, (numbers, _) in distinct.items()})
        for member, own in rows.items():
            yield own, member, found[member][distinct[member][1]]

    def _ready(self, names: Collection[str], view: _View) -> dict[str, Member]:
        """The members called ``names``, as in ``view``, those that are missing read first."""
        self._check_known(names, view)
        members = {name: view.members[name] for name in names if name in view.members}
        if len(members) < len(names):
            with self._lock:
                current = self._view
                for name in names:
                    same = current.files.get(name) == view.files.get(name)
                    if name not in members and same and name in current.members:
                        members[name] = current.members[name]
                files = {name: view.files[name] for name in names if name not in members}
                classifiers = {
                    name: load(file, **self._load_options) for name, file in files.items()
                }
                self._make_room(names, sum(map(size_of, files.values())))
                read = self._members_of(classifiers)
                members |= read
                # What was removed meanwhile is read for this request only.
                kept = {name: each for name, each in read.items() if name in current.files}
                self._publish(kept, current.files)
        for name in names:
            self._last_used[name] = next(self._clock)
        return members

    def _portions(self, view: _View) -> list[list[str]]:
        """All names, in groups that ``max_memory`` has room for."""
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
        """Take in what ``classifiers`` learnt; nobody sees it before it is published."""
        # torch and transformers are imported from here on only.
        from sklearn_lntune.bank.homes import find_home
        from sklearn_lntune.prediction import located

        found = []
        for name, clf in classifiers.items():
            state, where = _state_of(name, clf)
            backbone, placement = located(state, **where)
            identity = (backbone.fingerprint, backbone.tokenizer_fingerprint)
            backbone = self._backbones.setdefault(identity, backbone)
            home = find_home(self._homes, state, backbone, placement)
            found.append((name, home, state, int(clf.n_features_in_)))
        homes = [home for _, home, _, _ in found]
        for home in dict.fromkeys(homes):
            home.reserve(homes.count(home))
        return {name: home.take_in(state, n_columns) for name, home, state, n_columns in found}

    def _publish(self, members: Mapping[str, Member], files: Mapping[str, Path]) -> None:
        self._view = _View({**self._view.members, **members}, files)

    def _make_room(self, needed: Collection[str], size: int) -> None:
        """For ``size`` bytes under ``max_memory``, drop what was not used for longest."""
        members, files = self._view.members, self._view.files
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
        """Forget members, and the room they took where most of it is empty now."""
        from sklearn_lntune.bank.homes import compacted

        gone = [self._view.members[name] for name in names if name in self._view.members]
        left = _without(self._view.members, names)
        for name in names:
            self._last_used.pop(name, None)
        self._view = _View(compacted(self._homes, left, gone), self._view.files)

    def _check_known(self, names: Collection[str], view: _View) -> None:
        unknown = [name for name in names if name not in view.members and name not in view.files]
        if unknown:
            raise ValueError(
                f"the bank has no classifier called {unknown[:5]}; it has {view.names[:20]}."
            )


def _state_of(name: str, clf: Any) -> tuple[FittedState, dict[str, Any]]:
    """What a classifier learnt, and where it predicts."""
    if not isinstance(name, str):
        raise TypeError(f"names of classifiers are strings; got {name!r}.")
    if not isinstance(clf, LNTunedTransformerClassifier):
        raise TypeError(
            f"{name!r} must be a fitted LNTunedTransformerClassifier; got {type(clf).__name__}. Of "
            "a pipeline, pass its last step."
        )
    check_is_fitted(clf, "delta_")
    params = clf.get_params(deep=False)
    return FittedState.from_attributes(vars(clf)), {key: params[key] for key in _WHERE}


def _distinct(rows: list[Text]) -> tuple[list[Text], np.ndarray]:
    """The distinct texts, and which of them each row is."""
    unique: dict[Text, int] = {}
    numbers = np.array([unique.setdefault(text, len(unique)) for text in rows])
    return list(unique), numbers


def _check_columns(members: Mapping[str, Member], texts: Sequence[Text]) -> None:
    n_columns = 1 if isinstance(texts[0], str) else 2
    words = {1: "texts", 2: "sentence pairs"}
    for name, member in members.items():
        if member.n_columns != n_columns:
            raise ValueError(
                f"X holds {words[n_columns]}, but {name!r} was fitted on "
                f"{words[member.n_columns]}; ask it by itself, with tasks."
            )


def _logits(texts: Sequence[Text], wanted: Mapping[Member, np.ndarray]) -> dict[Member, np.ndarray]:
    """Logits of each member for the texts whose numbers are given, a pass a home."""
    by_home: dict[Any, dict[Member, np.ndarray]] = {}
    for member, numbers in wanted.items():
        by_home.setdefault(member.home, {})[member] = numbers
    return {
        member: logits
        for home, own in by_home.items()
        for member, logits in home.logits(texts, own)
    }


def _without(mapping: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}
