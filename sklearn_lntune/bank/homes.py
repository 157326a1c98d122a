"""Networks for the deltas of a bank, which they hold side by side or one after the other.

Heads are small and differ in their number of classes, so a stack does not include them: its
network returns pooled vectors, and the head of each classifier is applied to those of its rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from sklearn_lntune.backbone.modality import input_of_fit
from sklearn_lntune.backbone.placement import Placement
from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.inputs.base import Input, Rows, joined
from sklearn_lntune.inputs.per_word import for_examples, for_rows, pieces, take_examples
from sklearn_lntune.inputs.text.words import WordInput
from sklearn_lntune.network import Network, compute
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction.predictor import checked_finite, ready_network
from sklearn_lntune.prediction.together import kind_of, may_stack
from sklearn_lntune.task import Task
from sklearn_lntune.tensors import tensor_of
from sklearn_lntune.tuning.layers.grouped import NotStackableError
from sklearn_lntune.tuning.registry import from_plain

_HEAD = ("head/weight", "head/bias")
#: Number of rows whose pooled vectors are in memory at a time.
_ROWS = 16384


class Slot:
    """A place in a stack, which becomes free when the last reference to it is gone.

    So the values that a running prediction reads are not overwritten, even if the member is
    removed from the bank meanwhile.
    """

    def __init__(self, number: int, free: list[int]) -> None:
        self.number = number
        weakref.finalize(self, free.append, number).atexit = False


@dataclass(frozen=True, eq=False)
class Member:
    """A classifier of a bank.

    Attributes
    ----------
    task : Task
    max_length : int
    stride : int or None
    n_columns : int
        1 for texts, 2 for pairs.
    nbytes : int
        Of its delta.
    input : Input
        The kind of row that its backbone takes.
    home : Stack or Turns
        Holds the rest of the delta.
    arrays : dict of str to ndarray
        The part of the delta that the member itself holds: the head, or everything.
    slot : Slot or None
        Place of the rest in a stack.
    """

    task: Task
    max_length: int
    stride: int | None
    n_columns: int
    nbytes: int
    input: Input
    home: Home
    arrays: dict[str, np.ndarray]
    slot: Slot | None = None


class Stack:
    """Deltas of one kind in one network, on a leading axis with room for more.

    Parameters
    ----------
    state : FittedState
        That of any member: they differ in delta, targets and longest input only.
    backbone : Backbone
    placement : Placement
    """

    def __init__(self, state: FittedState, backbone: Backbone, placement: Placement) -> None:
        self._state = replace(state, delta={}, log=[])
        self._backbone, self._placement = backbone, placement
        self.network = self._built(0)
        self.free: list[int] = []

    @property
    def capacity(self) -> int:
        """The number of members that it has room for."""
        return self.network.n_fits

    def reserve(self, n: int) -> None:
        """Make room for ``n`` more; if that needs a larger network, for a few extra ones."""
        if len(self.free) >= n:
            return
        before = self.capacity
        fresh = self._built(before + n - len(self.free) + before // 8)
        for name, weight in fresh.learnt.items():
            weight[:before] = self.network.learnt[name]
        # Running predictions finish with the old network, which has the same values for them.
        self.network = fresh
        self.free.extend(range(before, self.capacity))

    def take_in(self, state: FittedState, n_columns: int) -> Member:
        """Copy the delta of ``state`` into a free place."""
        self.reserve(1)
        slot = Slot(self.free.pop(), self.free)
        kind = self.network.delta_type
        head = {name: tensor_of(state.delta[name]).to(kind).numpy() for name in _HEAD}
        self.network.load_delta(
            state.delta | {name: value[:0] for name, value in head.items()}, slot.number
        )
        return _member(state, n_columns, self, head, slot)

    def shrunk(self, members: Sequence[Member]) -> list[Member]:
        """The remaining ``members`` in a new stack without spare room."""
        smaller = Stack(self._state, self._backbone, self._placement)
        smaller.reserve(len(members))
        at = torch.tensor([member.slot.number for member in members if member.slot])
        for name, weight in smaller.network.learnt.items():
            weight.copy_(self.network.learnt[name][at.to(weight.device)])
        return [
            replace(member, home=smaller, slot=Slot(smaller.free.pop(0), smaller.free))
            for member in members
        ]

    def logits(
        self, examples: Rows, wanted: Mapping[Member, np.ndarray]
    ) -> Iterator[tuple[Member, np.ndarray]]:
        """Each member's logits of the examples with the numbers in ``wanted``."""
        network, backbone = self.network, self._backbone
        for part in _parts(wanted):
            tables, n_before = [], 0
            rows: dict[Member, np.ndarray] = {}
            for limits in {(member.max_length, member.stride) for member in part}:
                members = [each for each in part if (each.max_length, each.stride) == limits]
                numbers = np.concatenate([wanted[member] for member in members])
                used, at = np.unique(numbers, return_inverse=True)
                tables.append(backbone.table_maker.table(examples.take(used), *limits))
                sizes = [len(wanted[member]) for member in members]
                found = np.split(n_before + at, np.cumsum(sizes)[:-1])
                rows |= dict(zip(members, found, strict=True))
                n_before += len(used)
            slots = [member.slot.number for member in rows if member.slot is not None]
            sizes = [len(each) for each in rows.values()]
            table = take_examples(joined(tables), np.concatenate(list(rows.values())))
            fits = for_rows(np.repeat(slots, sizes), table)
            read = for_examples(compute(network, table, "read", fits), table)
            for member, vectors in zip(rows, np.split(read, np.cumsum(sizes)[:-1]), strict=True):
                yield member, _with_head(member, vectors)

    def located(self, member: Member) -> tuple[FittedState, Backbone, Placement]:
        """The state of a member, without the history of its fit, and where it predicts."""
        number = member.slot.number if member.slot else 0
        learnt = {
            name: weight[number].cpu().numpy() for name, weight in self.network.learnt.items()
        }
        state = _state(self._state, member, learnt | member.arrays)
        return state, self._backbone, self._placement

    def _built(self, capacity: int) -> Network:
        # No outputs, since the members hold the heads.
        return Network(
            self._backbone,
            tuple(method.for_inference() for method in from_plain(self._state.tuning)),
            self._state.pooling,
            0,
            dtype=self._placement.predict_type,
            device=self._placement.device,
            attention=self._placement.attention(training=False),
            generator=torch.Generator().manual_seed(0),
            n_fits=capacity,
            window_pooling=self._state.window_pooling,
            per_token=self._state.task.per_token,
        ).requires_grad_(False)


