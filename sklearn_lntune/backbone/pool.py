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
from collections.abc import Callable
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from sklearn_lntune.backbone.activation_cache import ActivationCache
from sklearn_lntune.backbone.anatomy import Anatomy
from sklearn_lntune.backbone.checking import n_embeddings
from sklearn_lntune.backbone.digests import State, state_of
from sklearn_lntune.backbone.format1 import TOKENIZER_FILES
from sklearn_lntune.backbone.identity import fingerprints, identity_parts
from sklearn_lntune.backbone.inspect_model import anatomy_of
from sklearn_lntune.backbone.loading import (
    check_files,
    errors_of,
    load_config,
    load_model,
    load_skeleton,
    load_tokenizer,
    stored_type,
)
from sklearn_lntune.backbone.placement import padded_length
from sklearn_lntune.backbone.resolve import Source, check_reference, resolve
from sklearn_lntune.backbone.stored import stored_tensors
from sklearn_lntune.backbone.tokenizer_parts import tokenizer_files
from sklearn_lntune.forking import ForkSafeLock, is_forked_with_torch, on_fork
from sklearn_lntune.inputs.text.tokens import Tokens

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
        self._state = _state_of(source)
        self.config = load_config(source, trust_remote_code)
        check_files(source)
        #: What estimators keep with this backbone, gone when either of them goes.
        self.kept: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._models: dict[tuple[torch.dtype, torch.device], nn.Module] = {}
        self._activations: tuple[Any, ActivationCache] | None = None
        self._lock = ForkSafeLock(threading.RLock)
        on_fork(self._forget_in_child)

    def is_current(self) -> bool:
        """Whether the files are still those that were loaded."""
        return state_of(file for file, *_ in self._state) == self._state

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The parts of its identity; see `identity.identity_parts`."""
        return identity_parts(
            self.source, self.config, self.tokenizer, self.tokens, self.trust_remote_code
        )

    @property
    def fingerprint(self) -> str:
        """Digest of weights, configuration and trusted code."""
        return fingerprints(self.parts)[0]

    @property
    def tokenizer_fingerprint(self) -> str:
        """Digest of the tokenizer: its class, its words, and what it does."""
        return fingerprints(self.parts)[1]

    @cached_property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        n_rows = n_embeddings(self.skeleton)
        return load_tokenizer(self.source, self.trust_remote_code, n_rows)

    @cached_property
    def skeleton(self) -> nn.Module:
        """The encoder, without memory for its weights."""
        return load_skeleton(self.source, self.config, self.trust_remote_code)

    def identity(self, name: str | os.PathLike[str], folder: str | None) -> dict[str, Any]:
        """What a delta is tied to that was learnt on this backbone.

        Parameters
        ----------
        name : str or path
            As the user gave it.
        folder : str or None
            The absolute path, where that is a relative one.
        """
        return {
            "name": os.fspath(name),
            "revision": self.source.revision,
            **({} if folder is None else {"folder": folder}),
            "fingerprint": self.fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "parameters": self.anatomy.n_parameters,
            "parts": copy.deepcopy(self.parts),
        }

    @property
    def tokens(self) -> Tokens:
        """The tokenizer, for all threads."""
        with self._lock:  # one for all threads: a tokenizer takes one call at a time
            return self._tokens

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self.tokenizer, self.pad_id, n_embeddings(self.skeleton))

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

    def padded_length(self, dtype: torch.dtype, device: torch.device) -> Callable[[int], int]:
        """How far to fill up rows for products in ``dtype`` on ``device``."""
        return partial(
            padded_length, compute_type=dtype, device=device, n_positions=self.n_positions
        )

    @property
    def hidden_size(self) -> int:
        """Length of the last hidden states."""
        text = self.config.get_text_config()
        # OPT's smallest large model projects its last states down to this.
        return int(getattr(text, "word_embed_proj_dim", text.hidden_size))

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

    def activation_cache(
        self,
        dtype: torch.dtype,
        device: torch.device,
        attention: str,
        block: int,
        *,
        fresh: bool = False,
    ) -> ActivationCache:
        """What enters ``block``, kept until another cache is asked for.

        A ``fresh`` one knows nothing yet, and nobody else sees it.
        """
        key = (dtype, device, block)
        with self._lock:
            if not fresh and self._activations is not None and self._activations[0] == key:
                return self._activations[1]
            shell = self.shell(dtype, device, attention)
            cache = ActivationCache(
                shell, self.anatomy.blocks, block, self.padded_length(dtype, device)
            )
            if not fresh:
                self._activations = key, cache
            return cache

    def _forget_in_child(self) -> None:
        # A tokenizer at work in another thread stays borrowed, and a cache's file is shared
        # with the parent, which goes on writing to it.
        for name in ("tokenizer", "_tokens"):
            self.__dict__.pop(name, None)
        self._activations = None

    def private(self, dtype: torch.dtype, device: torch.device, attention: str) -> nn.Module:
        """A copy that shares nothing, for training all weights."""
        model = load_model(self.source, self.config, dtype, device, self.trust_remote_code)
        return set_attention(model, attention)


for _member in vars(Backbone).values():
    if isinstance(_member, cached_property) and "lock" in vars(_member):
        # In Python 3.11 one lock serves the property of all objects, while it is computed.
        vars(_member)["lock"] = ForkSafeLock(threading.RLock)


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


def _state_of(source: Source) -> State:
    """The state of all files that make a difference, and of those that might appear."""
    names = ("config.json", "model.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES)
    files = {source.folder / name for name in names}
    files |= {*source.weight_files, *tokenizer_files(source.folder), *source.folder.glob("*.py")}
    return state_of(sorted(files))


_pool: OrderedDict[tuple[str, str | None, bool], Backbone] = OrderedDict()
_pool_lock = ForkSafeLock(threading.RLock)


def get_backbone(
    name: str | os.PathLike[str], revision: str | None = None, trust_remote_code: bool = False
) -> Backbone:
    """The backbone called ``name``, from the pool where it is there already.

    Raises
    ------
    ValueError
        If it cannot be found, or is not stored as safetensors.
    """
    check_reference(name, revision, trust_remote_code)
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


def _start_anew() -> None:
    """Make a forked child load and compute by itself."""
    _pool.clear()
    # The threads of libgomp that computed in the parent are gone, and the thread that forked
    # would wait for them for ever at the first product. A single thread waits for nobody.
    torch.set_num_threads(1)


on_fork(_start_anew)
if is_forked_with_torch():
    torch.set_num_threads(1)
