"""Write LN_TUNING, LORA and PREFIX_TUNING adapters in peft's format, without peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.exchange.merged_model import check_native, learnt_by
from sklearn_lntune.exchange.peft_form import CONFIG, ROOT, WEIGHTS, base_prefix
from sklearn_lntune.exchange.peft_prefix import peft_prefix
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.tuning.lora import LoraTuning
from sklearn_lntune.tuning.registry import from_plain

_TERMS = {"gain": "weight", "bias": "bias"}


def write_peft(folder: Path, backbone: Backbone, state: FittedState) -> None:
    """Write the delta of ``state`` as a peft adapter.

    Raises
    ------
    ValueError
        If peft has no adapter that computes the same.
    """
    if state.task.output_scale is not None:
        raise ValueError(
            "export_peft writes classifiers only: a head in an adapter does not tell the unit of "
            "its outputs. Use save(), or export_transformers() where the values can be merged."
        )
    check_native(state, "export_peft")
    if backbone.takes_images:
        raise ValueError(
            "export_peft writes adapters of classifiers of texts, and this one takes images; "
            "export_transformers writes the whole model, and save() any classifier."
        )
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
    # Modules saved whole: the head, the norms with LoRA, and a pooler that peft would initialise.
    prefix, root = base_prefix(backbone), "base_model." if kinds == {"prefix"} else ROOT
    pooler = _lacking_pooler(backbone, state)
    weights |= {f"{root}{prefix}{name}": value for name, value in pooler.items()}
    saved = {_saved_module(path, prefix) for path in learnt_by(state, "head")}
    saved |= {prefix + name.partition(".")[0] for name in pooler}
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


def _lacking_pooler(backbone: Backbone, state: FittedState) -> dict[str, np.ndarray]:
    """The frozen pooler by name, if it is not in the backbone's files."""
    frozen = backbone.model(torch.float32, torch.device("cpu"))
    own = any(".pooler" in path for path in learnt_by(state, "head"))
    stored = any("pooler" in name for name in backbone.stored_names)
    if own or stored or getattr(frozen, "pooler", None) is None:
        return {}
    weights = frozen.get_submodule("pooler").named_parameters(prefix="pooler")
    return {name: weight.numpy() for name, weight in weights}


def _ln_tuning(
    backbone: Backbone, state: FittedState
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    prefix, weights = base_prefix(backbone), _head(state, ROOT)
    norms = _norms(backbone, state)
    for path, terms in norms.items():
        for term, value in terms.items():
            weights[f"{ROOT}{prefix}{path}.ln_tuning_layers.{_TERMS[term]}"] = value
    targets = [prefix + path for path in norms]
    return weights, {"peft_type": "LN_TUNING", "target_modules": targets}


def _lora_with_norms(
    backbone: Backbone, state: FittedState, lora: LoraTuning
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """LoRA; tuned norms are added as whole modules."""
    prefix, weights = base_prefix(backbone), _head(state, ROOT)
    learnt, norms = learnt_by(state, "lora"), _norms(backbone, state)
    for key, value in learnt.items():
        path, _, name = key.rpartition("/")
        weights[f"{ROOT}{prefix}{path}.lora_{name}.weight"] = value
    for path, terms in norms.items():
        for term, value in terms.items():
            weights[f"{ROOT}{prefix}{path}.{_TERMS[term]}"] = value
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
