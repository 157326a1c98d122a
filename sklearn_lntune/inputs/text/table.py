"""The tokens of many rows, end to end: in memory, or in a temporary file that is mapped."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from sklearn_lntune.forking import remove_with

#: A token is one int32: its id in the lower bits, above them the sentence of a pair that
#: it belongs to. No vocabulary comes near 16 million.
ID_BITS = 24
_ID = (1 << ID_BITS) - 1
_DIGESTED = 1 << 16  # rows at a time


@dataclass(frozen=True)
class TokenTable:
    """The tokens of many rows.

    Attributes
    ----------
    tokens : ndarray of int32 of shape (n_tokens,)
        Ids with the sentence above `ID_BITS`; may hold other rows, too.
    starts : ndarray of int64 of shape (n_rows,)
        Row ``i`` is ``tokens[starts[i]:starts[i] + lengths[i]]``.
    lengths : ndarray of int32 of shape (n_rows,)
        Tokens a row.
    truncated : ndarray of bool of shape (n_rows,)
        Rows that were longer than ``max_length``.
    with_segments : bool
        Whether the model is told the sentences of a pair apart.
    pad_id : int
        The token that fills short rows; the mask hides it.
    """

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray
    with_segments: bool = False
    pad_id: int = 0

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def kind(self) -> bool:
        """Whether there are segments."""
        return self.with_segments

    @property
    def nbytes(self) -> int:
        """Memory that it takes; tokens in a file count, too."""
        return self.tokens.nbytes + self.starts.nbytes + self.lengths.nbytes

    @property
    def n_truncated(self) -> int:
        """How many rows were longer than ``max_length``."""
        return int(self.truncated.sum())

    def take(self, rows: np.ndarray) -> TokenTable:
        """Only ``rows``, in their order; the tokens themselves are shared."""
        return dataclasses.replace(
            self,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            truncated=self.truncated[rows],
        )

    def join(self, others: Sequence[TokenTable]) -> TokenTable:
        """These rows and after them those of ``others``, with no tokens but theirs."""
        tables = [self, *others]
        lengths = np.concatenate([table.lengths for table in tables])
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = ends - lengths
        tokens = np.empty(ends[-1], np.int32)
        done = 0
        for table in tables:
            own = starts[done : done + len(table)]
            shift = np.repeat(table.starts - own, table.lengths)
            first, last = own[0], own[-1] + int(table.lengths[-1])
            tokens[first:last] = table.tokens[np.arange(first, last) + shift]
            done += len(table)
        truncated = np.concatenate([table.truncated for table in tables])
        return dataclasses.replace(
            self, tokens=tokens, starts=starts, lengths=lengths, truncated=truncated
        )

    def key(self, row: int) -> bytes:
        """What the row holds: equal for rows that the model cannot tell apart."""
        start = self.starts[row]
        return self.tokens[start : start + self.lengths[row]].tobytes()

    def digest(self) -> str:
        """SHA-256 of what the rows hold, wherever they stand."""
        digest = hashlib.sha256(np.ascontiguousarray(self.lengths).data)
        for start in range(0, len(self), _DIGESTED):
            rows = np.arange(start, min(start + _DIGESTED, len(self)))
            digest.update(self.take(rows).join([]).tokens.data)
        return digest.hexdigest()

    def collate(
        self, rows: np.ndarray, padded_length: Callable[[int], int] = int
    ) -> dict[str, np.ndarray]:
        """The model's inputs for ``rows``, padded on the right.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.
        padded_length : callable, optional
            Length to pad to, given that of the longest row; the same by default.

        Returns
        -------
        dict of str to ndarray of shape (len(rows), n_tokens)
            The types are narrow: widened on the device, the arrays get there sooner.
        """
        starts, lengths = self.starts[rows], self.lengths[rows]
        column = np.arange(padded_length(max(int(lengths.max()), 1)))
        mask = column < lengths[:, None]
        tokens = self.tokens[np.where(mask, starts[:, None] + column, starts[:1, None])]
        inputs = {
            "input_ids": np.where(mask, tokens & _ID, np.int32(self.pad_id)),
            "attention_mask": mask,
        }
        if self.with_segments:
            inputs["token_type_ids"] = np.where(mask, tokens >> ID_BITS, np.int32(0))
        return inputs


class TableBuilder:
    """Collects rows of tokens, chunk by chunk.

    Parameters
    ----------
    in_file : bool
        Whether the tokens are written to a temporary file rather than kept in memory.
    """

    def __init__(self, *, in_file: bool) -> None:
        self._file = TokenFile() if in_file else None
        # Arrays that grow by a sixteenth in place: a list of parts, joined at the end, would
        # hold everything twice.
        self._held, self._sizes, self._cuts = array("i"), array("i"), array("B")

    def add(
        self,
        ids: Sequence[Sequence[int]],
        cut: Sequence[bool],
        segments: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Append rows: their tokens, whether they were cut, and the sentence of each token."""
        tokens = _joined(ids)
        if segments is not None:
            tokens |= _joined(segments) << ID_BITS
        (self._held.frombytes if self._file is None else self._file.write)(tokens.tobytes())
        self._sizes.extend(map(len, ids))
        self._cuts.extend(cut)

    def table(self, *, with_segments: bool, pad_id: int) -> TokenTable:
        """All rows; nothing may be added afterwards."""
        lengths = np.frombuffer(self._sizes, np.int32)
        return TokenTable(
            np.frombuffer(self._held, np.int32) if self._file is None else self._file.mapped(),
            np.cumsum(lengths, dtype=np.int64) - lengths,
            lengths,
            np.frombuffer(self._cuts, bool),
            with_segments=with_segments,
            pad_id=pad_id,
        )


def _joined(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array(list(chain.from_iterable(rows)), np.int32)


class TokenFile:
    """Tokens written part by part to a temporary file and then mapped.

    The file is removed with the last table that refers to it.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sklearn_lntune-")
        self._remove = remove_with(self, self._folder)
        self._file = Path(self._folder, "tokens.int32")

    def write(self, tokens: bytes) -> None:
        """Append ``tokens``, which are int32."""
        # Closed each time: a forked child would write a copy of an open file's buffer again.
        with self._file.open("ab") as file:
            file.write(tokens)

    def mapped(self) -> np.ndarray:
        """All tokens; nothing may be written afterwards."""
        tokens = np.asarray(np.memmap(self._file, np.int32, mode="r"))
        self._remove.detach()
        remove_with(tokens, self._folder)
        return tokens
