"""Prefix and prompt tuning: trained virtual tokens in front of every row, hidden from the rest of the code.

peft adds them to the forward call, which shifts positions, masks and, for prompt tuning, every output, and it
cannot go on from a cache. Here both methods are one thing: keys and values that every row sees in front of its own.
They are put into an empty cache before the first token is read. From outside, the model is as it was: it takes
tokens with positions from 0 and a mask of these tokens, and returns scores for these tokens alone.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import torch
from torch import Tensor

from burnish.models.attention import is_windowed, mask_by_distance, masks_of_kinds, take_plain_attention
from burnish.models.whole import computing


def virtual_tokens(model: Any) -> int:
    """How many trained tokens stand in front of every row, in the model's context; 0 for other methods."""
    config = getattr(model, "peft_config", {}).get("default")
    return int(config.num_virtual_tokens) if config is not None and config.is_prompt_learning else 0


@torch.no_grad()
def start_from_words(model: Any) -> None:
    """Let a prefix begin as the keys and values of words of the vocabulary, drawn at random.

    Random numbers are far from what a layer's keys look like, and a prefix that starts there learns slowly or not at
    all (Li and Liang 2021, section 7.4). Does nothing where layers differ in the shape of their keys.
    """
    from transformers import DynamicCache

    base, encoder = model.get_base_model(), model.prompt_encoder["default"]
    embeddings = base.get_input_embeddings()
    words = torch.randint(0, embeddings.num_embeddings, (1, virtual_tokens(model)), device=embeddings.weight.device)
    cache = DynamicCache()  # without windows, beyond which it would drop the first of them
    base.base_model(input_ids=words, past_key_values=cache, use_cache=True)
    pairs = [states for layer in cache.layers for states in (layer.keys, layer.values)]
    if len({states.shape for states in pairs}) > 1:
        return
    # peft keeps a row a virtual token: layer, key or value, head, width.
    flat = torch.stack([states[0].transpose(0, 1) for states in pairs], dim=1).flatten(1)
    if flat.shape == encoder.embedding.weight.shape:
        encoder.embedding.weight.copy_(flat)


def hide_virtual_tokens(model: Any) -> None:
    """Let a peft model of prefix or prompt tuning be called like its base. Does nothing for other methods.

    The base's attention becomes PyTorch's, which follows any mask: our own (models/attention.py) lays out what rows
    share by itself, and knows of no tokens in front of everything.
    """
    if not virtual_tokens(model):
        return
    take_plain_attention(model.get_base_model())
    model.forward = types.MethodType(_forward, model)


def _forward(
    model: Any,
    input_ids: Tensor,
    *,
    attention_mask: Tensor | dict[str, Tensor] | None = None,
    position_ids: Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = None,
    **options: Any,
) -> Any:
    """input_ids [B, T]; attention_mask: [B, S + T] of tokens that are real, S in the cache, or additive
    [B, 1, T, S + T], or one of these for each kind of layer; position_ids from 0.

    past_key_values: a cache that was empty when this model saw it first, or None. Outputs have T positions. Every
    token sees the virtual ones, in windowed layers too, however far behind they are.
    """
    from transformers import DynamicCache

    rows, columns = input_ids.shape
    count = virtual_tokens(model)
    base = model.get_base_model()
    cache = DynamicCache() if past_key_values is None else past_key_values
    if cache.get_seq_length() == 0:
        for layer, (keys, values) in enumerate(_keys_and_values(model)):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    before = cache.get_seq_length() - count
    if attention_mask is None and before == 0 and is_windowed(base.config):
        place = torch.arange(columns, device=input_ids.device)
        behind = (place[:, None] - place)[None]
        attention_mask = masks_of_kinds(base.config, partial(mask_by_distance, behind, computing(model)))
    if position_ids is None:
        position_ids = torch.arange(before, before + columns, device=input_ids.device)[None]
    out = base(
        input_ids=input_ids,
        attention_mask=_seen_too(attention_mask, count),
        position_ids=position_ids + count,
        past_key_values=cache,
        use_cache=True,
        **options,
    )
    if use_cache is False:
        out.past_key_values = None
    return out


def _seen_too(mask: Any, count: int) -> Any:
    """The mask with `count` columns in front that every token sees: 1 where it says what is real, 0 where it adds."""
    if mask is None:
        return None
    if isinstance(mask, dict):
        return {kind: _seen_too(inner, count) for kind, inner in mask.items()}
    return torch.nn.functional.pad(mask, (count, 0), value=0 if mask.dim() == 4 else 1)


def _keys_and_values(model: Any) -> list[tuple[Tensor, Tensor]]:
    """Of the virtual tokens, for each layer [1, kv_heads, virtual, head_dim], with gradients to what is trained.

    Prefix tuning trains them (Li and Liang 2021, equation 3). Prompt tuning trains embeddings (Lester et al. 2021,
    section 2), which the base reads here like any token: with causal attention what follows changes nothing in them.
    """
    from transformers import DynamicCache

    base, config = model.get_base_model(), model.peft_config["default"]
    dtype = base.get_input_embeddings().weight.dtype
    if config.peft_type == "PREFIX_TUNING":
        # A row a virtual token, as start_from_words has it; peft's own cache drops what is beyond a window.
        table = model.prompt_encoder["default"].embedding.weight.to(dtype)
        states = table.view(len(table), 2 * config.num_layers, config.num_attention_heads, -1).permute(1, 2, 0, 3)
        return list(zip(states[0::2, None], states[1::2, None], strict=True))
    cache = DynamicCache()
    embeddings = model.get_prompt(batch_size=1).to(dtype)
    base.base_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)  # the head has no part in it
    return [(layer.keys, layer.values) for layer in cache.layers]
