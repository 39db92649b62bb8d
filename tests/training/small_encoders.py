"""Encoders of any architecture that transformers classifies texts with, small and with random weights, as folders."""

import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from common.training.encoders.tiny import build_tiny_tokenizer

MOST_PARAMETERS = 20_000_000
TEXTS = [
    "Der Sturm auf der Straße war für alle stark.",
    "Für Öl und Ärger sorgt der Übermut.",
    "Der Ball.",
    "Alle waren stark, und für alle war der Sturm auf der Straße stark; für Öl und Ärger sorgt der Übermut.",
]
# Whatever of these a configuration has is set: the names differ by architecture.
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("num_layers", "num_decoder_layers", "num_experts_per_tok"), 2),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("n_head", "n_heads", "num_heads", "num_key_value_heads"), 4),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner"), 64),
    **dict.fromkeys(("hidden_dim", "d_ff", "d_inner", "dff"), 64),
    **dict.fromkeys(("head_dim", "d_kv", "d_head"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    "moe_intermediate_size": 16,
}
_LATENT = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "q_lora_rank": 8, "kv_lora_rank": 8}
# What an architecture needs beside; None leaves a size as the library has it.
EXTRA = {
    "deepseek_v2": _LATENT,
    "deepseek_v3": {**_LATENT, "head_dim": 8},
    "falcon": {"head_dim": None},
    "funnel": {"num_hidden_layers": None, "block_sizes": [1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "mistral4": {**_LATENT, "head_dim": None},
    "qwen3_5_text": {"num_hidden_layers": 4},
    "qwen3_next": {"num_hidden_layers": 4},
    "reformer": {
        "attention_head_size": 8,
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
    },
    "roc_bert": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10},
    "t5": {"decoder_start_token_id": 0},
    "xlnet": {"max_position_embeddings": None},
}


def save_small_encoder(model_type, folder):
    """Write a small encoder of this type, with an untrained head for two classes, and a cased German tokenizer.

    Raises whatever the library raises where it cannot be built small: its sizes are kept elsewhere.
    """
    tokenizer = build_tiny_tokenizer(TEXTS * 3)
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
    kind = CONFIG_MAPPING[model_type]
    default = kind()
    names = ("pad_token", "bos_token", "eos_token", "cls_token", "sep_token")
    sizes = {
        **SIZES,
        **dict.fromkeys(("vocab_size", "n_words"), len(tokenizer)),
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in names},
        "decoder_start_token_id": tokenizer.cls_token_id,
    }
    extra = EXTRA.get(model_type, {})
    sizes = {name: value for name, value in sizes.items() if hasattr(default, name)} | extra
    config = kind(**{name: value for name, value in sizes.items() if value is not None})
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForSequenceClassification.from_config(config).parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"{parameters:,} parameters")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():  # away from zero biases and unit norms, which would hide differences
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
