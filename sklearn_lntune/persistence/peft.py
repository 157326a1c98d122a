"""peft's files, written and read without peft: LN_TUNING and LORA adapters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from sklearn_lntune.backbone.anatomy import Place
from sklearn_lntune.backbone.pool import Backbone, get_backbone
from sklearn_lntune.backbone.usage import resolve_max_length
from sklearn_lntune.network import Network, build_network
from sklearn_lntune.persistence.native_model import check_native, learnt_by
from sklearn_lntune.persistence.peft_prefix import peft_prefix
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.task.one_label import check_labels
from sklearn_lntune.tuning.base import TuningMethod
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.lora import TARGETS, LoraTuning
from sklearn_lntune.tuning.names import as_plain, from_plain

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ROOT = "base_model.model."
_TERMS = {"gain": "weight", "bias": "bias"}


def write_peft(folder: Path, backbone: Backbone, state: FittedState) -> None:
    """Write the delta of ``state`` as an adapter of peft's.

    Raises
    ------
    ValueError
        If peft has no adapter that computes the same.
    """
    from safetensors.numpy import save_file

    check_native(state, "export_peft")
    methods = {method.name: method for method in from_plain(state.tuning)}
    kinds = set(methods)
    if not kinds or (kinds - {"layernorm", "lora"} and kinds != {"prefix"}):
        raise ValueError(
            f"export_peft: peft has no adapter for tuning={sorted(kinds) or 'head'}. It can hold "
            "'layernorm', 'lora', 'layernorm+lora', and 'prefix' on some architectures. Use "
            "save(), which holds any classifier, or export_transformers() where the values can be "
            "merged."
        )
    if kinds == {"prefix"}:
        embeddings, config = peft_prefix(backbone, state)
        weights = {"prompt_embeddings": embeddings} | _head(state, "base_model.")
        config["peft_type"] = "PREFIX_TUNING"
    elif kinds == {"layernorm"}:
        weights, config = _ln_tuning(backbone, state)
    else:
        lora = methods["lora"]
        assert isinstance(lora, LoraTuning)
        weights, config = _lora_with_norms(backbone, state, lora)
    # The head's modules, and with LoRA the norms beside it.
    weights |= _pooler(backbone, state, "base_model." if kinds == {"prefix"} else _ROOT)
    saved = {_saved_module(path, base_prefix(backbone)) for path in learnt_by(state, "head")}
    if _lacks_pooler(backbone, state):
        saved.add(base_prefix(backbone) + "pooler")
    config["modules_to_save"] = sorted({*saved, *config.get("modules_to_save", [])})
    config |= {
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(state.backbone["name"]),
        "revision": state.backbone["revision"],
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: np.ascontiguousarray(value) for key, value in weights.items()}
    save_file(arrays, folder / WEIGHTS)
    text = json.dumps(config, indent=1, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", "utf-8")


def _head(state: FittedState, root: str) -> dict[str, np.ndarray]:
    """The head's arrays by their names in an adapter."""
    return {root + key.replace("/", "."): value for key, value in learnt_by(state, "head").items()}


def _saved_module(path: str, prefix: str) -> str:
    """The module that peft keeps whole for the head's array ``path``."""
    module = path.partition("/")[0]
    return module if module.startswith(prefix) else module.partition(".")[0]


def _lacks_pooler(backbone: Backbone, state: FittedState) -> bool:
    """Whether the backbone's pooler is not in its files: peft would draw one of its own."""
    frozen = backbone.model(torch.float32, torch.device("cpu"))
    own = any(".pooler" in path for path in learnt_by(state, "head"))
    there = getattr(frozen, "pooler", None) is not None
    return there and not own and not any("pooler" in name for name in backbone.stored_names)


def _pooler(backbone: Backbone, state: FittedState, root: str) -> dict[str, np.ndarray]:
    """The frozen pooler, where it is not in the backbone's files."""
    if not _lacks_pooler(backbone, state):
        return {}
    pooler = backbone.model(torch.float32, torch.device("cpu")).get_submodule("pooler")
    start = f"{root}{base_prefix(backbone)}pooler."
    return {start + name: weight.numpy() for name, weight in pooler.named_parameters()}


