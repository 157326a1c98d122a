"""Derive the anatomy of a backbone from its module tree, for any architecture.

A norm is a module with "norm" in its class name and a 1-D weight. The block that a module
belongs to, and whether it is part of the attention or of the feed-forward network, follow
from its position in the repeated block; short lists of words decide the cases in which the
position is ambiguous.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from torch import nn

from sklearn_lntune.backbone.anatomy import Anatomy, Attention, Linear, Norm, Weight

_QUERY_KEY = re.compile(r"(^|_)(q|k|query|key)_?(layer)?_?norm", re.I)
_FFN_WORDS = re.compile(r"ffn|mlp|feed_?forward|full_layer|(^|_)ff(_|$)", re.I)
_ROTARY = re.compile(r"rotary|roformer", re.I)
_ATTENTION_WORDS = re.compile(r"attn|attention", re.I)
_EMBEDDING_WORDS = re.compile(r"emb|wte|wpe", re.I)
_FINAL_WORDS = re.compile(r"final|after|_f$", re.I)


_ROLES = (
    ("qkv", re.compile(r"qkv|query_key_value|c_attn|in_proj", re.I)),
    ("query", re.compile(r"^q(uery)?(_|$)", re.I)),
    ("key", re.compile(r"^k(ey)?(_|$)", re.I)),
    ("value", re.compile(r"^v(alue)?(_|$)", re.I)),
    ("position key", re.compile(r"^pos_k(ey)?(_|$)", re.I)),  # DeBERTa's
)
#: Modules of the pooler in architectures that call it something else.
_POOLERS = {"CLIPVisionModel": ("post_layernorm",), "SiglipVisionModel": ("head",)}
# GPT-NeoX, BLOOM and Falcon store query, key and value of the first head, then of the next.
_BY_HEAD = "query_key_value"


def anatomy_of(backbone: nn.Module) -> Anatomy:
    """The anatomy of ``backbone``, whose weights may be on the meta device.

    Raises
    ------
    ValueError
        If there are no norms, or no repeated block that holds norms.
    """
    modules = dict(backbone.named_modules())
    found = [path for path, module in modules.items() if _is_norm(module)]
    model = type(backbone).__name__
    if not found:
        raise ValueError(f"{model} has no normalisation layer with a weight: nothing to tune.")
    root, n_blocks = _repeated_block(backbone, found)
    if root is None:
        raise ValueError(
            f"the layout of {model} is unknown: no list of blocks holds its norms "
            f"({', '.join(found[:8])}, ...). Please report the architecture."
        )
    map_of = _Map(list(modules), root, n_blocks)
    config: Any = getattr(backbone, "config", None)
    text = None if config is None else config.get_text_config()
    norms, linears = _norms(modules, found, map_of), _linears(modules, map_of)
    places = {norm.path: (norm.path, norm.site, norm.block) for norm in norms}
    return Anatomy(
        model,
        norms=tuple(norms),
        linears=tuple(linears),
        attentions=tuple(_attentions(modules, linears, text)),
        weights=tuple(
            Weight(*(places.get(path) or map_of.place(path)), name, tuple(weight.shape))
            for path, name, weight in (
                (*full.rpartition(".")[::2], weight) for full, weight in backbone.named_parameters()
            )
        ),
        blocks=root,
        n_blocks=n_blocks,
        shared=(getattr(text, "num_hidden_layers", None) or 0) > n_blocks,
        pooler=("pooler", *_POOLERS.get(model, ())),
    )


class _Map:
    """Locate paths: in which block and which half of it, or below or above the blocks."""

    def __init__(self, paths: list[str], root: str, n_blocks: int) -> None:
        self.root, self.n_blocks = root, n_blocks
        self._rank = {path: rank for rank, path in enumerate(paths)}

    def block(self, path: str) -> int | None:
        """Number of the block that contains ``path``."""
        if not path.startswith(self.root + "."):
            return None
        return int(path[len(self.root) + 1 :].split(".")[0])

    def inner(self, path: str) -> list[str]:
        """Names on the path from the block to the module."""
        return path[len(self.root) + 1 :].split(".")[1:]

    def outer(self, path: str) -> tuple[str, int | None]:
        """Site and block of a path outside the blocks: by its words, else by its position."""
        if not _FINAL_WORDS.search(path.rsplit(".", 1)[-1]):
            before = self._rank[path] < self._rank[self.root]
            # DeBERTa has a norm for its relative position embeddings, outside the blocks.
            if _EMBEDDING_WORDS.search(path) or before or path == "encoder.LayerNorm":
                return "embedding", None
        return "final", self.n_blocks - 1

    def place(self, path: str) -> tuple[str, str, int | None]:
        """Path, site and block of a module other than a norm."""
        block = self.block(path)
        if block is None:
            return (path, *self.outer(path))
        inside = any(_ATTENTION_WORDS.search(name) for name in self.inner(path)[:-1] or [path])
        return path, "attention" if inside else "ffn", block


def _norms(modules: dict[str, nn.Module], found: list[str], map_of: _Map) -> list[Norm]:
    """The norms, from the bottom to the top."""
    inside: dict[int, list[str]] = {}
    for path in found:
        block = map_of.block(path)
        if block is not None:
            inside.setdefault(block, []).append(path)
    place: dict[str, tuple[str, int | None]] = {}
    for block, paths in inside.items():
        place |= {path: (site, block) for path, site in _norm_sites(paths, map_of)}
    norms = []
    for path in found:
        norms.append(
            Norm(
                path,
                *(place.get(path) or map_of.outer(path)),
                size=modules[path].weight.numel(),  # type: ignore[operator]
                has_bias=_has_bias(modules[path]),
            )
        )
    height = {"embedding": -1, "final": map_of.n_blocks}
    norms.sort(key=lambda norm: height.get(norm.site, norm.block if norm.block is not None else -1))
    return norms


def _linears(modules: dict[str, nn.Module], map_of: _Map) -> list[Linear]:
    """The linear layers in the blocks and below them."""
    linears: list[Linear] = []
    for path, module in modules.items():
        shape = _linear_shape(module)
        path, site, block = map_of.place(path)
        if shape is None or site == "final":  # a pooler, or the head of another task
            continue
        name = path.rsplit(".", 1)[-1]
        roles = [role for role, words in _ROLES if words.search(name)]
        role = roles[0] if roles and site == "attention" else "input"
        linears.append(Linear(path, site, block, role, *shape, _has_bias(module)))
    last = {
        (each.block, each.site): rank for rank, each in enumerate(linears) if each.block is not None
    }
    for rank in last.values():
        if linears[rank].role == "input":
            linears[rank] = dataclasses.replace(linears[rank], role="output")
    return linears


def _attentions(modules: dict[str, nn.Module], linears: list[Linear], text: Any) -> list[Attention]:
    """The attention modules: those that contain the value projections."""
    if getattr(text, "num_attention_heads", None) is None:
        return []
    n_heads = int(text.num_attention_heads)
    n_key_heads = int(getattr(text, "num_key_value_heads", None) or n_heads)
    rotary = any(_ROTARY.search(type(module).__name__) for module in modules.values())
    attentions = []
    for linear in linears:
        if linear.role not in ("value", "qkv"):
            continue
        owner = linear.path.rpartition(".")[0]
        fused = linear.role == "qkv"
        head_size = linear.n_out // (n_heads + 2 * n_key_heads if fused else n_key_heads)
        turned = int(head_size * _turned_share(text)) if rotary else 0
        if getattr(text, "relative_attention", False):
            turned = head_size if "p2c" in (text.pos_att_type or ()) else 0
        if linear.n_out != head_size * (n_heads + 2 * n_key_heads if fused else n_key_heads):
            continue  # an unknown layout (Falcon's with one key head)
        forward = inspect.unwrap(type(modules[owner]).forward)
        attentions.append(
            Attention(
                owner,
                linear.site,
                linear.block,
                kind=type(modules[owner]).__name__,
                reads_interface="ALL_ATTENTION_FUNCTIONS" in forward.__code__.co_names,
                n_heads=n_heads,
                n_key_heads=n_key_heads,
                head_size=head_size,
                n_turned=turned,
                by_head=linear.path.endswith(_BY_HEAD),
            )
        )
    return attentions


def _turned_share(text: Any) -> float:
    """Share of a head's dimensions that rotary embeddings rotate."""
    rope = getattr(text, "rope_parameters", None) or {}
    return float(rope.get("partial_rotary_factor") or getattr(text, "rotary_pct", None) or 1.0)


