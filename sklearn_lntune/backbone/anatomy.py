"""Records of a backbone's norms, linear layers and attention modules.

Tuning methods choose from them. `backbone.inspect_model` makes them from a model.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sklearn_lntune.checks import has_length

SITES = ("embedding", "attention", "ffn", "final", "qk")

Layers: TypeAlias = str | int | Sequence[int]

#: More blocks than any model has. Larger numbers are refused before they are expanded.
MAX_BLOCKS = 10_000


@dataclass(frozen=True)
class Place:
    """A module of a backbone.

    Attributes
    ----------
    path : str
        Path of the module, from the backbone's root.
    site : str
        One of `SITES`.
    block : int or None
        Number of the block; None below the blocks. A final norm belongs to the last block.
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
        ``"query"``, ``"key"``, ``"value"`` or the three in one, ``"qkv"``; ``"output"``
        for the last layer of the attention or feed-forward network, whose result is added
        to the residual; ``"input"`` for all others.
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
        Whether it computes through transformers' attention interface.
    n_heads, n_key_heads, head_size : int
        Grouped-query attention has fewer heads of keys and values than of queries.
    n_turned : int
        Dimensions of each key that depend on the position (rotary embeddings) or are
        multiplied with positions (DeBERTa): there the softmax does not cancel a bias of
        the key.
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
        Those in the blocks and below them; not the pooler.
    attentions : tuple of Attention
        One per block, if the layout is known.
    weights : tuple of Weight
        Every parameter.
    blocks : str
        Path of the list of blocks.
    n_blocks : int
        Number of blocks with separate weights.
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
        """Those of ``places`` at ``sites`` of ``layers``.

        Parameters
        ----------
        places : sequence of Place
            Some of the places of this anatomy.
        layers : "all", int or sequence of int
            An int k is the top k blocks; negative numbers in a sequence count from the
            top. Places below the blocks are included with ``layers="all"``, or if
            ``sites`` names them.
        sites : "all", str or sequence of str
            Sites to choose from.
        what : str
            What the places are called in error messages.

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
    """Raise a ValueError if ``layers`` is wrong for any backbone."""
    if (isinstance(layers, str) and layers == "all") or (_is_int(layers) and layers >= 1):
        return
    # Only the ends of a range are checked: listing its numbers could exhaust the memory.
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
    """The sites that ``sites`` means; raises a ValueError if it is not valid."""
    if isinstance(sites, str) and sites == "all":
        return SITES
    try:
        # A bound, since some iterables would fill the memory.
        chosen = (sites,) if isinstance(sites, str) else tuple(islice(sites, MAX_BLOCKS))
    except TypeError:  # not iterable, or only by its class, as an array without dimensions
        chosen = ()
    if not chosen or not all(isinstance(site, str) and site in SITES for site in chosen):
        raise ValueError(f"sites must be 'all' or some of {SITES}; got {sites!r}.")
    return chosen


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are_ints(values: Any) -> bool:
    return has_length(values) and all(_is_int(value) for value in values)
