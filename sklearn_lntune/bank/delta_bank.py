"""`DeltaBank`: many fitted classifiers over one backbone at prediction. No torch code here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_lntune.bank.register import Register, View, without
from sklearn_lntune.checks import check_number, check_path
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.inputs.text.opening import TextInput
from sklearn_lntune.task import OneLabel

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.bank.homes import Member


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
        if not isinstance(classifiers, Mapping | None):
            raise TypeError(
                f"classifiers must be a mapping of names to fitted classifiers; got "
                f"{type(classifiers).__name__}."
            )
        self._register = Register()
        if classifiers:
            self._register.add(classifiers)

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
        options = {"backbone": backbone, "trust_remote_code": trust_remote_code}
        bank._register = Register(check_path("folder", folder), max_memory, options)
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

            columns = {name: task.predict(logits) for name, task, logits in self._every_task(X)}
            index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
            return pd.DataFrame(columns, index=index)
        answers = [(rows, task.predict(logits)) for rows, task, logits in self._mixed(X, tasks)]
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
            return {name: task.probabilities(logits) for name, task, logits in self._every_task(X)}
        by_row: dict[int, np.ndarray] = {}
        for rows, task, logits in self._mixed(X, tasks):
            by_row |= zip(rows.tolist(), task.probabilities(logits), strict=True)
        return [by_row[row] for row in range(len(by_row))]

    def classes(self, name: str) -> np.ndarray:
        """The labels of the classifier ``name``, in the order of probabilities."""
        return self._register.ready([name])[name].classes

    # -- members -------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of all classifiers, loaded or not."""
        return self._register.view.names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._register.view

    def __repr__(self) -> str:
        view = self._register.view
        return f"DeltaBank of {len(view.names)} classifiers, {len(view.members)} in memory"

    def add(self, name: str, clf: LNTunedTransformerClassifier) -> None:
        """Take in a fitted classifier under a new name."""
        self._register.add({name: clf})

    def replace(self, name: str, clf: LNTunedTransformerClassifier) -> None:
        """Let a fitted classifier take the place of the one called ``name``."""
        self._register.replace(name, clf)

    def remove(self, name: str) -> None:
        """Forget the classifier ``name``; its file, if it has one, stays."""
        self._register.remove(name)

    def reload(self, name: str) -> None:
        """Read the file of ``name`` again; it may have come since the bank was made.

        Where it cannot be read, what was in its place stays.
        """
        self._register.reload(name)

    # -- parts ---------------------------------------------------------------------

    def _every_task(self, X: Any) -> Iterator[tuple[str, OneLabel, np.ndarray]]:
        """Name, classes and logits of each task, for all rows of ``X``."""
        texts, row_text = TextInput().rows(X).distinct()
        view = self._register.view
        if not view.names:
            raise ValueError("the bank holds no classifier.")
        portions = self._register.portions(view)
        # Of a long way only the files are kept: each portion makes room for the next.
        files, kept = view.files, without(view.members, view.files if portions[1:] else ())
        del view
        for names in portions:
            members = self._register.ready(
                names, View({**self._register.view.members, **kept}, files)
            )
            yield from _answers(members, texts, row_text)
            del members

    def _mixed(
        self, X: Any, tasks: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, OneLabel, np.ndarray]]:
        """Row numbers, classes and logits of each task that ``tasks`` names."""
        texts, row_text = TextInput().rows(X).distinct()
        if isinstance(tasks, str) or len(tasks) != len(row_text):
            raise ValueError(
                f"tasks must hold one name a row of X ({len(row_text)}); got "
                f"{repr(tasks) if isinstance(tasks, str) else len(tasks)}."
            )
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(tasks):
            rows_of.setdefault(name, []).append(row)
        members = self._register.ready(rows_of)
        _check_columns(members, texts)
        rows = {members[name]: np.array(own) for name, own in rows_of.items()}
        own_texts = {
            member: np.unique(row_text[own], return_inverse=True) for member, own in rows.items()
        }
        found = _logits(texts, {member: numbers for member, (numbers, _) in own_texts.items()})
        for member, own in rows.items():
            yield own, OneLabel(member.classes), found[member][own_texts[member][1]]


def _answers(
    members: Mapping[str, Member], texts: Rows, row_text: np.ndarray
) -> Iterator[tuple[str, OneLabel, np.ndarray]]:
    """Name, classes and logits for each of ``members``; rows by their number of a text."""
    _check_columns(members, texts)
    found = _logits(texts, {member: np.arange(len(texts)) for member in members.values()})
    for name, member in members.items():
        yield name, OneLabel(member.classes), found[member][row_text]


def _check_columns(members: Mapping[str, Member], texts: Rows) -> None:
    n_columns = texts.n_columns
    words = {1: "texts", 2: "sentence pairs"}
    for name, member in members.items():
        if member.n_columns != n_columns:
            raise ValueError(
                f"X holds {words[n_columns]}, but {name!r} was fitted on "
                f"{words[member.n_columns]}; ask it by itself, with tasks."
            )


def _logits(texts: Rows, wanted: Mapping[Member, np.ndarray]) -> dict[Member, np.ndarray]:
    """Logits of each member for the texts whose numbers are given, a pass a home."""
    by_home: dict[Any, dict[Member, np.ndarray]] = {}
    for member, numbers in wanted.items():
        by_home.setdefault(member.home, {})[member] = numbers
    return {
        member: logits
        for home, own in by_home.items()
        for member, logits in home.logits(texts, own)
    }