class Turns:
    """One network for deltas that cannot be stacked; they are copied in one after the other.

    Parameters
    ----------
    state : FittedState
        That of any member; they differ in delta, targets and longest input only.
    backbone : Backbone
    placement : Placement
    """

    def __init__(self, state: FittedState, backbone: Backbone, placement: Placement) -> None:
        self._state = replace(state, delta={}, log=[])
        self._backbone, self._placement = backbone, placement
        self._network = ready_network([state], backbone, placement)
        self._loaded: dict[str, np.ndarray] | None = state.delta
        self._lock = ForkSafeLock()

    def reserve(self, n: int) -> None:
        """Nothing to do: members hold their own arrays."""

    def take_in(self, state: FittedState, n_columns: int) -> Member:
        """A member with the delta of ``state``, after checking that it fits."""
        with self._lock:
            self._load(state.delta)
        return _member(state, n_columns, self, state.delta)

    def logits(
        self, examples: Rows, wanted: Mapping[Member, np.ndarray]
    ) -> Iterator[tuple[Member, np.ndarray]]:
        """Each member's logits of the examples with the numbers in ``wanted``."""
        for member, numbers in wanted.items():
            limits = member.max_length, member.stride
            table = self._backbone.table_maker.table(examples.take(numbers), *limits)
            with self._lock:
                self._load(member.arrays)
                found = compute(self._network, table)
            yield member, for_examples(checked_finite(found), table)

    def located(self, member: Member) -> tuple[FittedState, Backbone, Placement]:
        """The state of a member, without the history of its fit, and where it predicts."""
        return _state(self._state, member, member.arrays), self._backbone, self._placement

    def _load(self, delta: dict[str, np.ndarray]) -> None:
        if self._loaded is not delta:
            self._loaded = None
            self._network.load_delta(delta)
            self._loaded = delta


