"""One forward pass: logits at the labelled positions only, the shared prefix computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.training.batches import Batch


def labelled_logits(model: Any, batch: Batch) -> Tensor:
    """Logits [N, vocabulary] at the batch's labelled positions.

    The output head is given those hidden states alone, so scaling and soft-capping that a model does behind its
    head stay in force. Gradients flow through the prefix's keys and values: the result is that of full rows.
    """
    head = model.get_output_embeddings()

    def select(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        return (arguments[0][batch.rows_N, batch.columns_N],)

    extra: dict[str, Any] = {}
    start = 0
    if batch.prefix_P is not None:
        extra["shared_prefix"] = prefix_key_values(model, batch.prefix_P)
        start = len(batch.prefix_P)
    width = batch.tokens_BT.shape[1]
    positions = torch.arange(start, start + width, device=batch.tokens_BT.device)[None]
    hook = head.register_forward_pre_hook(select)
    try:
        out = model(input_ids=batch.tokens_BT, position_ids=positions, use_cache=False, **extra)
    finally:
        hook.remove()
    logits: Tensor = out.logits
    return logits


def prefix_key_values(model: Any, prefix_P: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer for one sequence, [1, kv_heads, P, head_dim] each, with gradients."""
    from transformers import DynamicCache

    from burnish.models.cache import key_values

    cache = DynamicCache(config=model.config)
    model(input_ids=prefix_P[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    return list(key_values(cache))