def _ln_tuning(
    backbone: Backbone, state: FittedState
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    prefix, weights = base_prefix(backbone), _head(state, _ROOT)
    norms = _norms(backbone, state)
    for path, terms in norms.items():
        for term, value in terms.items():
            weights[f"{_ROOT}{prefix}{path}.ln_tuning_layers.{_TERMS[term]}"] = value
    targets = [prefix + path for path in norms]
    return weights, {"peft_type": "LN_TUNING", "target_modules": targets}


def _lora_with_norms(
    backbone: Backbone, state: FittedState, lora: LoraTuning
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """LoRA; tuned norms go along as whole modules."""
    prefix, weights = base_prefix(backbone), _head(state, _ROOT)
    learnt, norms = learnt_by(state, "lora"), _norms(backbone, state)
    for key, value in learnt.items():
        path, _, name = key.rpartition("/")
        weights[f"{_ROOT}{prefix}{path}.lora_{name}.weight"] = value
    for path, terms in norms.items():
        for term, value in terms.items():
            weights[f"{_ROOT}{prefix}{path}.{_TERMS[term]}"] = value
    return weights, {
        "peft_type": "LORA",
        "r": int(lora.rank),
        "lora_alpha": lora.alpha,
        "target_modules": sorted({prefix + key.rpartition("/")[0] for key in learnt}),
        "modules_to_save": [prefix + path for path in norms],
        "bias": "none",
    }


def _norms(backbone: Backbone, state: FittedState) -> dict[str, dict[str, np.ndarray]]:
    """Gain and bias of each tuned norm; peft always holds both."""
    frozen = backbone.model(torch.float32, torch.device("cpu"))
    norms: dict[str, dict[str, np.ndarray]] = {}
    learnt = learnt_by(state, "layernorm")
    for path in dict.fromkeys(key.rpartition("/")[0] for key in learnt):
        module = frozen.get_submodule(path)
        norms[path] = {
            term: learnt.get(f"{path}/{term}", module.get_parameter(name).numpy())
            for term, name in _TERMS.items()
            if getattr(module, name, None) is not None
        }
    return norms


def base_prefix(backbone: Backbone) -> str:
    """What stands before a path of the backbone in the model's own classifier."""
    model = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(backbone.config)]
    return f"{model.base_model_prefix}."


def read_peft(
    folder: Path,
    classes: Any,
    name: Any,
    *,
    revision: str | None,
    trust_remote_code: bool,
    max_length: Any,
) -> tuple[tuple[TuningMethod, ...], FittedState]:
    """Tuning methods and fitted state of the adapter in ``folder``.

    Raises
    ------
    ValueError
        If it is of another kind than LN_TUNING and LORA, adapts what our methods cannot,
        or does not fit the backbone ``name`` or the number of ``classes``.
    """
    backbone = get_backbone(name, revision, trust_remote_code)
    methods, delta = _read_delta(folder, backbone)
    heads = [value for key, value in delta.items() if key.startswith("head/") and value.ndim == 2]
    if not heads:
        raise ValueError(f"{folder} has no classification head; it is no classifier's adapter.")
    network, n_outputs = _fitting_network(backbone, methods, delta, {len(v) for v in heads})
    labels = np.arange(n_outputs) if classes is None else check_labels(classes, "classes")
    if len(labels) != n_outputs or len(set(labels.tolist())) != n_outputs:
        raise ValueError(
            f"classes must name the {n_outputs} outputs of the adapter's head, each once; got "
            f"{labels.tolist()[:20]}."
        )
    # The labels of a classifier are sorted: the rows of its last layer are turned to match.
    order = np.argsort(labels)
    last = {id(weight) for weight in network.head.parameters()}
    for key, weight in network.learnt.items():
        if id(weight) in last:
            delta[key] = delta[key][order]
    return methods, FittedState(
        backbone=backbone.identity,
        tuning=as_plain(methods),
        pooling="native",
        max_length=resolve_max_length(backbone, max_length),
        classes=labels[order],
        delta=delta,
        embedding_size=network.embedding_size,
        log=[],
        n_steps=0,
        n_epochs=0,
    )


def _fitting_network(
    backbone: Backbone,
    methods: tuple[TuningMethod, ...],
    delta: Mapping[str, np.ndarray],
    sizes: set[int],
) -> tuple[Network, int]:
    """The network with ``delta``, and its number of outputs: one of ``sizes``."""
    errors = []
    for n_outputs in sorted(sizes - {1}):
        network = build_network(
            backbone,
            methods,
            "native",
            n_outputs,
            dtype=torch.float32,
            device=torch.device("cpu"),
            attention="eager",
            generator=torch.Generator(),
        )
        try:
            network.load_delta(delta)
        except ValueError as error:
            errors.append(str(error))
        else:
            return network, n_outputs
    why = errors[0] if errors else "its head has one output, and a classifier needs two"
    raise ValueError(f"the adapter does not fit {backbone.source.name!r}: {why}")


def _read_delta(
    folder: Path, backbone: Backbone
) -> tuple[tuple[TuningMethod, ...], dict[str, np.ndarray]]:
    from safetensors.torch import load_file  # NumPy knows no bfloat16

    config = read_config(folder)
    prefix = base_prefix(backbone)
    weights = {
        key.removeprefix(_ROOT).removeprefix(prefix): (
            key.startswith(_ROOT + prefix),
            tensor.float().numpy(),
        )
        for key, tensor in load_file(folder / WEIGHTS).items()
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


def _read_pooler(
    backbone: Backbone, prefix: str, path: str, name: str, value: np.ndarray
) -> dict[str, np.ndarray]:
    """A pooler that the adapter holds: part of the head, or the frozen one over again."""
    frozen = backbone.model(torch.float32, torch.device("cpu"))
    if getattr(frozen, "pooler", None) is None:
        return {f"head/{prefix}{path}/{name}": value}
    own = frozen.get_submodule(path).get_parameter(name).numpy()
    if not np.array_equal(own, value.astype(np.float32)):
        raise ValueError(f"the adapter trains {path!r}, which no tuning method here can hold.")
    return {}


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it is of a kind that can be read here."""
    file = folder / CONFIG
    if not file.is_file():
        raise ValueError(f"{folder} holds no {CONFIG}: it is no adapter written by peft.")
    config: dict[str, Any] = json.loads(file.read_text("utf-8"))
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


#: Settings of peft's that change the arithmetic in ways our methods do not know.
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


#: How LoRA may have begun; others change the frozen matrices as well.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


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
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
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
