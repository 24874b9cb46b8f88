"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from burnish.models.layout import Labelled, Span, lay_out, token_budget_parts
from burnish.models.load import Loaded
from burnish.models.token_losses import TokenLosses

Pair = tuple[Sequence[int], Sequence[int]]  # prompt and continuation


def loglikelihoods(
    loaded: Loaded,
    requests: Sequence[Pair],
    *,
    tokens_per_batch: int = 8192,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Natural logarithm of each continuation's probability given its prompt: Σ_t log p(token t | all before it).

    requests: token ids of prompt (at least one) and continuation; an empty continuation has log-probability 0.
    tokens_per_batch: budget of one forward pass, what requests share counted once.
    """
    given = [
        Labelled((*prompt, *answer), (Span(len(prompt), len(prompt) + len(answer)),)) for prompt, answer in requests
    ]
    wanted = [i for i, (_, answer) in enumerate(requests) if answer]
    sums = sequence_logprobs(
        loaded.model, [given[i] for i in wanted], tokens_per_batch=tokens_per_batch, on_progress=on_progress
    )
    found = dict(zip(wanted, sums, strict=True))
    return [found.get(i, 0.0) for i in range(len(requests))]


@torch.no_grad()
def sequence_logprobs(
    model: Any,
    sequences: Sequence[Labelled],
    *,
    tokens_per_batch: int = 8192,
    share: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Σ weight · log p over the labelled tokens of each sequence, without gradients and without dropout."""
    training = model.training
    model.eval()
    token_losses = TokenLosses(model)
    device = str(model.get_output_embeddings().weight.device)
    found = [0.0] * len(sequences)
    done = 0
    try:
        for part in token_budget_parts(
            [[sequence] for sequence in sequences], tokens_per_batch, how=token_losses.how, share=share
        ):
            batch = lay_out([sequences[i] for i in part], how=token_losses.how, share=share, device=device)
            losses_N = token_losses(batch).double() * batch.weights_N
            sums = torch.zeros(len(part), dtype=torch.float64, device=losses_N.device)
            sums.index_add_(0, batch.sequences_N, losses_N)
            for i, value in zip(part, (-sums).tolist(), strict=True):
                found[i] = value
            done += len(part)
            if on_progress:
                on_progress(done, len(sequences))
    finally:
        model.train(training)
    return found
