"""Which rows are looked at: bounded, different, and the same whatever their order."""

from __future__ import annotations

import random

import procedures
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.inspection.sample import LONGEST, Sampler, input_text
from burnish.records import Message


@given(st.lists(st.integers(0, 40), max_size=80), st.integers(1, 30), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_sample_depends_on_content_alone(numbers: list[int], size: int, shuffle: random.Random):
    def kept(rows: list[int]) -> set[str]:
        sampler = Sampler(size, "classification")
        for line, number in enumerate(rows, 1):
            sampler.add(procedures.example(f"text {number}", "a", line))
        sample = sampler.sample()
        assert sample.rows == len(rows)
        assert len(sample.items) == min(size, len(set(rows)))
        return {item.id for item in sample.items}

    mixed = list(numbers)
    shuffle.shuffle(mixed)
    assert kept(numbers) == kept(mixed)


def test_parts_are_sampled_apart_and_places_kept():
    sampler = Sampler(3, "classification")
    for line in range(1, 21):
        sampler.add(procedures.example(f"train {line}", "a", line, "train.jsonl"), "train")
        sampler.add(procedures.example(f"test {line}", "a", line, "test.jsonl"), "test")
    sample = sampler.sample()
    assert (len(sample.part("train")), len(sample.part("test")), sample.rows) == (3, 3, 40)
    assert all(item.text == f"{item.part} {item.source.line}" for item in sample.items)


def test_the_end_of_a_conversation_without_the_system_turn():
    turns = [
        Message("system", "be kind"),
        Message("user", "x" * 5000),
        Message("assistant", "yes"),
        Message("user", "z"),
    ]
    text = input_text(turns)
    assert len(text) == LONGEST
    assert text.endswith("x\nyes\nz")
    assert "kind" not in text
