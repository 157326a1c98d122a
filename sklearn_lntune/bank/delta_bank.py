"""`DeltaBank`: many fitted estimators over one backbone at prediction. No torch code here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_lntune.bank.register import Register, View, without
from sklearn_lntune.checks import check_number, check_path, has_length
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.inputs.base import Input, Rows
from sklearn_lntune.inputs.image.opening import ImageInput
from sklearn_lntune.inputs.text.opening import TextInput
from sklearn_lntune.task import Classifying, Task

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.backbone.placement import Placement
    from sklearn_lntune.backbone.pool import Backbone
    from sklearn_lntune.bank.homes import Member
    from sklearn_lntune.persistence import FittedState


class DeltaBank:
    """Many fitted classifiers that predict together: one backbone, one pass for all their rows.

    Each row of a batch is computed with the gains, biases and other learnt values of the
    classifier it is for; the products with frozen weights are shared. The predictions are
    those of the single classifiers.

    Parameters
    ----------
    classifiers : mapping of str to estimator, optional
        Fitted estimators of this package by name: classifiers and others, in any mixture. Their
        deltas are copied; the estimators themselves are not referenced.

    Notes
    -----
    Members may differ in everything. Those with the same backbone (identified by its
    fingerprint, wherever its files are), tuning methods, pooling, device and precision run
    in one pass, whatever they predict and their ``max_length``. Full tuning, ``pooling="native"``
    and models whose layers read more than the rows of a batch (DeBERTa's relative positions)
    cannot be stacked: such classifiers run one after the other, each compiled if its
    ``compile`` says so. Stacked deltas are not compiled, since which row belongs to which
    of them comes from outside the graph.

    Threads may predict while others add, remove or reload: a prediction uses the members
    that the bank had when it began.

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

    def __init__(self, classifiers: Mapping[str, BaseTuned] | None = None) -> None:
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
        """Make a bank of the classifiers saved in ``folder``, each read when first needed.

        Parameters
        ----------
        folder : str or path
            Holds what `LNTunedTransformerClassifier.save` wrote: ``topic.zip`` or the folder
            ``topic`` is the classifier ``"topic"``.
        max_memory : int, optional
            Bytes of deltas to hold. Above it the least recently used are dropped, and read
            again when needed. A request that needs more than this at once exceeds it until
            the next one. By default, all are held.
        backbone : str or path, optional
            Used instead of the backbones that the files name, as in `load`.
        trust_remote_code : bool, default=False
            Whether a backbone may run code that comes with it.

        Returns
        -------
        DeltaBank
            With a member for each saved classifier.

        Raises
        ------
        ValueError
            If there is no such folder, or two classifiers in it have the same name.

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

    # -- predictions -----------------------------------------------------------------

    def predict(self, X: Any, tasks: Sequence[str] | None = None) -> pd.DataFrame | np.ndarray:
        """Predict labels: for every task and row, or for one task per row.

        Parameters
        ----------
        X : array-like of str
            Texts or sentence pairs, as for the classifiers.
        tasks : array-like of str of shape (n_samples,), optional
            The name of the classifier that each row is for.

        Returns
        -------
        pandas.DataFrame of shape (n_samples, n_tasks)
            Without ``tasks``: one column per classifier; the index is that of ``X``, if it
            has one. A cell is what the classifier itself predicts for the row: a label or a
            number, or an array if it predicts several.
        ndarray of shape (n_samples,)
            With ``tasks``. Of type object if the classifiers have labels of different kinds, or
            several predictions per row.

        Raises
        ------
        ValueError
            If a name is unknown, or a classifier expects pairs and gets texts or vice versa.
        DamagedFileError
            If the file of a classifier that is needed was changed or damaged.
        """
        if tasks is None:
            import pandas as pd

            columns = {
                name: _cells(task.predict(logits)) for name, task, logits in self._every_task(X)
            }
            index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
            return pd.DataFrame(columns, index=index)
        answers = [
            (rows, _cells(task.predict(logits))) for rows, task, logits in self._mixed(X, tasks)
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
        """Predict the probability of each class, in the order of `classes`.

        Parameters
        ----------
        X : array-like of str
            Texts or sentence pairs, as for `predict`.
        tasks : array-like of str of shape (n_samples,), optional
            The name of the classifier that each row is for.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_classes)
            Without ``tasks``: one array per classifier, by name; members that are no classifiers
            are left out.
        list of ndarray of shape (n_classes,)
            With ``tasks``: one array per row, as long as its task has classes.

        Raises
        ------
        ValueError
            If a row is for a member without probabilities, or as `predict`.
        """
        if tasks is None:
            return {
                name: task.probabilities(logits)
                for name, task, logits in self._every_task(X)
                if isinstance(task, Classifying)
            }
        by_row: dict[int, np.ndarray] = {}
        for rows, task, logits in self._mixed(X, tasks):
            if not isinstance(task, Classifying):
                raise ValueError(
                    f"tasks names a member in row {rows[0]} that has no probabilities: it is no "
                    "classifier. Ask for its rows with predict."
                )
            by_row |= zip(rows.tolist(), task.probabilities(logits), strict=True)
        return [by_row[row] for row in range(len(by_row))]

    def classes(self, name: str) -> np.ndarray:
        """Labels of one classifier, in the order of its probabilities.

        Parameters
        ----------
        name : str
            Name of the classifier.

        Returns
        -------
        ndarray of shape (n_classes,)
            As the classifier's ``classes_``.
        """
        task = self._register.ready([name])[name].task
        if not isinstance(task, Classifying):
            raise ValueError(f"{name!r} has no classes: it is no classifier.")
        return task.classes

    # -- members -------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of all classifiers, loaded or not."""
        return self._register.view.names

    def takes_pairs(self, name: str) -> bool:
        """Whether a classifier takes sentence pairs rather than texts.

        Parameters
        ----------
        name : str
            Name of the classifier.

        Returns
        -------
        bool
            As it was fitted.
        """
        return self._member(name).n_columns == 2

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._register.view

    def __repr__(self) -> str:
        view = self._register.view
        return f"DeltaBank of {len(view.names)} classifiers, {len(view.members)} in memory"

    def add(self, name: str, clf: BaseTuned) -> None:
        """Add a fitted classifier under a new name.

        Parameters
        ----------
        name : str
            A name that the bank does not have yet.
        clf : estimator
            Fitted. Its delta is copied.
        """
        self._register.add({name: clf})

    def replace(self, name: str, clf: BaseTuned) -> None:
        """Replace a member of the bank by another fitted classifier.

        Parameters
        ----------
        name : str
            Name of the member.
        clf : estimator
            Fitted. Its delta is copied.
        """
        self._register.replace(name, clf)

    def remove(self, name: str) -> None:
        """Remove a classifier from the bank; its file, if it has one, stays.

        Parameters
        ----------
        name : str
            Name of the classifier.
        """
        self._register.remove(name)

    def reload(self, name: str) -> None:
        """Read the file of a classifier again, or one that is new in the folder.

        If it cannot be read, the bank stays as it was.

        Parameters
        ----------
        name : str
            Name of the classifier: its file or folder without ``.zip``.
        """
        self._register.reload(name)

    # -- helpers -----------------------------------------------------------------------

    def _located(self, name: str) -> tuple[FittedState, Backbone, Placement]:
        """What is needed to compute one classifier by itself."""
        member = self._member(name)
        return member.home.located(member)

    def _member(self, name: str) -> Member:
        return self._register.ready([name])[name]

    def _every_task(self, X: Any) -> Iterator[tuple[str, Task, np.ndarray]]:
        """Name, classes and logits of each task, for all rows of ``X``."""
        readings = _Readings(X)
        view = self._register.view
        if not view.names:
            raise ValueError("the bank holds no classifier.")
        portions = self._register.portions(view)
        # With several portions, only members without a file may be kept alive here: each
        # portion has to make room for the next.
        files, kept = view.files, without(view.members, view.files if portions[1:] else ())
        del view
        for names in portions:
            members = self._register.ready(
                names, View({**self._register.view.members, **kept}, files)
            )
            yield from _answers(members, readings)
            del members

    def _mixed(self, X: Any, tasks: Sequence[str]) -> Iterator[tuple[np.ndarray, Task, np.ndarray]]:
        """Row numbers, classes and logits of each task that ``tasks`` names."""
        readings = _Readings(X)
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(_names(tasks, readings.n_rows)):
            rows_of.setdefault(name, []).append(row)
        for members, texts, row_text in readings.of(self._register.ready(rows_of)):
            rows = {member: np.array(rows_of[name]) for name, member in members.items()}
            own_texts = {
                member: np.unique(row_text[own], return_inverse=True)
                for member, own in rows.items()
            }
            found = _logits(texts, {member: numbers for member, (numbers, _) in own_texts.items()})
            for member, own in rows.items():
                yield own, member.task, found[member][own_texts[member][1]]


