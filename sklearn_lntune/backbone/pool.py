"""One copy of each backbone a process, lent out as shells.

A shell is a private module tree over the backbone's shared storage: a delta can be
attached to it without any other shell noticing. Shells cost about a third of a
megabyte, so each fitted estimator keeps one, for as long as both it and the backbone
stay.
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections import OrderedDict
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import nn

from sklearn_lntune.backbone.anatomy import Anatomy
from sklearn_lntune.backbone.checking import n_embeddings
from sklearn_lntune.backbone.dissect import anatomy_of
from sklearn_lntune.backbone.fingerprint import (
    backbone_fingerprint,
    tokenizer_digest,
    tokenizer_files,
)
from sklearn_lntune.backbone.loading import (
    check_files,
    errors_of,
    load_config,
    load_model,
    load_skeleton,
    load_tokenizer,
    stored_type,
)
from sklearn_lntune.backbone.resolve import Source, check_reference, resolve
from sklearn_lntune.backbone.stored import stored_tensors
from sklearn_lntune.backbone.trunk import Trunk
from sklearn_lntune.text.tokens import Tokens

#: Backbones kept at a time; the one not used for longest goes first.
MAX_BACKBONES = 3


class Backbone:
    """A backbone of this process: its identity, tokenizer and weights a compute type.

    Everything is loaded when first asked for.

    Parameters
    ----------
    source : Source
    trust_remote_code : bool
    """

    def __init__(self, source: Source, trust_remote_code: bool) -> None:
        self.source = source
        self.trust_remote_code = trust_remote_code
        self.config = load_config(source, trust_remote_code)
        check_files(source)
        #: What estimators keep with this backbone, gone when either of them goes.
        self.kept: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._models: dict[tuple[torch.dtype, torch.device], nn.Module] = {}
        self._trunk: tuple[Any, Trunk] | None = None
        self._lock = threading.RLock()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of configuration and weights."""
        return backbone_fingerprint(self.source.folder / "config.json", self.source.weight_files)

    def is_current(self) -> bool:
        """Whether the files are still those that were loaded."""
        try:
            weights = self.source.weight_files
            return bool(weights) and self.fingerprint == backbone_fingerprint(
                self.source.folder / "config.json", weights
            )
        except (ValueError, OSError):  # they are damaged now; loading them says how
            return False

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Digest of the tokenizer's files."""
        return tokenizer_digest(tokenizer_files(self.source.folder))

    @cached_property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        n_rows = n_embeddings(self.skeleton)
        return load_tokenizer(self.source, self.trust_remote_code, n_rows)

    @cached_property
    def skeleton(self) -> nn.Module:
        """The encoder, without memory for its weights."""
        return load_skeleton(self.source, self.config, self.trust_remote_code)

    @property
    def identity(self) -> dict[str, Any]:
        """What a delta learnt on this backbone is tied to."""
        return {
            "name": self.source.name,
            "revision": self.source.revision,
            "fingerprint": self.fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "parameters": self.anatomy.n_parameters,
        }

    @property
    def tokens(self) -> Tokens:
        """The tokenizer with its memory."""
        with self._lock:  # one for all threads: a tokenizer takes one call at a time
            return self._tokens

    @cached_property
    def _tokens(self) -> Tokens:
        # transformers chooses the class by the model's kind, so the same files may make
        # different tokens.
        kind = type(self.tokenizer).__name__
        digest = f"{kind}:{self.tokenizer_fingerprint}"
        return Tokens(self.tokenizer, digest, n_embeddings(self.skeleton))

    @cached_property
    def anatomy(self) -> Anatomy:
        """What it consists of; needs no weights."""
        skeleton = self.skeleton
        with errors_of(self.source):
            return anatomy_of(skeleton)

    @cached_property
    def stored_names(self) -> frozenset[str]:
        """Names of the tensors in the files."""
        return frozenset(tensor.name for tensor in stored_tensors(self.source.weight_files))

    @cached_property
    def stored_type(self) -> torch.dtype:
        """The type of the weights as stored."""
        return stored_type(self.source)

    @property
    def pad_id(self) -> int:
        """The token that fills short rows; the mask hides it."""
        known = getattr(self.config.get_text_config(), "pad_token_id", None)
        return 0 if known is None or known < 0 else int(known)  # -1 says that there is none

    @property
    def n_positions(self) -> int | None:
        """Positions that the model has, some perhaps of no use; None where any number will do."""
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit and limit > 0 else None

    def model(self, dtype: torch.dtype, device: torch.device) -> nn.Module:
        """The shared frozen weights in ``dtype`` on ``device``. Never change them."""
        with self._lock:
            if (dtype, device) not in self._models:
                self._models[dtype, device] = load_model(
                    self.source, self.config, dtype, device, self.trust_remote_code
                )
            return self._models[dtype, device]

    def shell(self, dtype: torch.dtype, device: torch.device, attention: str) -> nn.Module:
        """A private module tree over the shared weights."""
        return set_attention(shell_of(self.model(dtype, device)), attention)

    def trunk(
        self,
        dtype: torch.dtype,
        device: torch.device,
        attention: str,
        block: int,
        *,
        fresh: bool = False,
    ) -> Trunk:
        """What enters ``block``, kept until another trunk is asked for.

        A ``fresh`` one knows nothing yet, and nobody else sees it.
        """
        key = (dtype, device, block)
        with self._lock:
            if not fresh and self._trunk is not None and self._trunk[0] == key:
                return self._trunk[1]
            shell = self.shell(dtype, device, attention)
            trunk = Trunk(shell, self.anatomy.blocks, block, self.pad_id)
            if not fresh:
                self._trunk = key, trunk
            return trunk

    def private(self, dtype: torch.dtype, device: torch.device, attention: str) -> nn.Module:
        """A copy that shares nothing, for training all weights."""
        model = load_model(self.source, self.config, dtype, device, self.trust_remote_code)
        return set_attention(model, attention)


