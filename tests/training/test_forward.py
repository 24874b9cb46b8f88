"""The shared prefix and the labelled positions change nothing but the time."""

from __future__ import annotations

import pytest
import torch
from helpers_training import lora_model, rows, settings

from burnish.models.generate import Engine, Request
from burnish.models.load import Loaded
from burnish.training.batches import collate, micro_batches
from burnish.training.forward import labelled_logits
from burnish.training.objectives.sft import sft_loss


def gradients(model, made, *, share, budget=10**6):
    model.zero_grad(set_to_none=True)
    normaliser = sum(row.weight * row.labelled for row in made)
    total = 0.0
    for part in micro_batches(made, budget):
        batch = collate(part, share=share, device="cpu")
        loss = sft_loss(labelled_logits(model, batch), batch.targets_N, batch.weights_N, normaliser)
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain(model, made):
    """The textbook way: whole rows one at a time, transformers' own loss, no batching."""
    model.zero_grad(set_to_none=True)
    normaliser = sum(row.labelled for row in made)
    total = 0.0
    for row in made:
        tokens = torch.tensor([row.tokens])
        labels = tokens.clone()
        labels[0, : row.prompt_length] = -100
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
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
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
    assert_same(gradients(model, made, share=True, budget=128), whole)
    assert len(micro_batches(made, 128)) > 5


def test_no_example_sees_another(trained):
    """A row's logits are the same whatever stands beside it."""
    model, made = trained
    model.eval()
    with torch.no_grad():
        alone = labelled_logits(model, collate(made[:1], share=True, device="cpu"))
        for others in (made[1:4], made[5:9]):
            batch = collate([made[0], *others], share=True, device="cpu")
            assert batch.prefix_P is not None
            beside = labelled_logits(model, batch)[batch.rows_N == 0]
            torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)
    model.train()


def test_weights_scale_an_examples_share():
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([1, 2, 3])
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    loss = sft_loss(logits, targets, torch.tensor([2.0, 0.0, 1.0]), 3.0)
    assert float(loss) == pytest.approx(float(2 * each[0] + each[2]) / 3)


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
    requests = [Request(row.tokens[: row.prompt_length], 6) for row in made]
    assert len(Engine(loaded, chat).generate(requests)) == 8
