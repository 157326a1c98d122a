"""Find out which stored tensors a backbone consists of, and digest them.

Files contain more than the encoder (the head of another task, a decoder, buffers that are
recomputed), and names vary: ``bert.encoder...`` or ``encoder...``, ``gamma`` or ``weight``,
three matrices or one. transformers implements all of these rules. So instead of repeating
them, we let it load marks: tensors whose values are the numbers of the stored tensors. The
marks in each loaded weight then tell which stored tensors it comes from.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from sklearn_lntune.backbone.digests import State, digest_of, state_of
from sklearn_lntune.backbone.loading import encoder_of, quiet, without_memory
from sklearn_lntune.backbone.resolve import Source
from sklearn_lntune.backbone.safetensors_reader import StoredTensor, stored_tensors

#: The first mark: larger than any initial weight, and float32 is exact for the following numbers.
_FIRST = 1 << 20
_known: dict[tuple[State, bool], dict[str, str | None]] = {}


def weight_digests(source: Source, config: Any, trust_remote_code: bool) -> dict[str, str | None]:
    """SHA-256 of the tensors that are loaded, with their names in the model and types.

    Returns
    -------
    dict
        ``weights`` of the encoder, and ``pooler``, which only some heads read; None if it is
        not in the files.
    """
    files = [source.folder / "config.json", *source.weight_files, *source.folder.glob("*.py")]
    key = state_of(files), trust_remote_code
    if key not in _known:
        stored = sorted(stored_tensors(source.weight_files), key=attrgetter("name"))
        made_of = loaded_from(stored, config, trust_remote_code)
        pooler = {name for name in made_of if "pooler" in name.partition(".")[0]}
        digests = _digests(chain.from_iterable(made_of.values()))
        _known[key] = {
            "weights": _whole_digest(made_of, made_of.keys() - pooler, digests),
            "pooler": _whole_digest(made_of, pooler, digests)
            if any(made_of[name] for name in pooler)
            else None,
        }
    return _known[key]


def loaded_from(
    stored: Sequence[StoredTensor], config: Any, trust_remote_code: bool
) -> dict[str, list[StoredTensor]]:
    """The ``stored`` tensors that each tensor of the encoder is made from.

    If transformers cannot load marks (for quantised weights), all stored tensors count,
    under their own names.
    """
    marks = {
        tensor.name: torch.tensor(
            _FIRST + number,
            dtype=torch.float32 if tensor.kind.startswith(("F", "BF")) else torch.int64,
        ).expand(tensor.shape)  # takes no memory
        for number, tensor in enumerate(stored)
    }
    try:
        with without_memory():
            empty = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
        with quiet(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # they are repeated when the model is loaded
            model = type(empty).from_pretrained(
                None,
                config=config,
                state_dict=marks,
                dtype=torch.float32,
                attn_implementation="eager",
            )
        tensors = encoder_of(model).state_dict()
        return {name: [stored[i] for i in _marks_in(tensor)] for name, tensor in tensors.items()}
    except Exception:
        # An error that also prevents the real weights from loading is reported at that time.
        return {tensor.name: [tensor] for tensor in stored}


def _marks_in(tensor: torch.Tensor) -> list[int]:
    """The numbers of the stored tensors that ``tensor`` was loaded from."""
    # A single expanded mark has only zero strides; tensors joined from several do not.
    some = tensor[tensor >= _FIRST] if any(tensor.stride()) else tensor.flatten()[:1]
    marks = {int(value) for value in some.unique_consecutive().tolist()}  # type: ignore[no-untyped-call]
    return sorted(mark - _FIRST for mark in marks if mark >= _FIRST)


def _digests(tensors: Iterable[StoredTensor]) -> dict[tuple[Path, int], str]:
    """By file and place in it, read in that order."""
    at = {(tensor.file, tensor.start): tensor for tensor in tensors}
    found = {}
    for place in sorted(at):
        digest = hashlib.sha256()
        for chunk in at[place].chunks():
            digest.update(chunk)
        found[place] = digest.hexdigest()
    return found


def _whole_digest(
    made_of: Mapping[str, Sequence[StoredTensor]],
    names: Iterable[str],
    digests: Mapping[tuple[Path, int], str],
) -> str:
    content = {
        name: [[each.kind, each.shape, digests[each.file, each.start]] for each in made_of[name]]
        for name in names
    }
    return digest_of(content)
