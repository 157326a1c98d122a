"""Where a backbone keeps its norms, its linear layers and its attention.

The records that tuning methods choose from. `backbone.inspect_model` reads them off a model.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

SITES = ("embedding", "attention", "ffn", "final", "qk")

Layers: TypeAlias = str | int | Sequence[int]

#: More than any model has. What is claimed beyond it is refused before it is counted.
MAX_BLOCKS = 10_000


@dataclass(frozen=True)
class Place:
    """Something in a backbone.

    Attributes
    ----------
    path : str
        Of the module, from the backbone's root.
    site : str
        One of `SITES`.
    block : int or None
        Number of the block; None for what stands below the blocks. A final norm belongs
        to the last.
    """

    path: str
    site: str
    block: int | None


@dataclass(frozen=True)
class Norm(Place):
    """One normalisation layer: the length of its gain, and whether it has a bias."""

    size: int
    has_bias: bool


@dataclass(frozen=True)
class Linear(Place):
    """One linear layer.

    Attributes
    ----------
    role : str
        ``"query"``, ``"key"``, ``"value"`` or the three in one, ``"qkv"``; ``"output"``,
        the last of its half of the block, whose result meets the residual; ``"input"``
        for all others.
    n_in, n_out : int
    has_bias : bool
    """

    role: str
    n_in: int
    n_out: int
    has_bias: bool


@dataclass(frozen=True)
class Attention(Place):
    """The module that computes a block's attention.

    Attributes
    ----------
    kind : str
        Name of its class.
    reads_interface : bool
        Whether it looks its arithmetic up in transformers' attention interface.
    n_heads, n_key_heads, head_size : int
        Grouped-query attention has fewer heads of keys and values than of queries.
    n_turned : int
        Dimensions of each key that the position changes (rotary embeddings), or that
        meet it (DeBERTa): there a bias of the key is not cancelled by the softmax.
    by_head : bool
        Whether a fused projection holds query, key and value head by head.
    """

    kind: str
    reads_interface: bool
    n_heads: int
    n_key_heads: int
    head_size: int
    n_turned: int
    by_head: bool


@dataclass(frozen=True)
class Weight(Place):
    """One parameter of the module at ``path``."""

    name: str
    shape: tuple[int, ...]


AnyPlace = TypeVar("AnyPlace", bound=Place)


@dataclass(frozen=True)
class Anatomy:
    """What a backbone consists of.

    Attributes
    ----------
    model : str
        Name of the backbone's class.
    norms : tuple of Norm
        From the bottom to the top.
    linears : tuple of Linear
        Of the blocks, and of what leads to them; no pooler.
    attentions : tuple of Attention
        One a block, where the layout is known.
    weights : tuple of Weight
        Every parameter.
    blocks : str
        Path of the list of blocks.
    n_blocks : int
        Blocks that own weights of their own.
    shared : bool
        Whether one block's weights serve several layers (ALBERT).
    """

    model: str
    norms: tuple[Norm, ...]
    linears: tuple[Linear, ...]
    attentions: tuple[Attention, ...]
    weights: tuple[Weight, ...]
    blocks: str
    n_blocks: int
    shared: bool

    @property
    def n_parameters(self) -> int:
        """Parameters of the whole backbone."""
        return sum(math.prod(weight.shape) for weight in self.weights)

    def select(
        self,
        places: Sequence[AnyPlace],
        layers: Layers,
        sites: Any = "all",
        what: str = "norm",
    ) -> tuple[AnyPlace, ...]:
        """Those of ``places`` that stand at ``sites`` of ``layers``.

        Parameters
        ----------
        places : sequence of Place
            Some of this anatomy's own.
        layers : "all", int or sequence of int
            An int k is the top k blocks; negative numbers in a sequence count from the
            top. What stands below the blocks is taken with ``layers="all"``, or when
            ``sites`` names it.
        sites : "all", str or sequence of str
        what : str
            For the error message.

        Raises
        ------
        ValueError
            If a site or layer does not exist, or nothing is left.
        """
        wanted = check_sites(sites)
        named = wanted is not SITES
        blocks = self._blocks(layers)
        everywhere = isinstance(layers, str)
        chosen = tuple(
            place
            for place in places
            if place.site in wanted
            and (
                (place.block in blocks)
                if place.block is not None
                else (everywhere or (named and place.site == "embedding"))
            )
        )
        if not chosen:
            there = [site for site in SITES if any(place.site == site for place in places)]
            raise ValueError(
                f"sites={sites!r} with layers={layers!r} selects no {what}; this backbone "
                f"({self.model}) has them at {there} in {self.n_blocks} blocks."
            )
        return chosen

    def _blocks(self, layers: Any) -> set[int]:
        """Numbers of the blocks that ``layers`` means."""
        n = self.n_blocks
        if isinstance(layers, str) and layers == "all":
            return set(range(n))
        if self.shared:
            raise ValueError(
                f"layers={layers!r}, but this backbone's layers share one block's weights; only "
                "layers='all' has a meaning."
            )
        if _is_int(layers):
            if not 1 <= layers <= n:
                raise ValueError(
                    f"layers={layers} (the top k blocks) must be between 1 and {n}, the backbone's "
                    "number of blocks."
                )
            return set(range(n - int(layers), n))
        check_layers(layers)
        outside = [i for i in layers if not -n <= i < n]
        if outside:
            raise ValueError(
                f"layers={layers!r} must hold block numbers from {-n} to {n - 1}; {outside} are "
                "outside."
            )
        return {int(i) % n for i in layers}


def check_layers(layers: Any) -> None:
    """Raise a ValueError if ``layers`` can mean no blocks, whatever the backbone."""
    if (isinstance(layers, str) and layers == "all") or (_is_int(layers) and layers >= 1):
        return
    # Of a range only the ends are looked at: it may claim more numbers than fit anywhere.
    if isinstance(layers, range):
        there = bool(layers)
    else:
        there = not isinstance(layers, str) and _are_ints(layers) and len(layers) > 0
    if not there:
        raise ValueError(
            "layers must be 'all', an int (the top k blocks) or a range or list of ints; got "
            f"{layers!r}."
        )
    if isinstance(layers, range) and not all(abs(layers[end]) < MAX_BLOCKS for end in (0, -1)):
        raise ValueError(f"layers={layers!r} names blocks that no backbone has.")


def check_sites(sites: Any) -> tuple[str, ...]:
    """The sites that ``sites`` means; a ValueError if it can mean none."""
    if isinstance(sites, str) and sites == "all":
        return SITES
    if not isinstance(sites, Iterable):
        raise ValueError(f"sites must be 'all' or some of {SITES}; got {sites!r}.")
    chosen = (sites,) if isinstance(sites, str) else tuple(sites)
    unknown = [site for site in chosen if site not in SITES]
    if unknown or not chosen:
        raise ValueError(f"sites must be 'all' or some of {SITES}; got {sites!r}.")
    return chosen


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are_ints(values: Any) -> bool:
    return isinstance(values, Sized) and all(_is_int(value) for value in values)  # type: ignore[attr-defined]
