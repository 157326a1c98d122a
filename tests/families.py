"""Tiny random backbones of every architecture family, built from configurations."""

from __future__ import annotations

from typing import Any

VOCABULARY = 120
HIDDEN = 16
LAYERS = 2

_BERT_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_LLAMA_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

#: family -> (name of the configuration class in transformers, its arguments)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _BERT_LIKE),
    "roberta": ("RobertaConfig", _BERT_LIKE | {"pad_token_id": 1}),
    "xlm-roberta": ("XLMRobertaConfig", _BERT_LIKE | {"pad_token_id": 1}),
    "distilbert": (
        "DistilBertConfig",
        {
            "vocab_size": VOCABULARY,
            "dim": HIDDEN,
            "n_layers": LAYERS,
            "n_heads": 2,
            "hidden_dim": 24,
            "max_position_embeddings": 64,
        },
    ),
    "albert": ("AlbertConfig", _BERT_LIKE | {"embedding_size": 8}),
    "electra": ("ElectraConfig", _BERT_LIKE | {"embedding_size": 8}),
    "mpnet": ("MPNetConfig", _BERT_LIKE | {"pad_token_id": 1}),
    "deberta-v2": (
        "DebertaV2Config",
        _BERT_LIKE
        | {
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        "ModernBertConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 64,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    "nomic-bert": ("NomicBertConfig", _BERT_LIKE),
    "esm": (
        "EsmConfig",
        _BERT_LIKE
        | {
            "mask_token_id": 4,
            "position_embedding_type": "rotary",
            "emb_layer_norm_before": True,
            "token_dropout": False,
        },
    ),
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": VOCABULARY,
            "n_embd": HIDDEN,
            "n_layer": LAYERS,
            "n_head": 2,
            "n_positions": 64,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "word_embed_proj_dim": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "ffn_dim": 24,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "gpt-neox": (
        "GPTNeoXConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 64,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "llama": ("LlamaConfig", _LLAMA_LIKE),
    "qwen2": ("Qwen2Config", _LLAMA_LIKE),
    "qwen3": ("Qwen3Config", _LLAMA_LIKE),
    "gemma2": ("Gemma2Config", _LLAMA_LIKE | {"sliding_window": 8, "query_pre_attn_scalar": 4}),
    "mistral": ("MistralConfig", _LLAMA_LIKE | {"sliding_window": 8}),
    "t5": (
        "T5Config",
        {
            "vocab_size": VOCABULARY,
            "d_model": HIDDEN,
            "d_kv": 8,
            "d_ff": 24,
            "num_layers": LAYERS,
            "num_heads": 2,
            "pad_token_id": 0,
            "decoder_start_token_id": 0,
        },
    ),
    "bart": (
        "BartConfig",
        {
            "vocab_size": VOCABULARY,
            "d_model": HIDDEN,
            "encoder_layers": LAYERS,
            "decoder_layers": LAYERS,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        },
    ),
}


def known_families() -> list[str]:
    """The families that the installed transformers has."""
    import transformers

    return [family for family, (name, _) in FAMILIES.items() if hasattr(transformers, name)]


def tiny_config(family: str, **overrides: Any) -> Any:
    """Configuration of a tiny backbone of ``family``."""
    import transformers

    name, arguments = FAMILIES[family]
    return getattr(transformers, name)(**(arguments | overrides))
