"""A tiny Llama with its tokenizer as a GGUF file, its matrices in 8 bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tiny import TEMPLATE, tiny_config, tiny_model, tiny_tokenizer

BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def save_tiny_gguf(path: Path, *, pre: str | None = None, words: Sequence[str] = ()) -> Any:
    """Write the file; the model that it holds, before rounding to 8 bits.

    pre: how its tokenizer says that it cuts texts. words: further tokens; of two parts with a space between, a merge
    leads to them.
    """
    config = tiny_config(intermediate_size=64)  # blocks of 32
    model = tiny_model(config, attention="eager")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, config.vocab_size, pre, words)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        if name.startswith("model.layers."):
            _, _, number, inner = name.removesuffix(".weight").split(".", 3)
            short = BLOCK[inner]
            if short in heads:
                values = _turned(values, heads[short])
            _add(writer, f"blk.{number}.{short}.weight", values)
        elif name != "lm_head.weight":  # tied
            _add(
                writer,
                {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name],
                values,
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add(writer: Any, name: str, values: np.ndarray) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    if values.ndim == 2:
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, values)


def _turned(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows in the order of llama.cpp's rotary embeddings: pairs beside one another."""
    width = values.shape[0] // heads
    return values.reshape(heads, 2, width // 2, -1).swapaxes(1, 2).reshape(values.shape)


def _add_tokenizer(writer: Any, size: int, pre: str | None, words: Sequence[str]) -> None:
    inner = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(inner["vocab"].items(), key=lambda pair: pair[1])]
    kinds = [
        gguf.TokenType.CONTROL if token in ("<pad>", "<s>", "</s>") else gguf.TokenType.NORMAL for token in tokens
    ]
    tokens += [word.replace(" ", "") for word in words]
    kinds += [gguf.TokenType.NORMAL] * len(words)
    spare = [f"<spare{i}>" for i in range(size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens + spare)
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * len(spare))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in inner["merges"]]
    writer.add_token_merges(merges + [word for word in words if " " in word])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
