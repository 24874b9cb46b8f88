"""Shared prefixes in every family of models: losses and gradients are those of whole rows, one by one."""

from __future__ import annotations

import pytest
import torch

from burnish.models.adapters import attach_adapter
from burnish.models.layout import Labelled, Span, lay_out
from burnish.models.token_losses import TokenLosses
from tiny import tiny_model
from tiny_families import TINY

HOW = {
    "llama": "tree",
    "qwen3": "tree",
    "mistral": "tree",
    "phi3": "tree",
    "mistral windowed": "masked",
    "gemma3": "masked",
    "phi": "masked",
    "gpt2": "masked",
    "gemma2": "masked",
    "gemma3 that sees": "masked",
    "gpt_oss": "masked",
    "mixtral": "masked",
    "glm4_moe": "masked",
    "qwen3_5": "rows",
    "lfm2": "rows",
    "jamba": "rows",
}


def sequences():
    """A system prompt for all, a document for some, and answers of two parts."""
    generator = torch.Generator().manual_seed(1)

    def words(count):
        return tuple(torch.randint(3, 304, (count,), generator=generator).tolist())

    system, documents = words(20), [words(14), words(11)]
    rows = [system + document + words(4 + i) + words(5) for document in documents for i in range(3)]
    return [Labelled(row, (Span(len(row) - 5, len(row)), Span(22, 24, 0.5))) for row in rows]


def gradients(model, batches):
    """Summed loss and gradients of the trained parameters, each label with its weight."""
    model.zero_grad(set_to_none=True)
    token_losses = TokenLosses(model)
    total = 0.0
    for batch in batches(token_losses.how):
        loss = (token_losses(batch) * batch.weights_N).sum()
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def textbook(model, rows):
    """One row at a time with transformers' attention and logits."""
    model.set_attn_implementation("eager")
    model.zero_grad(set_to_none=True)
    total = 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row.tokens])).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(row.tokens[1:]), reduction="none")
        loss = sum(span.weight * losses[span.first - 1 : span.last - 1].sum() for span in row.spans)
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", HOW)
def test_oracle_shared_prefixes_give_the_gradients_of_whole_rows(family, method):
    model = tiny_model(TINY[family]).float()
    model = attach_adapter(model, method=method, r=4, alpha=8, seed=1)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    model.train()
    assert TokenLosses(model).how == HOW[family]
    rows = sequences()
    packed = lay_out(rows, how=HOW[family])
    assert HOW[family] == "rows" or packed.tokens_RT.numel() < 0.6 * packed.tokens
    ours = gradients(model, lambda way: [packed])
    apart = gradients(model, lambda way: [lay_out(rows, how=way, share=False)])
    in_rows = gradients(model, lambda way: [lay_out(rows, how="rows")])
    expected = textbook(model, rows)
    for found in (ours, apart, in_rows):
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        assert found[1].keys() == expected[1].keys()
        scale = max(float(gradient.norm()) for gradient in expected[1].values())
        for name, gradient in expected[1].items():
            error = float((found[1][name] - gradient).norm())
            assert error <= 1e-5 * max(float(gradient.norm()), 1e-2 * scale), name


def test_gradient_checkpointing_changes_nothing():
    rows = sequences()
    for family in ("llama", "gemma3"):
        model = attach_adapter(tiny_model(TINY[family]), r=4, alpha=8, seed=1)
        model.train()
        plain = gradients(model, lambda how: [lay_out(rows, how=how)])
        model.activation_checkpointing_enable()
        again = gradients(model, lambda how: [lay_out(rows, how=how)])
        assert again[0] == pytest.approx(plain[0], rel=1e-6)
        for name, gradient in plain[1].items():
            torch.testing.assert_close(again[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_a_model_that_ignores_the_mask_gets_rows(monkeypatch):
    model = tiny_model(TINY["gpt2"])
    real = type(model).forward

    def forgetful(self, *args, attention_mask=None, **kwargs):
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", forgetful)
    assert TokenLosses(model).how == "rows"


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_with_dropout_shared_rows_have_the_expected_gradient_of_rows_apart(family):
    """Rows that share a prefix share what dropout leaves out of it; each by itself is what it would be alone."""
    model = attach_adapter(tiny_model(TINY[family]).float(), r=4, alpha=8, seed=1, dropout=0.5)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    model.train()
    rows, how = sequences(), TokenLosses(model).how
    torch.manual_seed(0)

    def drawn(batch, times):
        """Loss and gradient along some directions, of every draw."""
        found = []
        for _ in range(times):
            loss, gradient = gradients(model, lambda way: [batch])
            parts = [part.flatten() for name, part in sorted(gradient.items()) if "layers.0" in name]
            directions = torch.randn(5, sum(map(len, parts)), generator=torch.Generator().manual_seed(1))
            found.append(torch.cat([torch.tensor([loss]), directions @ torch.cat(parts)]))
        return torch.stack(found).double()

    shared, apart = drawn(lay_out(rows, how=how), 150), drawn(lay_out(rows, how="rows"), 150)
    error = (shared.var(0) / len(shared) + apart.var(0) / len(apart)).sqrt()
    assert ((shared.mean(0) - apart.mean(0)).abs() < 4.5 * error).all()
    model.eval()
    still = drawn(lay_out(rows, how=how), 1)[0]
    assert not ((shared.mean(0) - still).abs() < 4.5 * error).all()  # far enough to be told apart
