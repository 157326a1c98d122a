"""Where a backbone keeps its norms: read off the module tree, for any architecture.

A norm is a module whose class is named so and that owns a 1-D weight. Which block it
belongs to, and whether it serves the attention or the feed-forward half, follows from
its place in the repeated block; a short list of words settles what place cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

SITES = ("embedding", "attention", "ffn", "final", "qk")

Layers: TypeAlias = str | int | Sequence[int]

_QUERY_KEY = re.compile(r"(^|_)(q|k|query|key)_?(layer)?_?norm", re.I)
_FFN_WORDS = re.compile(r"ffn|mlp|feed_?forward|full_layer|(^|_)ff(_|$)", re.I)
_ATTENTION_WORDS = re.compile(r"attn|attention", re.I)
_EMBEDDING_WORDS = re.compile(r"emb|wte|wpe", re.I)
_FINAL_WORDS = re.compile(r"final|after|_f$", re.I)


@dataclass(frozen=True)
class Norm:
    """One normalisation layer.

    Attributes
    ----------
    path : str
        Of the module, from the backbone's root.
    site : str
        One of `SITES`.
    block : int or None
        Number of the block; None for embedding norms. A final norm belongs to the last.
    size : int
        Length of its gain.
    has_bias : bool
    """

    path: str
    site: str
    block: int | None
    size: int
    has_bias: bool


@dataclass(frozen=True)
class Anatomy:
    """The norms of a backbone and its number of blocks.

    Attributes
    ----------
    norms : tuple of Norm
        From the bottom to the top.
    n_blocks : int
        Blocks that own weights of their own.
    shared : bool
        Whether one block's weights serve several layers (ALBERT).
    n_parameters : int
        Of the whole backbone.
    """

    norms: tuple[Norm, ...]
    n_blocks: int
    shared: bool
    n_parameters: int

    def select(self, sites: Any, layers: Layers) -> tuple[Norm, ...]:
        """The norms at ``sites`` of ``layers``.

        Parameters
        ----------
        sites : "all", str or sequence of str
        layers : "all", int or sequence of int
            An int k is the top k blocks; negative numbers in a sequence count from the
            top. Embedding norms are taken with ``layers="all"``, or when ``sites``
            names them.

        Raises
        ------
        ValueError
            If a site or layer does not exist, or nothing is left.
        """
        wanted = SITES if isinstance(sites, str) and sites == "all" else _as_sites(sites)
        named = wanted is not SITES
        blocks = self._blocks(layers)
        everywhere = isinstance(layers, str)
        chosen = tuple(
            norm
            for norm in self.norms
            if norm.site in wanted
            and (
                (norm.block in blocks)
                if norm.block is not None
                else (everywhere or (named and norm.site == "embedding"))
            )
        )
        if not chosen:
            there = [site for site in SITES if any(norm.site == site for norm in self.norms)]
            raise ValueError(
                f"sites={sites!r} with layers={layers!r} selects no norm; this backbone has norms "
                f"at {there} in {self.n_blocks} blocks."
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
        if isinstance(layers, str) or not _are_ints(layers) or not len(layers):
            raise ValueError(
                "layers must be 'all', an int (the top k blocks) or a range or list of ints; got "
                f"{layers!r}."
            )
        outside = [i for i in layers if not -n <= i < n]
        if outside:
            raise ValueError(
                f"layers={layers!r} must hold block numbers from {-n} to {n - 1}; {outside} are "
                "outside."
            )
        return {int(i) % n for i in layers}


def anatomy_of(backbone: nn.Module, n_layers: int | None) -> Anatomy:
    """Read the anatomy off ``backbone``; its weights may be on the meta device.

    Parameters
    ----------
    backbone : torch.nn.Module
    n_layers : int or None
        Layers that a forward pass goes through, from the configuration; more than there
        are blocks means that blocks are shared.

    Raises
    ------
    ValueError
        If there are no norms, or no repeated block that holds norms.
    """
    found = [(path, module) for path, module in backbone.named_modules() if _is_norm(module)]
    model = type(backbone).__name__
    if not found:
        raise ValueError(f"{model} has no normalisation layer with a weight: nothing to tune.")
    root, n_blocks = _repeated_block(backbone, [path for path, _ in found])
    if root is None:
        raise ValueError(
            f"the layout of {model} is unknown: no list of blocks holds its norms "
            f"({', '.join(path for path, _ in found[:8])}, ...). Please report the architecture."
        )

    order = [name for name, _ in backbone.named_modules()]
    first_block = order.index(root)
    inside: dict[int, list[str]] = {}
    for path, _ in found:
        if path.startswith(root + "."):
            inside.setdefault(int(path[len(root) + 1 :].split(".")[0]), []).append(path)
    place: dict[str, tuple[str, int | None]] = {}
    for block, paths in inside.items():
        place |= {path: (site, block) for path, site in _block_sites(paths, f"{root}.{block}.")}
    for path, _ in found:
        if path not in place:
            outer = _outer_site(path, order.index(path) < first_block)
            place[path] = (outer, None if outer == "embedding" else n_blocks - 1)

    norms = [
        Norm(path, *place[path], module.weight.numel(), getattr(module, "bias", None) is not None)
        for path, module in found
    ]
    height = {"embedding": -1, "final": n_blocks}
    norms.sort(key=lambda norm: height.get(norm.site, norm.block if norm.block is not None else -1))
    return Anatomy(
        tuple(norms),
        n_blocks,
        shared=n_layers is not None and n_layers > n_blocks,
        n_parameters=sum(parameter.numel() for parameter in backbone.parameters()),
    )


def _is_norm(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return (
        "norm" in type(module).__name__.lower()
        and isinstance(weight, nn.Parameter)
        and weight.dim() == 1
    )


def _repeated_block(backbone: nn.Module, norms: list[str]) -> tuple[str | None, int]:
    """Path and length of the outermost list of blocks that holds the most norms."""
    best: tuple[int, str | None, int] = (0, None, 0)
    for path, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList):
            held = sum(norm.startswith(path + ".") for norm in norms)
            if held > best[0]:  # on a tie the outer list, which comes first, stays
                best = (held, path, len(module))
    return best[1], best[2]


def _block_sites(paths: list[str], prefix: str) -> list[tuple[str, str]]:
    """Site of each norm in one block, in order of registration."""
    sites: dict[str, str] = {}
    for path in paths:
        *owners, name = path[len(prefix) :].split(".")
        if _QUERY_KEY.search(name):
            sites[path] = "qk"
        elif any(_ATTENTION_WORDS.search(owner) for owner in owners):
            sites[path] = "attention"
        elif any(_FFN_WORDS.search(word) for word in (*owners, name)):
            sites[path] = "ffn"
    # Of the rest, the first half stands around the attention, the second around the
    # feed-forward network. A "post_attention" norm may be either (in a pre-norm block of
    # two it precedes the feed-forward network), so its name does not count.
    around = [path for path in paths if sites.get(path) != "qk"]
    for position, path in enumerate(around):
        if path not in sites:
            sites[path] = "attention" if position < (len(around) + 1) // 2 else "ffn"
    return [(path, sites[path]) for path in paths]


def _outer_site(path: str, before_blocks: bool) -> str:
    """Site of a norm outside the blocks: words first, then its side of the blocks."""
    if _FINAL_WORDS.search(path.rsplit(".", 1)[-1]):
        return "final"
    if _EMBEDDING_WORDS.search(path) or before_blocks:
        return "embedding"
    # DeBERTa normalises its relative position embeddings beside the blocks.
    return "embedding" if path == "encoder.LayerNorm" else "final"


def _as_sites(sites: Any) -> tuple[str, ...]:
    chosen = (sites,) if isinstance(sites, str) else tuple(sites)
    unknown = [site for site in chosen if site not in SITES]
    if unknown or not chosen:
        raise ValueError(f"sites must be 'all' or some of {SITES}; got {sites!r}.")
    return chosen


def _is_int(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _are_ints(values: Any) -> bool:
    try:
        return all(_is_int(value) for value in values)
    except TypeError:
        return False