Home: TypeAlias = Stack | Turns


def _with_head(member: Member, vectors: np.ndarray) -> np.ndarray:
    """The logits of ``vectors``, which are one for each row, or an array for each sentence."""
    weight, bias = (member.arrays[name] for name in _HEAD)
    if vectors.dtype != object:
        return checked_finite(vectors @ weight.T + bias)
    flat = np.concatenate([*vectors, np.empty((0, weight.shape[1]), weight.dtype)])
    sizes = np.fromiter(map(len, vectors), np.int64, len(vectors))
    return pieces(checked_finite(flat @ weight.T + bias), sizes)


def find_home(
    homes: MutableMapping[Hashable, Home],
    state: FittedState,
    backbone: Backbone,
    placement: Placement,
) -> Home:
    """The one of ``homes`` that can hold the delta of ``state``, or a new one added to them."""
    identity = (backbone.fingerprint, backbone.tokenizer_fingerprint)
    # Stacked deltas are never compiled, so `compile` makes no difference to their home.
    kind = (*identity, replace(placement, compiled=False), *kind_of(state)[:-1])
    alone = (*identity, placement, *kind_of(state)[:-1], state.task.n_outputs)
    home = homes.get(kind) or homes.get(alone)
    if home is None:
        stacks = _stacks(state, backbone, placement)
        home = (Stack if stacks else Turns)(state, backbone, placement)
        homes[kind if stacks else alone] = home
    return home


def compacted(
    homes: MutableMapping[Hashable, Home], members: Mapping[str, Member], gone: Sequence[Member]
) -> dict[str, Member]:
    """``members`` after ``gone`` have been removed; stacks that are mostly empty are shrunk."""
    found = dict(members)
    for home in {member.home for member in gone}:
        own = [name for name, member in members.items() if member.home is home]
        if isinstance(home, Stack) and 0 < len(own) < home.capacity // 2:
            moved = home.shrunk([members[name] for name in own])
            found |= zip(own, moved, strict=True)
            homes.update({key: moved[0].home for key, each in homes.items() if each is home})
    return found


def _stacks(state: FittedState, backbone: Backbone, placement: Placement) -> bool:
    """Whether several deltas like that of ``state`` can share a pass, found out by a trial."""
    if not may_stack(state):
        return False
    try:
        maker = backbone.table_maker
        rows = maker.example(2 if state.window_pooling == COMPARED else 1)
        table = maker.table(rows, state.max_length, state.stride)
        ready_network([state] * 2, backbone, placement).try_stacked(table)
    except NotStackableError:
        return False
    return True


def _member(
    state: FittedState,
    n_columns: int,
    home: Home,
    arrays: dict[str, np.ndarray],
    slot: Slot | None = None,
) -> Member:
    nbytes = sum(value.nbytes for value in state.delta.values())
    taken: Input = WordInput() if state.task.per_token else input_of_fit(state.backbone)
    limits = state.max_length, state.stride
    return Member(state.task, *limits, n_columns, nbytes, taken, home, arrays, slot)


def _state(like: FittedState, member: Member, delta: dict[str, np.ndarray]) -> FittedState:
    """The state of ``member``, which differs from ``like`` in delta, targets and longest input."""
    return replace(
        like,
        delta=delta,
        max_length=member.max_length,
        stride=member.stride,
        target_kind=member.task.kind,
        target_state=member.task.state(),
    )


def _parts(wanted: Mapping[Member, np.ndarray]) -> Iterator[list[Member]]:
    """The members in groups of a bounded number of rows, at least one each."""
    part: list[Member] = []
    n_rows = 0
    for member, numbers in wanted.items():
        if part and n_rows + len(numbers) > _ROWS:
            yield part
            part, n_rows = [], 0
        part.append(member)
        n_rows += len(numbers)
    if part:
        yield part
