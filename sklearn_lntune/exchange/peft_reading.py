"""Read LN_TUNING and LORA adapters in peft's format, without peft."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load  # NumPy knows no bfloat16

from sklearn_lntune.backbone.anatomy import Place
from sklearn_lntune.backbone.matching import folder_of
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.pooling_and_length import resolve_max_length
from sklearn_lntune.backbone.where import BackboneRef
from sklearn_lntune.checks import check_number
from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.exchange.peft_form import CONFIG, ROOT, WEIGHTS, base_prefix
from sklearn_lntune.network import Network, build_network
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.persistence.untrusted import parse_json_object, read_regular
from sklearn_lntune.task.labels import check_labels
from sklearn_lntune.tuning.base import TuningMethod
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.lora import TARGETS, LoraTuning
from sklearn_lntune.tuning.registry import as_plain

#: Settings of peft that change the computation in ways that our methods do not support.
_UNREADABLE = (
    "use_dora",
    "bias",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "use_qalora",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
)
#: Settings that are read, which may be missing.
_KINDS: dict[str, type] = {
    "peft_type": str,
    "base_model_name_or_path": str,
    "revision": str,
    "use_rslora": bool,
}
#: Supported initialisations of LoRA; others change the frozen matrices as well.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


def read_peft(
    folder: Path,
    classes: Any,
    ref: BackboneRef,
    *,
    max_length: Any,
) -> tuple[tuple[TuningMethod, ...], FittedState]:
    """Tuning methods and fitted state of the adapter in ``folder``.

    Raises
    ------
    ValueError
        If it is of another kind than LN_TUNING and LORA, adapts what our methods cannot,
        or does not fit the backbone or the number of ``classes``.
    """
    backbone = get_backbone(ref.name, ref.revision, ref.trust_remote_code)
    methods, delta = _read_delta(folder, backbone)
    heads = [value for key, value in delta.items() if key.startswith("head/") and value.ndim == 2]
    if not heads:
        raise ValueError(
            f"{folder} has no classification head; it is not the adapter of a classifier."
        )
    network, n_outputs = _fitting_network(backbone, methods, delta, {len(v) for v in heads})
    labels = np.arange(n_outputs) if classes is None else check_labels(classes, "classes")
    if len(labels) != n_outputs or len(set(labels.tolist())) != n_outputs:
        raise ValueError(
            f"classes must name the {n_outputs} outputs of the adapter's head, each once; got "
            f"{labels.tolist()[:20]}."
        )
    # The labels of a classifier are sorted, so the rows of its last layer are reordered to match.
    order = np.argsort(labels)
    last = {id(weight) for weight in network.head.parameters()}
    for key, weight in network.learnt.items():
        if id(weight) in last:
            delta[key] = delta[key][order]
    return methods, FittedState(
        backbone=backbone.identity(ref.name, folder_of(ref.name)),
        tuning=as_plain(methods),
        pooling="native",
        max_length=resolve_max_length(backbone, max_length),
        delta=delta,
        embedding_size=network.embedding_size,
        log=[],
        n_steps=0,
        n_epochs=0,
        target_state={"classes": labels[order]},
    )


def _fitting_network(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    delta: Mapping[str, np.ndarray],
    sizes: set[int],
) -> tuple[Network, int]:
    """The network with ``delta``, and its number of outputs: one of ``sizes``."""
    errors = []
    for n_outputs in sorted(size for size in sizes if size > 1):
        try:
            network = build_network(
                backbone,
                methods,
                "native",
                n_outputs,
                [delta],
                dtype=torch.float32,
                device=torch.device("cpu"),
                attention="eager",
                generator=torch.Generator(),
            )
        except ValueError as error:
            errors.append(str(error))
        else:
            return network, n_outputs
    why = errors[0] if errors else "its head has fewer than two outputs"
    raise ValueError(f"the adapter does not fit {backbone.source.name!r}: {why}")


def _read_delta(
    folder: Path, backbone: Backbone
) -> tuple[tuple[TuningMethod, ...], dict[str, np.ndarray]]:
    config = read_config(folder)
    prefix = base_prefix(backbone)
    weights = {
        key.removeprefix(ROOT).removeprefix(prefix): (key.startswith(ROOT + prefix), value)
        for key, value in _read_weights(folder / WEIGHTS).items()
    }
    norm_paths = {norm.path for norm in backbone.anatomy.norms}
    delta: dict[str, np.ndarray] = {}
    for key, (in_backbone, value) in weights.items():
        path, _, name = key.rpartition(".")
        term = "gain" if name == "weight" else name
        norm = path.removesuffix(".ln_tuning_layers")
        if not in_backbone:
            delta[f"head/{path}/{name}"] = value
        elif norm in norm_paths:
            delta[f"layernorm/{norm}/{term}"] = value
        elif path.endswith((".lora_A", ".lora_B")):
            delta[f"lora/{path[:-7]}/{path[-1]}"] = value
        elif path.partition(".")[0] == "pooler":
            delta |= _read_pooler(backbone, prefix, path, name, value)
        else:
            raise ValueError(f"{folder}: {key!r} is nothing that a tuning method here can hold.")
    methods: list[TuningMethod] = []
    kinds = {key.partition("/")[0] for key in delta}
    if "layernorm" in kinds:
        methods.append(_layernorm(backbone, delta))
    if "lora" in kinds:
        methods.append(_lora(backbone, delta, config))
    return tuple(methods), delta


def _read_weights(file: Path) -> dict[str, np.ndarray]:
    """The arrays in ``file``, in float32."""
    try:
        tensors = dict(sorted(load(read_regular(file)).items()))  # in the order of the file
    except (SafetensorError, ValueError, OSError, KeyError, RuntimeError) as error:
        raise DamagedFileError(
            f"{file} holds no weights that can be read ({error}). Take a fresh copy; if it came "
            "by git, 'git lfs pull' fetches what a pointer stands for."
        ) from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.dim():
            raise DamagedFileError(f"{file}: {name!r} is not an array of weights.")
        if not tensor.float().isfinite().all():
            raise DamagedFileError(f"{file}: {name!r} has values that are not finite numbers.")
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def _read_pooler(
    backbone: Backbone, prefix: str, path: str, name: str, value: np.ndarray
) -> dict[str, np.ndarray]:
    """A pooler in the adapter: part of the head, or a copy of the frozen one."""
    frozen = backbone.model(torch.float32, torch.device("cpu"))
    if getattr(frozen, "pooler", None) is None:
        return {f"head/{prefix}{path}/{name}": value}
    own = dict(frozen.named_parameters()).get(f"{path}.{name}")
    if own is None or not np.array_equal(own.detach().numpy(), value):
        raise ValueError(f"the adapter trains {path!r}, which no tuning method here can hold.")
    return {}


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it is of a kind that can be read here."""
    file = folder / CONFIG
    if not file.is_file():
        raise ValueError(f"{folder} holds no {CONFIG}: it is not an adapter written by peft.")
    try:
        config = parse_json_object(read_regular(file))
        _check_settings(config)
    except (ValueError, OSError) as error:
        raise DamagedFileError(f"{file} is not a peft configuration: {error}.") from error
    if not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"{folder} holds no {WEIGHTS}. Other weight formats can run code when they are opened "
            "and are not read; save the adapter again with safetensors."
        )
    kind = config.get("peft_type")
    odd = [name for name in _UNREADABLE if config.get(name) not in (None, False, {}, [], "none")]
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        odd.append(f"init_lora_weights={config['init_lora_weights']!r}")
    if kind not in ("LN_TUNING", "LORA") or odd:
        raise ValueError(
            f"{folder}: a {kind} adapter{f' with {odd}' if odd else ''} cannot be read; plain "
            "LN_TUNING and LORA adapters can."
        )
    return config


