"""One copy of each backbone per process, shared through shells.

A shell is a private module tree over the shared tensors of the backbone: attaching a delta
to it does not affect any other shell. A shell takes about a third of a megabyte, so each
fitted estimator has one, as long as both the estimator and the backbone exist.
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from sklearn_lntune.backbone.activation_cache import ActivationCache
from sklearn_lntune.backbone.anatomy import Anatomy
from sklearn_lntune.backbone.attention import without_waiting
from sklearn_lntune.backbone.checking import check_agrees, n_embeddings, takes_images
from sklearn_lntune.backbone.digests import State, state_of
from sklearn_lntune.backbone.format1 import TOKENIZER_FILES
from sklearn_lntune.backbone.identity import fingerprints, identity_parts
from sklearn_lntune.backbone.image_processor import (
    grid_of,
    image_processor_parts,
    load_image_processor,
)
from sklearn_lntune.backbone.inspect_model import anatomy_of
from sklearn_lntune.backbone.int8 import with_int8_products
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
from sklearn_lntune.backbone.resolve import (
    IMAGE_PROCESSOR_FILES,
    Source,
    check_reference,
    resolve,
)
from sklearn_lntune.backbone.safetensors_reader import stored_tensors
from sklearn_lntune.backbone.tokenizer_parts import tokenizer_files, tokenizer_parts
from sklearn_lntune.forking import ForkSafeLock, is_forked_with_torch, on_fork
from sklearn_lntune.inputs.base import TableMaker
from sklearn_lntune.inputs.image.pixels import Grid, Pixels
from sklearn_lntune.inputs.text.tokens import Tokens

#: Number of backbones in memory; the least recently used one is dropped first.
MAX_BACKBONES = 3

Value = TypeVar("Value")


class ComputedOnce(Generic[Value]):
    """A property that one thread computes while others wait, for each backbone by itself.

    `functools.cached_property` computes it in several threads at once, or, before Python 3.12,
    lets those wait that need it of another backbone: while gigabytes are digested, for long.
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, backbone: Any, owner: type[Any]) -> Value:
        known = vars(backbone)  # where Python looks first from now on
        with backbone.lock:
            if self._name not in known:
                known[self._name] = self._function(backbone)
            value: Value = known[self._name]
            return value


