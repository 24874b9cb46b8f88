"""Attention as grouped matrix products, with an optional prefix that all rows of a batch share.

On CPU this is faster than the fused kernels at the lengths of instruction data (docs/log.md): keys and values of
grouped-query models are never repeated, and a shared prefix is read once instead of once a row. Its maths is that
of eager attention (Vaswani et al. 2017, equation 1): the softmax runs over prefix and own keys together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

NAME = "burnish"
KeyValues = Sequence[tuple[Tensor, Tensor]]  # a layer each: keys and values, [1, kv_heads, prefix, head_dim]


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prefix: KeyValues | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [B, H, T, D]; key, value [B, K, S, D] with H a multiple of K; mask additive [B or 1, 1, T, S].

    shared_prefix: keys and values that every query sees in full, in front of its own.
    Returns [B, T, H, D] and None (no attention weights).
    """
    B, H, T, D = query.shape
    K, S = key.shape[1], key.shape[2]
    G = H // K
    scale = D**-0.5 if scaling is None else scaling
    grouped = (query * scale).reshape(B, K, G * T, D)
    scores = (grouped @ key.transpose(2, 3)).view(B, K, G, T, S)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, None, :, :S]
    if shared_prefix is None:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        weights = torch.nn.functional.dropout(weights, dropout, module.training)
        out = (weights.view(B, K, G * T, S) @ value).view(B, H, T, D)
        return out.transpose(1, 2), None

    prefix_key, prefix_value = shared_prefix[int(module.layer_idx)]  # type: ignore[arg-type]
    P = prefix_key.shape[2]
    rows = grouped.transpose(0, 1).reshape(K, B * G * T, D)
    prefix_scores = (rows @ prefix_key[0].transpose(1, 2)).view(K, B, G, T, P).transpose(0, 1)
    weights = torch.softmax(torch.cat([prefix_scores, scores], dim=-1), dim=-1, dtype=torch.float32).to(query.dtype)
    weights = torch.nn.functional.dropout(weights, dropout, module.training)
    on_prefix, on_own = weights[..., :P], weights[..., P:]
    from_prefix = (on_prefix.transpose(0, 1).reshape(K, B * G * T, P) @ prefix_value[0]).view(K, B, G * T, D)
    from_own = on_own.reshape(B, K, G * T, S) @ value
    out = (from_prefix.transpose(0, 1) + from_own).reshape(B, H, T, D)
    return out.transpose(1, 2), None


def register() -> None:
    """Make the function known to transformers under NAME; its mask is the additive one of eager attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)


# Model families whose layers pass their keyword arguments through to the attention function and use
# nothing beyond scaling there (no soft-capping, sinks or windows).
_SUPPORTED = {"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "olmo2"}


def supports_prefix(model: Any) -> bool:
    """Whether `shared_prefix` may be passed to this model."""
    return getattr(model.config, "_attn_implementation", "") == NAME


def choose_attention(model: Any, device: str) -> None:
    """Grouped attention on CPU for the families that it is right for, PyTorch's fused kernels elsewhere."""
    config = model.config
    windowed = bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
    if device == "cpu" and config.model_type in _SUPPORTED and not windowed:
        register()
        model.set_attn_implementation(NAME)
    else:
        model.set_attn_implementation("sdpa")
