"""Each guard is shown the failure that it is there for."""

from __future__ import annotations

import itertools

import pytest
import torch

from burnish.errors import TrainingError
from burnish.models.chat import Chat
from burnish.records import Source
from burnish.training.encode import Encoding, refuse_too_long, tail_item
from burnish.training.guards import MovedGuard, check_labels
from burnish.training.schedule import learning_rate
from helpers_training import lora_model, rows, settings
from tiny import tiny_tokenizer


def cut(row):
    """The row without its last token, its mask along with it."""
    (sequence,) = row.sequences
    return tail_item(sequence.tokens[:-1], sequence.spans[0].first, 1.0, row.source)


def test_good_rows_pass():
    chat = Chat(tiny_tokenizer())
    check_labels(rows(chat), chat)


def test_masked_end_of_turn_is_refused_with_the_tokens_shown():
    chat = Chat(tiny_tokenizer())
    row = rows(chat)[0]
    with pytest.raises(TrainingError, match="end-of-turn token carries no label") as caught:
        check_labels([cut(row)], chat)
    assert "rows.jsonl:1" in str(caught.value)
    assert "</s>" in str(caught.value)


def test_row_without_labels_is_refused():
    chat = Chat(tiny_tokenizer())
    row = rows(chat)[0]
    with pytest.raises(TrainingError, match="no labelled token"):
        check_labels([row._replace(sequences=(row.sequences[0]._replace(spans=()),))], chat)


def test_pad_equal_to_eos_leaves_the_end_of_turn_labelled():
    """Padding is by position: a pad token that is the end of turn takes no label away (trl PR #3091)."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    chat = Chat(tokenizer)
    made = rows(chat)
    check_labels(made, chat)
    from burnish.training.batches import collate

    batch = collate(made[:6], how="tree")
    ends = sum(int(target) == tokenizer.eos_token_id for target in batch.targets_N)
    assert ends == 6
    assert len(batch.targets_N) == sum(row.labelled for row in made[:6])


def test_parameters_that_do_not_move_are_named():
    model, _ = lora_model(settings())
    guard = MovedGuard(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "layers.1.mlp.up_proj.lora_A" not in name:
                parameter.add_(1e-3)
    with pytest.raises(TrainingError, match="1 trainable parameters did not change") as caught:
        guard.check()
    assert "layers.1.mlp.up_proj.lora_A" in str(caught.value)


def test_frozen_parameters_that_move_are_named():
    model, _ = lora_model(settings())
    guard = MovedGuard(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or name.endswith("embed_tokens.weight"):
                parameter.view(-1)[0].add_(1e-3)
    with pytest.raises(TrainingError, match="1 frozen parameters changed"):
        guard.check()


def test_too_long_rows_stop_above_the_share():
    good = [tail_item((1, 2), 1, 1.0, Source("a", i)) for i in range(99)]
    long = [(Source("big.jsonl", 7), 5000)]
    refuse_too_long(Encoding(good, long), max_length=100, max_dropped=0.01)
    with pytest.raises(TrainingError, match="1 of 99 training examples are longer than 100") as caught:
        refuse_too_long(Encoding(good[:98], long), max_length=100, max_dropped=0.01)
    assert "big.jsonl:7" in str(caught.value)
    assert "max_length: 5000" in str(caught.value)
    with pytest.raises(TrainingError):
        refuse_too_long(Encoding([], long), max_length=100, max_dropped=1.0)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_learning_rate(kind):
    rates = [learning_rate(step, 100, peak=1e-3, warmup_ratio=0.1, kind=kind) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * (i + 1) for i in range(10)])
    assert max(rates) == pytest.approx(1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == (1e-3 if kind == "constant" else pytest.approx(0, abs=3e-5))
    assert learning_rate(0, 1, peak=1.0, warmup_ratio=0.0, kind=kind) == 1.0