class Backbone:
    """A backbone in this process: its identity, its input, and its weights per number type.

    Everything is loaded when it is first used.

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
        self.lock = ForkSafeLock(threading.RLock)
        on_fork(self._forget_in_child)

    def is_current(self) -> bool:
        """Whether the files are still those that were loaded."""
        return state_of(file for file, *_ in self._state) == self._state

    @ComputedOnce
    def parts(self) -> dict[str, Any]:
        """The parts of its identity; see `identity.identity_parts`."""
        if self.takes_images:
            made_by, parts = (
                self.image_processor,
                image_processor_parts(self.image_processor, self.source.folder),
            )
        else:
            made_by, parts = (
                self.tokenizer,
                tokenizer_parts(self.tokenizer, self.tokens, self.source.folder),
            )
        return identity_parts(self.source, self.config, made_by, parts, self.trust_remote_code)

    @property
    def fingerprint(self) -> str:
        """Digest of weights, configuration and trusted code."""
        return fingerprints(self.parts)[0]

    @property
    def tokenizer_fingerprint(self) -> str:
        """Digest of the tokenizer, or of the image processor: its class and behaviour."""
        return fingerprints(self.parts)[1]

    @ComputedOnce
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        n_rows = n_embeddings(self.skeleton)
        return load_tokenizer(self.source, self.trust_remote_code, n_rows)

    @ComputedOnce
    def takes_images(self) -> bool:
        """Whether its rows are images rather than texts."""
        return takes_images(self.skeleton)

    @ComputedOnce
    def image_processor(self) -> Any:
        """The transformers image processor."""
        return load_image_processor(self.source, self.trust_remote_code)

    @ComputedOnce
    def grid(self) -> Grid | None:
        """What it makes of an image; None if it takes texts."""
        if not self.takes_images:
            return None
        return grid_of(self.source, self.skeleton, self.image_processor)

    @ComputedOnce
    def skeleton(self) -> nn.Module:
        """The encoder, on the meta device."""
        return load_skeleton(self.source, self.config, self.trust_remote_code)

    def identity(self, name: str | os.PathLike[str], folder: str | None) -> dict[str, Any]:
        """The identity that a delta learnt on this backbone is tied to.

        Parameters
        ----------
        name : str or path
            As given by the user.
        folder : str or None
            The absolute path, if ``name`` is a relative one.
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
    def table_maker(self) -> TableMaker:
        """What makes tables of rows for it."""
        return self.tokens if self.grid is None else Pixels(self.image_processor, self.grid)

    @property
    def tokens(self) -> Tokens:
        """The tokenizer, for all threads."""
        with self.lock:  # one object for all threads: a tokenizer cannot run concurrent calls
            return self._tokens

    @ComputedOnce
    def _tokens(self) -> Tokens:
        return Tokens(self.tokenizer, self.pad_id, n_embeddings(self.skeleton))

    @ComputedOnce
    def anatomy(self) -> Anatomy:
        """Its norms, linear layers and attentions; needs no weights."""
        skeleton = self.skeleton
        with errors_of(self.source):
            return anatomy_of(skeleton)

    @ComputedOnce
    def stored_names(self) -> frozenset[str]:
        """Names of the tensors in the files."""
        return frozenset(tensor.name for tensor in stored_tensors(self.source.weight_files))

    @ComputedOnce
    def stored_type(self) -> torch.dtype:
        """The type of the weights as stored."""
        return stored_type(self.source)

    @property
    def pad_id(self) -> int:
        """The token that pads short rows; the mask hides it."""
        known = getattr(self.config.get_text_config(), "pad_token_id", None)
        return 0 if known is None or known < 0 else int(known)  # -1 means that there is none

    def padded_length(self, dtype: torch.dtype, device: torch.device) -> Callable[[int], int]:
        """The function from the longest row of a batch to its padded length."""
        return partial(
            padded_length, compute_type=dtype, device=device, n_positions=self.n_positions
        )

    @property
    def hidden_size(self) -> int:
        """Length of the last hidden states."""
        text = self.config.get_text_config()
        # opt-350m projects its last states to this size.
        return int(getattr(text, "word_embed_proj_dim", text.hidden_size))

    @property
    def n_positions(self) -> int | None:
        """Size of the position table, some rows perhaps unused; None without a limit."""
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit and limit > 0 else None

    def model(self, dtype: torch.dtype, device: torch.device) -> nn.Module:
        """The shared frozen weights in ``dtype`` on ``device``. They must never be changed.

        In int8, the linear layers of the blocks compute in integers, and the rest in float32.

        Raises
        ------
        ValueError
            If they cannot be loaded, or the model computes something else in ``dtype``.
        """
        with self.lock:
            if (dtype, device) not in self._models:
                made = (
                    self._int8_model(device) if dtype == torch.int8 else self._load(dtype, device)
                )
                self._models[dtype, device] = made
            return self._models[dtype, device]

    def _int8_model(self, device: torch.device) -> nn.Module:
        # What it shares with the model in float32 is in memory once if both are in use.
        exact = self._models.get((torch.float32, device)) or self._load(torch.float32, device)
        paths = [linear.path for linear in self.anatomy.linears if linear.block is not None]
        model = with_int8_products(shell_of(exact), paths)
        check_agrees(self.source.folder, model, exact)
        return model

    def _load(self, dtype: torch.dtype, device: torch.device) -> nn.Module:
        return load_model(self.source, self.config, dtype, device, self.trust_remote_code)

    def shell(self, dtype: torch.dtype, device: torch.device, attention: str) -> nn.Module:
        """A private module tree over the shared weights."""
        return set_attention(shell_of(self.model(dtype, device)), attention, device)

    def activation_cache(
        self,
        dtype: torch.dtype,
        device: torch.device,
        attention: str,
        block: int,
        *,
        fresh: bool = False,
    ) -> ActivationCache:
        """The cache of activations that enter ``block``, kept until another one is requested.

        A ``fresh`` one is empty and not shared.
        """
        key = (dtype, device, block)
        with self.lock:
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
        # A tokenizer in use by another thread would stay locked, and the file of a cache is
        # shared with the parent, which continues to write to it.
        for name in ("tokenizer", "_tokens"):
            self.__dict__.pop(name, None)
        self._activations = None

    def private(self, dtype: torch.dtype, device: torch.device, attention: str) -> nn.Module:
        """A copy that shares nothing, for training all weights."""
        return set_attention(self._load(dtype, device), attention, device)


