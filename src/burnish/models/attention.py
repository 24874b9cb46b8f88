"""Attention as grouped matrix products, with an optional prefix that all rows of a batch share.

On CPU this is faster than the fused kernels at the lengths of instruction data (docs/log.md): keys and values of
grouped-query models are never repeated, and a shared prefix is read once instead of once a row. Its maths is that
of eager attention (Vaswani et al. 2017, equation 1): the softmax runs over prefix and own keys together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from burnish.models.gpu_attention import gpu_attention
from burnish.models.softmax import attention_weights
from burnish.models.tree_attention import Plan, tree_attention

NAME = "burnish"
TILE = 2**20  # scores computed at a time where no gradient is needed: 4 MB in float32, which a cache holds
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
    plan: Plan | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [B, H, T, D]; key, value [B, K, S, D] with H a multiple of K; mask additive [B or 1, 1, T, S].

    shared_prefix: keys and values that every query sees in full, in front of its own.
    plan: the tokens are a packed tree in one row (B is 1), see tree_attention; there is no other mask then.
    Returns [B, T, H, D] and None (no attention weights).
    """
    B, H, T, D = query.shape
    scale = D**-0.5 if scaling is None else scaling
    prefix = None if shared_prefix is None else shared_prefix[int(module.layer_idx)]  # type: ignore[arg-type]
    dropout = dropout if module.training else 0.0
    if plan is not None:
        assert dropout == 0, "a packed tree knows no dropout of attention weights"
        return tree_attention(query, key, value, plan, scale), None
    query = query * scale
    if torch.is_grad_enabled():  # autograd would keep the scores of every tile anyway
        return _attend(query, key, value, attention_mask, prefix, dropout), None
    seen = H * (key.shape[2] + (0 if prefix is None else prefix[0].shape[2]))
    high = max(1, TILE // (seen * T))
    wide = T if high > 1 else max(1, TILE // seen)
    out = query.new_empty(B, T, H, D)
    for row in range(0, B, high):
        rows = slice(row, row + high)
        row_mask = attention_mask if attention_mask is None or len(attention_mask) == 1 else attention_mask[rows]
        for column in range(0, T, wide):
            columns = slice(column, column + wide)
            mask = None if row_mask is None else row_mask[:, :, columns]
            out[rows, columns] = _attend(query[rows, :, columns], key[rows], value[rows], mask, prefix, dropout)
    return out, None


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    prefix: tuple[Tensor, Tensor] | None,
    dropout: float,
) -> Tensor:
    """grouped_attention for a scaled query, all scores at once; prefix: keys and values of this layer."""
    B, H, T, D = query.shape
    K, S = key.shape[1], key.shape[2]
    G = H // K
    grouped = query.reshape(B, K, G * T, D)
    scores = (grouped @ key.transpose(2, 3)).view(B, K, G, T, S)
    if mask is not None:
        scores = scores + mask[:, :, None, :, :S]
    if prefix is None:
        weights = _weights(scores, dropout)
        return (weights.view(B, K, G * T, S) @ value).view(B, H, T, D).transpose(1, 2)

    prefix_key, prefix_value = prefix
    P = prefix_key.shape[2]
    rows = grouped.transpose(0, 1).reshape(K, B * G * T, D)
    prefix_scores = (rows @ prefix_key[0].transpose(1, 2)).view(K, B, G, T, P).transpose(0, 1)
    weights = _weights(torch.cat([prefix_scores, scores], dim=-1), dropout)
    on_prefix, on_own = weights[..., :P], weights[..., P:]
    from_prefix = (on_prefix.transpose(0, 1).reshape(K, B * G * T, P) @ prefix_value[0]).view(K, B, G * T, D)
    from_own = on_own.reshape(B, K, G * T, S) @ value
    return (from_prefix.transpose(0, 1) + from_own).reshape(B, H, T, D).transpose(1, 2)


def _weights(scores: Tensor, dropout: float) -> Tensor:
    weights = attention_weights(scores)
    return torch.nn.functional.dropout(weights, dropout) if dropout else weights


Way = Literal["grouped", "flex", "blocks", "sdpa"]
_NAMES: dict[Way, str] = {"grouped": NAME, "flex": "burnish_flex", "blocks": "burnish_blocks", "sdpa": "sdpa"}

# Model families whose layers pass their keyword arguments through to the attention function and use nothing beyond
# scaling and sliding windows there (no soft-capping or sinks).
_SUPPORTED = {"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "olmo2"}


def best_way(config: Any, device: str) -> Way:
    """How a model's attention is computed on a device ("cpu", "cuda", "mps").

    grouped: on a CPU, matrix products over node after node of a packed tree, sized for its cache; quicker there than
        PyTorch's kernels (docs/log.md). It knows no sliding windows.
    flex: on a GPU, where thousands of small products would be launches and little else: padded rows by flash
        attention where next to nothing is shared, else the packed tree by flex attention, one kernel a layer. Where
        flex attention does not work (models/gpu_attention.py tries it before its first use), as blocks.
    blocks: on a GPU, the same without flex attention: a packed tree node after node with larger products, or, with
        sliding windows, by a mask over all pairs. Never chosen at first; for comparison.
    sdpa: everything else: PyTorch's kernels with transformers' masks. For families that do not pass a plan through
        to their attention, models that drop attention weights, and other devices.
    """
    if config.model_type not in _SUPPORTED:
        return "sdpa"
    if device == "cpu":
        return "sdpa" if is_windowed(config) else "grouped"
    return "flex" if device == "cuda" and not getattr(config, "attention_dropout", 0.0) else "sdpa"


def choose_attention(model: Any, device: str, way: Way | None = None) -> None:
    """Let a model compute its attention in the best way for the device, or in the way given."""
    chosen = way or best_way(model.config, device)
    _register()
    if chosen == "sdpa":
        take_plain_attention(model)
    else:
        model.set_attn_implementation(_NAMES[chosen])


def take_plain_attention(model: Any) -> None:
    """Let a model compute attention by PyTorch's kernels, or as transformers writes it out where they do not serve:
    scores that are capped (Gemma 2), sinks (gpt-oss)."""
    if getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation("sdpa")


def _register() -> None:
    """Make our functions known to transformers, with the masks that they take."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask, sdpa_mask

    for way, name in _NAMES.items():
        if way != "sdpa":
            AttentionInterface.register(name, grouped_attention if way == "grouped" else gpu_attention)
            AttentionMaskInterface.register(name, eager_mask if way == "grouped" else sdpa_mask)


def way_of(model: Any) -> Way:
    """The way that choose_attention has chosen; sdpa for whatever is not ours."""
    name = getattr(model.config, "_attn_implementation", "")
    return next((way for way, known in _NAMES.items() if known == name), "sdpa")


def is_windowed(config: Any) -> bool:
    """Whether some layers see a sliding window only."""
    config = config.get_text_config(decoder=True)
    return bool(getattr(config, "sliding_window", None)) and bool(getattr(config, "use_sliding_window", True))


def masks_of_kinds(config: Any, mask: Callable[[int | None], Tensor]) -> Any:
    """The mask that a model takes, or one for each kind of layer. mask: makes one for a window."""
    config = config.get_text_config(decoder=True)
    window = config.sliding_window if is_windowed(config) else None
    kinds = set(getattr(config, "layer_types", None) or ())
    if "sliding_attention" not in kinds:
        return mask(window if not kinds else None)
    return {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}


def mask_by_distance(behind_BTS: Tensor, like: Tensor, window: int | None) -> Tensor:
    """Additive mask [B, 1, T, S] in the number format of `like`: a token sees itself and what is before it, of both
    the last `window`. behind_BTS: how far each of S tokens is behind each of T; what comes later is below 0."""
    seen = behind_BTS >= 0
    if window is not None:
        seen &= behind_BTS < window
    return like.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))[:, None]


def supports_prefix(model: Any) -> bool:
    """Whether `shared_prefix` may be passed to this model."""
    return way_of(model) == "grouped"


def supports_tree(model: Any) -> bool:
    """Whether `plan` may be passed to this model: its attention is ours and drops no weights."""
    return way_of(model) != "sdpa" and not getattr(model.config, "attention_dropout", 0.0)