class _Readings:
    """The rows of an ``X`` as its members read them: as texts, sentences of words, or images."""

    def __init__(self, X: Any) -> None:
        self._X = X
        self._known: dict[type[Input], tuple[Rows, np.ndarray]] = {}
        if not has_length(X) or isinstance(X, str):
            self._read(TextInput())  # raises, or tells how many rows there are

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self._known.values()))[1]) if self._known else len(self._X)

    def of(
        self, members: Mapping[str, Member]
    ) -> Iterator[tuple[dict[str, Member], Rows, np.ndarray]]:
        """Members that read alike, the distinct rows, and the number of each row among them."""
        readers = {type(member.input): member.input for member in members.values()}
        kinds = {*self._known, *readers}
        if ImageInput in kinds and len(kinds) > 1:
            raise ValueError(
                "some of these classifiers take texts and others images, and X can hold one of "
                "them only: pass tasks, with names of the one kind."
            )
        for kind, reader in readers.items():
            alike = {name: member for name, member in members.items() if type(member.input) is kind}
            rows, numbers = self._read(reader)
            _check_columns(alike, rows)
            yield alike, rows, numbers

    def _read(self, reader: Input) -> tuple[Rows, np.ndarray]:
        kind = type(reader)
        if kind not in self._known:
            self._known[kind] = reader.rows(self._X).distinct()
        return self._known[kind]


