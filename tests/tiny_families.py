"""Tiny configs of many families of models: what is computed must not depend on the family."""

from __future__ import annotations

from typing import Any

from transformers import (
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from tiny import tiny_config

SIZES: dict[str, Any] = {
    "vocab_size": 304, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_SAME_HEADS = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
_GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}
_NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_NEAR, _FAR = "sliding_attention", "full_attention"

TINY: dict[str, Any] = {
    "llama": tiny_config(rope_theta=100.0),
    "llama with biases": tiny_config(attention_bias=True, mlp_bias=True),
    "llama with gelu": tiny_config(hidden_act="gelu"),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral windowed": MistralConfig(**SIZES, sliding_window=7),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "smollm3": SmolLM3Config(**SIZES, no_rope_layers=[1, 0, 1]),
    "granite": GraniteConfig(**SIZES, residual_multiplier=0.3),
    "phi": PhiConfig(**SIZES),
    "phi3": Phi3Config(**SIZES),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=9, layer_types=[_NEAR, _FAR, _NEAR]),
    "gpt2": GPT2Config(vocab_size=304, **_GPT2, **_NO_DROPOUT),
    "gpt_neox": GPTNeoXConfig(**_SAME_HEADS),
    "opt": OPTConfig(**_SAME_HEADS, word_embed_proj_dim=32, ffn_dim=48),
}