def shell_of(model: nn.Module) -> nn.Module:
    """Copy the tree of ``model``, configuration included, over the same tensors."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


def set_attention(model: nn.Module, attention: str) -> nn.Module:
    """Choose the attention implementation where the architecture offers a choice."""
    if attention == "eager" or getattr(model, "_supports_sdpa", False):
        for module in model.modules():
            config: Any = getattr(module, "config", None)
            if hasattr(config, "_attn_implementation"):
                config._attn_implementation = attention  # noqa: SLF001
    return model


_pool: OrderedDict[tuple[str, str | None, bool], Backbone] = OrderedDict()
_pool_lock = threading.RLock()


def get_backbone(
    name: str | os.PathLike[str], revision: str | None = None, trust_remote_code: bool = False
) -> Backbone:
    """The backbone called ``name``, from the pool where it is there already.

    Raises
    ------
    ValueError
        If it cannot be found, or is not stored as safetensors.
    """
    check_reference(name, revision)
    local = isinstance(name, str | os.PathLike) and os.path.isdir(name)
    key = (os.path.abspath(name) if local else str(name), revision, bool(trust_remote_code))
    with _pool_lock:
        backbone = _pool.get(key)
        if backbone is None or not backbone.is_current():
            backbone = _pool[key] = Backbone(resolve(name, revision), trust_remote_code)
        _pool.move_to_end(key)
        while len(_pool) > MAX_BACKBONES:
            _pool.popitem(last=False)
        return backbone


def clear_backbones() -> None:
    """Forget every loaded backbone and what estimators kept with them.

    Fitted estimators stay usable: their next prediction loads the backbone again.

    Examples
    --------
    >>> import sklearn_lntune
    >>> sklearn_lntune.clear_backbones()
    """
    with _pool_lock:
        _pool.clear()


def _forget_in_child() -> None:
    # Locks may have been held by a thread that the child does not have.
    global _pool_lock
    _pool_lock = threading.RLock()
    _pool.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
