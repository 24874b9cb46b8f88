"""One forward pass: losses at the labelled positions only, the shared prefix computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.models.attention import pack, supports_prefix
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
        inputs, labelled = self._inputs(batch)
        if self.fused:
            hidden: list[Tensor] = []

            def take(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
                hidden.append(arguments[0][labelled])
                return (arguments[0][:1, :1],)

            self._run(inputs, take)
            return linear_cross_entropy(hidden[0], self._head.weight, batch.targets_N)

        def select(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            return (arguments[0][labelled],)

        logits_NV = self._run(inputs, select)
        return torch.nn.functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none")

    def _inputs(self, batch: Batch) -> tuple[dict[str, Any], tuple[Tensor, Tensor]]:
        """The model's arguments, and where in its hidden states the labelled positions are."""
        rows, columns = batch.tokens_BT.shape
        device = batch.tokens_BT.device
        places = torch.arange(columns, device=device)
        if not supports_prefix(self._model):
            assert batch.prefix_P is None, "this model's attention knows no shared prefix"
            return {"input_ids": batch.tokens_BT, "position_ids": places[None]}, (batch.rows_N, batch.columns_N)
        prefix_P = batch.tokens_BT.new_empty(0) if batch.prefix_P is None else batch.prefix_P
        prefix = len(prefix_P)
        layout = pack(prefix, rows, columns, self._head.weight)
        inputs = {
            "input_ids": torch.cat([prefix_P, batch.tokens_BT.flatten()])[None],
            "position_ids": torch.cat([torch.arange(prefix, device=device), (prefix + places).repeat(rows)])[None],
            "attention_mask": layout.row_mask,  # four axes: transformers makes none of its own
            "packed": layout,
        }
        return inputs, (torch.zeros_like(batch.rows_N), prefix + batch.rows_N * columns + batch.columns_N)

    def _run(self, inputs: dict[str, Any], at_head: Any) -> Tensor:
        """The model's scores, its head being given what at_head returns."""
        hook = self._head.register_forward_pre_hook(at_head)
        try:
            logits: Tensor = self._model(**inputs, use_cache=False).logits
        finally:
            hook.remove()
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
