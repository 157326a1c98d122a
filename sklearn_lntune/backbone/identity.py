"""The identity of a backbone, independent of its location and of how it was saved.

Anything that cannot change a prediction is left out: how files were written, dropout (the
backbone always runs without), and settings that only other tasks use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sklearn_lntune.backbone.digests import digest_of
from sklearn_lntune.backbone.loading import skeleton
from sklearn_lntune.backbone.resolve import Source
from sklearn_lntune.backbone.trusted_code import code_digest
from sklearn_lntune.backbone.weights import weight_digests

#: Keys of a configuration that change nothing about the vectors of a text.
_SAVING = {
    *("architectures", "attn_implementation", "auto_map", "dtype", "name_or_path"),
    *("tokenizer_class", "torch_dtype", "transformers_version", "transformers_weights"),
}
_OUTPUTS = {
    *("finetuning_task", "id2label", "label2id", "num_labels", "output_attentions"),
    *("output_hidden_states", "problem_type", "return_dict", "task_specific_params"),
    *("torchscript", "use_cache"),
}
_TRAINING = {
    *("activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "cls_dropout", "decoder_layerdrop"),
    *("dropout", "dropout_rate", "embd_pdrop", "embedding_dropout", "encoder_layerdrop"),
    *("gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "layerdrop"),
    *("mlp_dropout", "pooler_dropout", "qa_dropout", "resid_pdrop", "seq_classif_dropout"),
    *("drop_path_rate", "summary_first_dropout", "summary_last_dropout"),
    *("init_std", "initializer_cutoff_factor", "initializer_factor", "initializer_range"),
}
_GENERATION = {
    *("bos_token_id", "chunk_size_feed_forward", "decoder_start_token_id", "eos_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id", "tie_word_embeddings"),
}
_INCIDENTAL = _SAVING | _OUTPUTS | _TRAINING | _GENERATION
#: Longer values are stored as digests.
_LONGEST = 200
#: The parts that each of the two fingerprints is computed from.
_OF_MODEL = ("weights", "pooler", "config", "code")
_OF_TOKENIZER = ("tokenizer_class", "vocabulary", "rules", "tokens")
_OF_IMAGE_PROCESSOR = ("image_processor", "settings", "pixels")


def identity_parts(
    source: Source,
    config: Any,
    made_by: Any,
    input_parts: Mapping[str, Any],
    trust_remote_code: bool,
) -> dict[str, Any]:
    """The parts by name: digests, names of classes, and the configuration as a dict.

    Parameters
    ----------
    source : Source
    config : transformers configuration
    made_by : transformers tokenizer or image processor
        What turns rows into inputs of the model.
    input_parts : mapping
        Its own parts.
    trust_remote_code : bool
    """
    code = None
    if trust_remote_code:
        modules = skeleton(config, trust_remote_code).modules()
        code = code_digest(source.folder, map(type, (config, made_by, *modules)))
    file = source.folder / "config.json"
    return {
        **weight_digests(source, config, trust_remote_code),
        "config": config_part(config.to_dict()),
        "config_file": digest_of(file.read_bytes()),
        "code": code,
        **input_parts,
    }


def fingerprints(parts: Mapping[str, Any]) -> tuple[str, str]:
    """One digest of the model, and one of the tokenizer or image processor."""
    of_input = _OF_IMAGE_PROCESSOR if "image_processor" in parts else _OF_TOKENIZER
    model, made_by = (digest_of([parts[name] for name in names]) for names in (_OF_MODEL, of_input))
    return model, made_by


def config_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that affect the computation, as JSON."""
    # JSON has no infinity, and only strings as keys.
    plain = json.loads(json.dumps(config, default=str), parse_constant=str)
    return {key: _short(value) for key, value in _essential(plain).items()}


def _essential(value: Any) -> Any:
    """``value`` without private and incidental keys, at any depth."""
    if isinstance(value, dict):
        return {
            key: _essential(each)
            for key, each in value.items()
            if not key.startswith("_") and key not in _INCIDENTAL
        }
    return [_essential(each) for each in value] if isinstance(value, list) else value


def _short(value: Any) -> Any:
    """``value``, or its digest if it is long or may be the path of a file."""
    text = json.dumps(value)
    plain = len(text) <= _LONGEST and not {"/", "\\"} & set(text)
    return value if plain else f"sha256:{digest_of(value)}"
