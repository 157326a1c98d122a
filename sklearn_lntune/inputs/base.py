"""What the rest of the house knows of an input: the contracts of `X`, its rows and their table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np


class Examples(ABC):
    """The rows of an ``X``, in memory or in a table that is read chunk by chunk."""

    #: Whether each row is a sentence of words, every one of which gets an output.
    per_word: ClassVar[bool] = False

    @property
    def held(self) -> Rows | None:
        """The rows if they are in memory; None if they are read and never held whole."""
        return None

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Cells of a row: 2 for sentence pairs, else 1."""

    @property
    @abstractmethod
    def n_rows(self) -> int | None:
        """Rows, or None if only reading them all can tell."""

    def __len__(self) -> int:
        if self.n_rows is None:
            raise TypeError("the rows of a stream are not counted yet.")
        return self.n_rows

    @abstractmethod
    def chunks(self, size: int) -> Iterator[Rows]:
        """The rows in order, at most ``size`` at a time."""

    @abstractmethod
    def for_training(self, y: Any, label_column: str | Sequence[str]) -> tuple[Examples, Any]:
        """The same rows where they can be read more than once, and their targets.

        Parameters
        ----------
        y : array-like or None
            The targets, if the user passed them.
        label_column : str or sequence of str
            The column, or columns, of a table that hold the targets otherwise.
        """


class Rows(Examples):
    """Rows held in memory, each of them hashable.

    Parameters
    ----------
    rows : sequence of hashable
    """

    def __init__(self, rows: Sequence[Hashable]) -> None:
        self.rows = rows

    @property
    def held(self) -> Rows:
        """Themselves."""
        return self

    @property
    def n_columns(self) -> int:
        """Cells of a row: the items of a tuple, or one."""
        first = self.rows[0]
        return len(first) if isinstance(first, tuple) else 1

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self.rows)

    def chunks(self, size: int) -> Iterator[Rows]:
        """The rows in order, at most ``size`` at a time."""
        for start in range(0, len(self.rows), size):
            yield type(self)(self.rows[start : start + size])

    def for_training(self, y: Any, label_column: str | Sequence[str]) -> tuple[Examples, Any]:
        """The rows as they are, and ``y``."""
        return self, y

    def take(self, numbers: np.ndarray) -> Rows:
        """The rows with these ``numbers``, in their order."""
        return type(self)([self.rows[number] for number in numbers])

    def distinct(self) -> tuple[Rows, np.ndarray]:
        """The distinct rows, and for each row the number of its equal among them.

        Examples
        --------
        >>> rows, numbers = Rows(["a", "b", "a"]).distinct()
        >>> rows.rows, numbers
        (['a', 'b'], array([0, 1, 0]))
        """
        # pandas.factorize, before version 3.1, takes a text to end at its first NUL.
        seen: dict[Hashable, int] = {}
        numbers = (seen.setdefault(row, len(seen)) for row in self.rows)
        row_number = np.fromiter(numbers, np.intp, len(self.rows))
        return type(self)(list(seen)), row_number


@dataclass(frozen=True)
class Opened:
    """An ``X`` with its targets, seen once.

    Attributes
    ----------
    examples : Examples
    header : object or None
        A table with the columns of ``X``, for scikit-learn's checks; None if ``X`` is one
        sequence without a name.
    y : array-like or None
        The targets, if the user passed them.
    label_column : str or sequence of str
        The column, or columns, that hold them otherwise.
    """

    examples: Examples
    header: Any
    y: Any
    label_column: str | Sequence[str]

    def for_training(self) -> tuple[Examples, Any]:
        """The rows where they can be read more than once, and their targets.

        Of a table that has not been read yet this is the first reading, which may take long.
        """
        return self.examples.for_training(self.y, self.label_column)


class Input(ABC):
    """A kind of input, with the parameters of the estimator that concern it.

    What makes tables of its rows is a `TableMaker`: it needs the backbone, and rows are
    checked before that is loaded.
    """

    @abstractmethod
    def open(self, X: Any, y: Any = None) -> Opened:
        """Check ``X``, whose rows need not be read for that."""

    @abstractmethod
    def rows(self, X: Any) -> Rows:
        """The rows of an ``X`` that is in memory; all else is refused."""


class Table(Protocol):
    """The rows of an input as the model takes them, not yet padded."""

    @property
    def lengths(self) -> np.ndarray:
        """What each row takes of the model's length, of shape (n_rows,)."""

    @property
    def n_truncated(self) -> int:
        """How many rows were cut."""

    @property
    def kind(self) -> Hashable:
        """Equal for tables that can be joined."""

    @property
    def nbytes(self) -> int:
        """Memory or disk that it takes."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Self:
        """Only ``rows``, in their order."""

    def join(self, others: Sequence[Self]) -> Self:
        """These rows and after them those of ``others``."""

    def key(self, row: int) -> bytes:
        """Equal for rows that the model cannot tell apart."""

    def digest(self) -> str:
        """SHA-256 of what the rows hold."""

    def n_tokens(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of each of ``rows`` inside the model, with those that it adds itself.

        An image has one for each patch, and often one for its class.
        """

    def mask(self, rows: np.ndarray, padded_length: Callable[[int], int] = int) -> np.ndarray:
        """Which tokens inside the model are those of each row, and not padding.

        Of shape (n_rows, n_tokens).
        """

    def collate(
        self, rows: np.ndarray, padded_length: Callable[[int], int] = int
    ) -> dict[str, np.ndarray]:
        """The model's inputs for ``rows``, padded to one length; integers are indices or masks."""


AnyTable = TypeVar("AnyTable", bound=Table)


def joined(tables: Sequence[AnyTable]) -> AnyTable:
    """The rows of ``tables``, one table after the other."""
    return tables[0].join(tables[1:])


class TableMaker(Protocol):
    """What makes tables of rows for one backbone: its tokenizer or its image processor."""

    def table(self, examples: Examples, limit: int, stride: int | None = None, /) -> Table:
        """The rows of ``examples``, none of them longer than ``limit``.

        With ``stride``, longer ones consist of several windows of this length.
        """

    def example(self, n_columns: int) -> Rows:
        """Two rows of ``n_columns`` cells that every backbone of this kind can compute."""