def shell_of(model: nn.Module) -> nn.Module:
    """Copy the module tree and configuration of ``model``, but share its tensors."""
    # deepcopy returns an object from its memo instead of copying it. So with a memo that already
    # contains every parameter and buffer, only the modules around them are copied.
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


def set_attention(model: nn.Module, attention: str, device: torch.device) -> nn.Module:
    """Set the attention implementation if the architecture offers a choice."""
    config: Any = getattr(model, "config", None)
    # Fused attention does not cap scores, and older versions of transformers say nothing of it.
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    may_choose = attention == "eager" or (getattr(model, "_supports_sdpa", False) and not capped)
    # Code from elsewhere may know no other names than those of transformers.
    waits = device.type == "cpu" or not type(model).__module__.startswith("transformers.")
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            chosen = attention if may_choose else config._attn_implementation  # noqa: SLF001
            config._attn_implementation = chosen if waits else without_waiting(chosen)  # noqa: SLF001
    return model


def _state_of(source: Source) -> State:
    """The state of all relevant files, including those that do not exist yet."""
    names = ("config.json", "model.safetensors", "model.safetensors.index.json")
    files = {source.folder / name for name in (*names, *TOKENIZER_FILES, *IMAGE_PROCESSOR_FILES)}
    files |= {*source.weight_files, *tokenizer_files(source.folder), *source.folder.glob("*.py")}
    return state_of(sorted(files))


_pool: OrderedDict[tuple[str, str | None, bool], Backbone] = OrderedDict()
_pool_lock = ForkSafeLock(threading.RLock)
#: Held by the thread that makes a backbone; there only as long as a thread needs it.
_making: weakref.WeakValueDictionary[Any, ForkSafeLock] = weakref.WeakValueDictionary()


def get_backbone(
    name: str | os.PathLike[str], revision: str | None = None, trust_remote_code: bool = False
) -> Backbone:
    """The backbone called ``name``, from the pool if it has been loaded already.

    Raises
    ------
    ValueError
        If it cannot be found, or is not stored as safetensors.
    """
    check_reference(name, revision, trust_remote_code)
    key = _key(name, revision, trust_remote_code)
    with _pool_lock:
        making = _making.setdefault(key, ForkSafeLock(threading.RLock))
    # Finding one may take as long as a download: only who needs the same one waits for it.
    with making:
        backbone = pooled(name, revision, trust_remote_code)
        if backbone is None:
            backbone = Backbone(resolve(name, revision), trust_remote_code)
        with _pool_lock:
            _pool[key] = backbone
            _pool.move_to_end(key)
            while len(_pool) > MAX_BACKBONES:
                _pool.popitem(last=False)
    return backbone


def pooled(
    name: str | os.PathLike[str], revision: str | None, trust_remote_code: bool
) -> Backbone | None:
    """The backbone called ``name`` if it has been loaded already, and its files are the same."""
    with _pool_lock:
        backbone = _pool.get(_key(name, revision, trust_remote_code))
        return backbone if backbone is not None and backbone.is_current() else None


def _key(name: Any, revision: Any, trust_remote_code: Any) -> tuple[str, Any, bool]:
    local = isinstance(name, str | os.PathLike) and os.path.isdir(name)
    return os.path.abspath(name) if local else str(name), revision, bool(trust_remote_code)


def clear_backbones() -> None:
    """Drop every loaded backbone and the networks that estimators keep with them.

    Fitted estimators stay usable: their next prediction loads the backbone again.

    Examples
    --------
    >>> import sklearn_lntune
    >>> sklearn_lntune.clear_backbones()
    """
    with _pool_lock:
        _pool.clear()


def _start_anew() -> None:
    """Make a forked child load its own backbones and compute in one thread."""
    _pool.clear()
    # The parent's libgomp threads do not exist in the child, and the thread that forked would
    # wait for them for ever in its first product. With a single thread it waits for none.
    torch.set_num_threads(1)


on_fork(_start_anew)
if is_forked_with_torch():
    torch.set_num_threads(1)