def _check_settings(config: Mapping[str, Any]) -> None:
    """Raise a ValueError if a setting that is read here is of the wrong kind."""
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind | None):
            raise ValueError(f"{name} is {str(config[name])[:40]!r}")
    if config.get("peft_type") == "LORA":
        check_number("r", config.get("r"), integer=True, low=1)
        check_number("lora_alpha", config.get("lora_alpha"), open_low=True)


def _layernorm(backbone: Backbone, delta: Mapping[str, np.ndarray]) -> LayerNormTuning:
    paths = _paths(delta, "layernorm")
    sites, layers = _where(backbone, backbone.anatomy.norms, paths)
    whole = len(paths) == len(backbone.anatomy.norms)
    method = LayerNormTuning() if whole else LayerNormTuning(sites=sites, layers=layers)
    return _same(method, backbone, paths, "norms")


def _lora(
    backbone: Backbone, delta: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> LoraTuning:
    paths = _paths(delta, "lora")
    chosen = {linear for linear in backbone.anatomy.linears if linear.path in paths}
    places = {(linear.site, linear.role) for linear in chosen}
    targets = tuple(target for target, meant in TARGETS.items() if places & set(meant))
    _, layers = _where(backbone, backbone.anatomy.linears, paths)
    rank, alpha = config["r"], float(config["lora_alpha"])
    if config.get("use_rslora"):
        alpha *= math.sqrt(rank)
    method = LoraTuning(rank, alpha=alpha, targets=targets, layers=layers)
    return _same(method, backbone, paths, "linear layers")


def _paths(delta: Mapping[str, np.ndarray], method: str) -> set[str]:
    return {
        name.removeprefix(method + "/").rpartition("/")[0]
        for name in delta
        if name.startswith(method + "/")
    }


def _where(
    backbone: Backbone, places: tuple[Place, ...], paths: set[str]
) -> tuple[tuple[str, ...], Any]:
    """Sites and blocks of the ``places`` at ``paths``."""
    chosen = [place for place in places if place.path in paths]
    blocks = sorted({place.block for place in chosen if place.block is not None})
    sites = tuple(dict.fromkeys(place.site for place in chosen))
    every = len(blocks) == backbone.anatomy.n_blocks
    return sites, "all" if every or not blocks else blocks


def _same(method: Any, backbone: Backbone, paths: set[str], what: str) -> Any:
    found = {array.path for array in method.arrays(backbone.anatomy)}
    if found != paths:
        raise ValueError(
            f"the adapter's choice of {what} has no form here: sites and layers that hold "
            f"{sorted(paths)[:3]} also hold {sorted(found - paths)[:3]}."
        )
    return method
