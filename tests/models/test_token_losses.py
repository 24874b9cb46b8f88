"""The shared prefix and the labelled positions change nothing but the time."""

from __future__ import annotations

import pytest
import torch

from burnish.models.generate import Engine, Request
from burnish.models.load import Loaded
from burnish.models.token_losses import TokenLosses
from burnish.training.batches import collate, micro_batches
from burnish.training.objectives.sft import sft_loss
from helpers_training import lora_model, rows, settings


def gradients(model, made, *, share, budget=10**6):
    model.zero_grad(set_to_none=True)
    normaliser = sum(row.weight * row.labelled for row in made)
    total = 0.0
    token_losses = TokenLosses(model)
    for part in micro_batches(made, budget, how=token_losses.how, share=share):
        batch = collate(part, how=token_losses.how, share=share)
        loss = sft_loss(token_losses(batch), batch.weights_N, normaliser)
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain(model, made):
    """The textbook way: whole rows one at a time, transformers' own loss, peft's own layers, no batching."""
    fused = {module: module.__dict__.pop("forward") for module in model.modules() if "forward" in module.__dict__}
    assert fused
    try:
        return textbook(model, made)
    finally:
        for module, forward in fused.items():
            module.forward = forward


def textbook(model, made):
    model.zero_grad(set_to_none=True)
    normaliser = sum(row.labelled for row in made)
    total = 0.0
    for row in made:
        (sequence,) = row.sequences
        tokens = torch.tensor([sequence.tokens])
        labels = tokens.clone()
        labels[0, : sequence.spans[0].first] = -100
        loss = model(input_ids=tokens, labels=labels).loss * row.labelled / normaliser
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs, tolerance=1e-5):
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
    assert ours[1].keys() == theirs[1].keys()
    scale = max(float(gradient.norm()) for gradient in theirs[1].values())
    for name, gradient in theirs[1].items():
        assert float((ours[1][name] - gradient).norm()) <= tolerance * max(float(gradient.norm()), 1e-3 * scale), name


@pytest.fixture(scope="module")
def trained():
    """A model whose LoRA matrices are not at their start, where half of all gradients vanish."""
    model, chat = lora_model(settings())
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    model.train()
    return model, rows(chat)


def test_oracle_transformers_loss_and_gradients(trained):
    model, made = trained
    oracle = plain(model, made)
    assert_same(gradients(model, made, share=False), oracle)
    assert_same(gradients(model, made, share=True), oracle)


def test_accumulation_equals_one_large_batch(trained):
    model, made = trained
    whole = gradients(model, made, share=True)
    assert_same(gradients(model, made, share=True, budget=96), whole)
    assert len(micro_batches(made, 96, how="tree")) > 5


def test_no_example_sees_another(trained):
    """A row's losses are the same whatever stands beside it."""
    model, made = trained
    model.eval()
    token_losses = TokenLosses(model)
    with torch.no_grad():
        alone = token_losses(collate(made[:1], how="tree"))
        for others in (made[1:4], made[5:9]):
            batch = collate([made[0], *others], how="tree")
            assert batch.tokens_RT.numel() < batch.tokens
            beside = token_losses(batch)[batch.sequences_N == 0]
            torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)
    model.train()


@pytest.mark.parametrize("change", ["scaled", "capped", "biased"])
def test_scores_that_are_not_the_heads_alone_take_the_models_own_way(trained, change):
    """A model that scales or caps its scores behind the head, or has a bias there, still gives its own loss."""
    model, made = trained
    head = model.get_output_embeddings()
    assert TokenLosses(model).fused
    handle = None
    if change == "biased":
        head.bias = torch.nn.Parameter(torch.full((head.weight.shape[0],), 0.1).cumsum(0), requires_grad=False)
    else:
        shrink = (lambda scores: scores / 3) if change == "scaled" else (lambda scores: 2 * torch.tanh(scores / 2))
        handle = head.register_forward_hook(lambda module, arguments, scores: shrink(scores))
    try:
        assert not TokenLosses(model).fused
        assert_same(gradients(model, made[:6], share=True), plain(model, made[:6]), tolerance=5e-5)
    finally:
        head.bias = None
        if handle is not None:
            handle.remove()


def test_weights_scale_an_examples_share():
    losses = torch.tensor([0.5, 7.0, 1.25])
    assert float(sft_loss(losses, torch.tensor([2.0, 0.0, 1.0]), 3.0)) == pytest.approx((2 * 0.5 + 1.25) / 3)


def test_sdpa_model_without_prefix_support_gives_the_same():
    config = settings()
    ours, chat = lora_model(config)
    theirs, _ = lora_model(config, attention="sdpa")
    made = rows(chat, 8)
    assert_same(gradients(ours, made, share=True), gradients(theirs, made, share=False))


def test_bfloat16_weights_train_and_answer():
    """What `dtype: auto` means on hardware with bfloat16: prefix, LoRA and generation agree on their formats."""
    model, chat = lora_model(settings(), dtype=torch.bfloat16)
    made = rows(chat, 8)
    model.train()
    shared, _ = gradients(model, made, share=True)
    alone, found = gradients(model, made, share=False)
    assert shared == pytest.approx(alone, rel=2e-2)
    assert found
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())
    loaded = Loaded(model, chat.tokenizer, "tiny", "", "cpu", torch.bfloat16)
    requests = [Request(row.sequences[0].tokens[: row.sequences[0].spans[0].first], 6) for row in made]
    assert len(Engine(loaded, chat).generate(requests)) == 8
