"""One forward pass: losses at the labelled positions only, what sequences share computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.models.attention import is_windowed, masks_of_kinds, supports_tree, way_of
from burnish.models.cache import keeps_state
from burnish.models.cross_entropy import linear_cross_entropy
from burnish.models.gpu_attention import Packed, Rows, block_mask, flex_works, padded_length
from burnish.models.layout import Batch, How, Labelled, Span, Tree, lay_out, tree_mask
from burnish.models.packed import packed_weight
from burnish.models.padding import rounded_size
from burnish.models.tree_attention import plan_blocks
from burnish.models.whole import computing

TRIED_SCORE = 200.0  # of a token: Gemma 2 caps them at 30


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
        self.how = self._find_way()

    def __call__(self, batch: Batch) -> Tensor:
        """-log probability of each labelled token [N], in float32, with gradients to what is trained.

        They flow through what is shared, too: the result is that of full rows.
        """
        inputs = self._inputs(batch)
        if self.fused:
            hidden: list[Tensor] = []

            def take(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
                hidden.append(arguments[0].flatten(0, 1)[batch.places_N])
                return (arguments[0][:1, :0],)  # one token would already read the whole head

            self._run(inputs, take)
            return linear_cross_entropy(hidden[0], self._head.weight, batch.targets_N, packed_weight(self._head))

        def select(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            return (arguments[0].flatten(0, 1)[batch.places_N],)

        logits_NV = self._run(inputs, select)
        return torch.nn.functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none")

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """The model's arguments: tokens, positions and how attention finds its way in them."""
        inputs: dict[str, Any] = {"input_ids": batch.tokens_RT, "position_ids": batch.positions_RT}
        if self.how == "packed":
            return inputs | _on_gpu(self._model, batch, computing(self._model))
        if batch.tree is None or self.how == "rows":
            return inputs
        if self.how == "tree":
            like, size = computing(self._model), rounded_size(len(batch.tree.tokens))
            plan = plan_blocks(batch.tree, self._model.config.num_attention_heads, like, size)
            # Any mask with four axes: transformers then makes none of its own.
            return _lengthened(batch, size) | {"plan": plan, "attention_mask": like.new_zeros(1, 1, 1, 1)}
        return inputs | {"attention_mask": _masks(self._model, batch.tree)}

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
        """Whether scores are hidden states times the head's weight, on two tokens made large, so that a cap shows."""
        if type(self._head) is not torch.nn.Linear or getattr(self._head, "bias", None) is not None:
            return False
        expected: list[Tensor] = []

        def enlarge(_: torch.nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            scores = arguments[0] @ self._head.weight.t()
            hidden = arguments[0] * (TRIED_SCORE / scores.abs().max()).to(scores.dtype)
            expected.append((hidden @ self._head.weight.t()).float())
            return (hidden,)

        hook = self._head.register_forward_pre_hook(enlarge)
        try:
            tokens = torch.arange(2, device=self._head.weight.device)[None]
            scores = self._model(input_ids=tokens, use_cache=False).logits.float()
        finally:
            hook.remove()
        return bool(torch.allclose(scores, expected[0], rtol=1e-2, atol=1e-2 * TRIED_SCORE))

    @torch.no_grad()
    def _find_way(self) -> How:
        """tree, packed: attention of our own; masked where the model follows a mask and positions; else rows."""
        if supports_tree(self._model):
            return "tree" if way_of(self._model) == "grouped" else "packed"
        if keeps_state(self._model):
            return "rows"
        vocabulary = int(self._head.weight.shape[0])
        shared = tuple(range(1, min(9, vocabulary - 3)))
        trial = [Labelled((*shared, last, last), (Span(1, len(shared) + 2),)) for last in shared[:3]]
        device = str(self._head.weight.device)
        rows, packed = (lay_out(trial, how=how, device=device) for how in ("rows", "masked"))
        training = self._model.training
        self._model.eval()
        try:
            self.how = "rows"
            expected, unmasked = self(rows), self(packed)
            self.how = "masked"
            found = self(packed)
        except (TypeError, ValueError, RuntimeError, IndexError):
            return "rows"
        finally:
            self._model.train(training)
        # A model that ignores the mask gives what it gives without one.
        follows = (found - expected).abs().max() < 0.1 * (unmasked - expected).abs().max()
        return "masked" if follows else "rows"


def _on_gpu(model: Any, batch: Batch, like: Tensor) -> dict[str, Any]:
    """How gpu_attention finds its way, and the tokens where they have to be padded; like: of the model's format."""
    config = model.config
    heads, device = int(config.num_attention_heads), str(like.device)
    window = config.sliding_window if is_windowed(config) else None
    # Any mask with four axes: transformers then makes none of its own, for which it would wait for the GPU.
    unused = like.new_zeros(1, 1, 1, 1)
    if batch.tree is None:
        if window is not None and batch.tokens_RT.shape[1] > window:
            return {}
        return {"plan": Rows(), "attention_mask": unused}
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    if way_of(model) == "flex" and flex_works(device, like.dtype, heads, kv_heads, width):
        longer = _lengthened(batch, padded_length(len(batch.tree.tokens)))
        everything = block_mask(batch.tree, device)
        # Layers name the model's window even where it is switched off.
        masks = {getattr(config, "sliding_window", None): everything, None: everything}
        if window is not None:
            masks[window] = block_mask(batch.tree, device, window)
        return longer | {"plan": Packed(masks), "attention_mask": unused}
    if window is not None:
        return {"attention_mask": _masks(model, batch.tree)}
    return {"plan": plan_blocks(batch.tree, heads, like), "attention_mask": unused}


def _lengthened(batch: Batch, size: int) -> dict[str, Any]:
    """Tokens and positions of a packed batch with padding behind them, to `size` in all."""
    padding = (0, size - batch.tokens_RT.shape[1])
    tokens, positions = (torch.nn.functional.pad(row, padding) for row in (batch.tokens_RT, batch.positions_RT))
    return {"input_ids": tokens, "position_ids": positions}


def _masks(model: Any, tree: Tree) -> Any:
    """The mask of a packed tree, or one for each kind of layer."""
    return masks_of_kinds(model.config, lambda window: tree_mask(tree, computing(model), window))