def _linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Input and output size of a linear layer; None for any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":  # GPT-2's, whose weight is transposed
        n_in, n_out = module.weight.shape  # type: ignore[misc]
        return int(n_in), int(n_out)
    return None


def _has_bias(module: nn.Module) -> bool:
    return getattr(module, "bias", None) is not None


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
            if held > best[0]:  # not >=: on a tie the outer list, which comes first, wins
                best = (held, path, len(module))
    return best[1], best[2]


def _norm_sites(paths: list[str], map_of: _Map) -> list[tuple[str, str]]:
    """Site of each norm in one block, in order of registration."""
    sites: dict[str, str] = {}
    for path in paths:
        *owners, name = map_of.inner(path)
        if _QUERY_KEY.search(name):
            sites[path] = "qk"
        elif any(_ATTENTION_WORDS.search(owner) for owner in owners):
            sites[path] = "attention"
        elif any(_FFN_WORDS.search(word) for word in (*owners, name)):
            sites[path] = "ffn"
    # Of the rest, the first half is around the attention, the second around the feed-forward
    # network. A "post_attention" norm may be either (in a pre-norm block with two norms it
    # precedes the feed-forward network), so its name is ignored.
    around = [path for path in paths if sites.get(path) != "qk"]
    for position, path in enumerate(around):
        if path not in sites:
            sites[path] = "attention" if position < (len(around) + 1) // 2 else "ffn"
    return [(path, sites[path]) for path in paths]
