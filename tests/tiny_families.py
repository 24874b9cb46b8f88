"""Tiny configs of many families of models: what is computed must not depend on the family."""

from __future__ import annotations

from typing import Any

from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Glm4MoeConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    JambaConfig,
    Lfm2Config,
    MistralConfig,
    MixtralConfig,
    Olmo3Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
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
_NEAR, _FAR, _LINEAR = "sliding_attention", "full_attention", "linear_attention"
_LAYERS = {"head_dim": 8, "sliding_window": 9, "layer_types": [_NEAR, _FAR, _NEAR]}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_EYE = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "head_dim": 8, "layer_types": [_LINEAR, _FAR, _LINEAR],
}  # fmt: skip

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
    "gemma2": Gemma2Config(**SIZES, **_LAYERS),
    "gemma3": Gemma3TextConfig(**SIZES, **_LAYERS),
    "gemma3 that sees": Gemma3Config(
        text_config=SIZES | _LAYERS,
        vision_config=_EYE,
        mm_tokens_per_image=4,
        boi_token_index=5,
        eoi_token_index=6,
        image_token_index=7,
    ),
    "olmo3": Olmo3Config(**SIZES, sliding_window=9, layer_types=[_NEAR, _FAR, _NEAR]),
    "gpt_oss": GptOssConfig(**SIZES, **_LAYERS, num_local_experts=4, num_experts_per_tok=2),
    "mixtral": MixtralConfig(**SIZES, num_local_experts=4, sliding_window=9),
    "glm4_moe": Glm4MoeConfig(**SIZES, **_EXPERTS, head_dim=8, n_routed_experts=4, first_k_dense_replace=1),
    "qwen3_5": Qwen3_5TextConfig(**SIZES, **_DELTA),
    "lfm2": Lfm2Config(**SIZES, layer_types=["conv", _FAR, "conv"]),
    "jamba": JambaConfig(**SIZES, num_experts=2, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8),
    "gpt2": GPT2Config(vocab_size=304, **_GPT2, **_NO_DROPOUT),
    "gpt_neox": GPTNeoXConfig(**_SAME_HEADS),
    "opt": OPTConfig(**_SAME_HEADS, word_embed_proj_dim=32, ffn_dim=48),
}
