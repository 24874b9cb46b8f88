"""One forward pass: losses at the labelled positions only, the shared prefix computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.training.batches import Batch
from burnish.training.cross_entropy import linear_cross_entropy


class TokenLosses:
    """Batches to token losses, for one model.

    Where the model's scores are its output head's and nothing else (found out by trying), the loss comes straight
    from the hidden states. Models that scale or cap their scores behind the head, or have an adapter on it, compute
    them their own way, at the labelled positions alone. Both give the same numbers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self.fused = self._head_is_all()

    def __call__(self, batch: Batch) -> Tensor:
        """-log probability of each labelled token [N], in float32, with gradients to what is trained.

        They flow through the shared prefix's keys and values too: the result is that of full rows.
        """
        if self.fused:
            hidden: list[Tensor] = []

            def take(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
                hidden.append(arguments[0][batch.rows_N, batch.columns_N])
                return (arguments[0][:1, :1],)

            self._run(batch, take)
            return linear_cross_entropy(hidden[0], self._head.weight, batch.targets_N)

        def select(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            return (arguments[0][batch.rows_N, batch.columns_N],)

        logits_NV = self._run(batch, select)
        return torch.nn.functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none")

    def _run(self, batch: Batch, at_head: Any) -> Tensor:
        """The model's scores, its head being given what at_head returns."""
        extra: dict[str, Any] = {}
        start = 0
        if batch.prefix_P is not None:
            extra["shared_prefix"] = prefix_key_values(self._model, batch.prefix_P)
            start = len(batch.prefix_P)
        width = batch.tokens_BT.shape[1]
        positions = torch.arange(start, start + width, device=batch.tokens_BT.device)[None]
        hook = self._head.register_forward_pre_hook(at_head)
        try:
            out = self._model(input_ids=batch.tokens_BT, position_ids=positions, use_cache=False, **extra)
        finally:
            hook.remove()
        logits: Tensor = out.logits
        return logits

    @torch.no_grad()
    def _head_is_all(self) -> bool:
        """Whether scores are hidden states times the head's weight, on two tokens."""
        if type(self._head) is not torch.nn.Linear or getattr(self._head, "bias", None) is not None:
            return False
        seen: list[Tensor] = []
        hook = self._head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        try:
            tokens = torch.arange(2, device=self._head.weight.device)[None]
            scores = self._model(input_ids=tokens, use_cache=False).logits
        finally:
            hook.remove()
        expected = seen[0] @ self._head.weight.t()
        return bool(torch.allclose(scores.float(), expected.float(), rtol=1e-2, atol=1e-3))


def prefix_key_values(model: Any, prefix_P: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer for one sequence, [1, kv_heads, P, head_dim] each, with gradients."""
    from transformers import DynamicCache

    from burnish.models.cache import key_values

    cache = DynamicCache(config=model.config)
    model(input_ids=prefix_P[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    return list(key_values(cache))