def _cells(predictions: Any) -> np.ndarray:
    """``predictions`` in one dimension; those of a row are one cell, however many they are."""
    if isinstance(predictions, np.ndarray) and predictions.ndim == 1:
        return predictions
    cells = np.empty(len(predictions), dtype=object)
    for row, prediction in enumerate(predictions):
        cells[row] = prediction
    return cells


def _names(tasks: Any, n_rows: int) -> list[str]:
    """``tasks``, if it holds one name for each of ``n_rows``."""
    if isinstance(tasks, str) or not has_length(tasks):
        found = f"got {tasks!r:.60}"
    elif len(tasks) != n_rows:
        found = f"got {len(tasks)}"
    elif odd := [name for name in tasks if not isinstance(name, str)]:
        found = f"one of them is {odd[0]!r:.60}"
    else:
        return list(tasks)
    raise ValueError(f"tasks must hold one name for each row of X ({n_rows}); {found}.")


def _answers(
    members: Mapping[str, Member], readings: _Readings
) -> Iterator[tuple[str, Task, np.ndarray]]:
    """Name, task and logits of each of ``members``."""
    found: dict[Member, np.ndarray] = {}
    for alike, texts, row_text in readings.of(members):
        wanted = {member: np.arange(len(texts)) for member in alike.values()}
        found |= {member: logits[row_text] for member, logits in _logits(texts, wanted).items()}
    for name, member in members.items():
        yield name, member.task, found[member]


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
    """Logits of each member for the texts whose numbers are given, one pass per home."""
    by_home: dict[Any, dict[Member, np.ndarray]] = {}
    for member, numbers in wanted.items():
        by_home.setdefault(member.home, {})[member] = numbers
    return {
        member: logits
        for home, own in by_home.items()
        for member, logits in home.logits(texts, own)
    }
