"""Choosing between two answers: which score, that the labels play no part, and the baseline of lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.config import TaskConfig
from burnish.errors import DataError, ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.chat import Chat
from burnish.progress import Silent
from burnish.records import Example, Message, Source
from burnish.systems.judge import Judge, LongerOrShorter, adapter_off, answer_tokens, score_of
from burnish.tasks import make_task
from burnish.tasks.preference import Preference
from tiny import tiny_loaded, tiny_tokenizer

Tokens = tuple[int, ...]
CHAT = Chat(tiny_tokenizer())


def preference_task() -> Preference:
    task = make_task(
        TaskConfig.model_validate({"name": "t", "kind": "preference", "instruction": "Answer.", "data": "rows.jsonl"})
    )
    assert isinstance(task, Preference)
    return task


TASK = preference_task()


def pair(chosen: str, rejected: str, prompt: str = "the cat sat", id_: str = "1") -> Example:
    target = {"chosen": chosen, "rejected": rejected}
    return Example(id_, (Message("user", prompt),), target, Source("rows.jsonl", 1))


def direct(loaded: Any) -> Any:
    """One forward pass a request: the slow and obvious way."""

    def loglikelihoods(requests: Sequence[tuple[Tokens, Tokens]], tell: Any) -> list[float]:
        found = []
        with torch.no_grad():
            for prompt, answer in requests:
                tokens = torch.tensor([[*prompt, *answer]])
                logs = torch.log_softmax(loaded.model(input_ids=tokens).logits[0].double(), dim=-1)
                places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
                found.append(float(sum(logs[place, token] for place, token in zip(places, answer, strict=True))))
        return found

    return loglikelihoods


def requests_of(chat: Chat, row: Example) -> list[tuple[Tokens, Tokens]]:
    """The chosen answer, then the rejected one."""
    prompt, rejected = TASK.messages(row, full=False), TASK.rejected(row)
    assert rejected is not None
    return [answer_tokens(chat, prompt, answer) for answer in (TASK.answer(row), rejected)]


def by_length(value: Callable[[int], float]) -> Any:
    return lambda requests, tell: [value(len(answer)) for _, answer in requests]


def margins(judge: Any, *examples: Example) -> list[float]:
    return [one.parsed.value["margin"] for one in judge.predict(examples, Silent())]


def test_likelihood_and_average_are_sums_and_means_of_token_logs() -> None:
    loaded, chat = tiny_loaded()
    row = pair("the dog ran to the mat", "sat")
    log = direct(loaded)
    requests = [
        answer_tokens(chat, TASK.messages(row, full=False), m) for m in (TASK.answer(row), TASK.rejected(row))
    ]
    chosen, rejected = log(requests, None)
    assert margins(Judge("a", TASK, chat, log, score="likelihood"), row) == pytest.approx([chosen - rejected])
    lengths = [len(answer) for _, answer in requests]
    average = chosen / lengths[0] - rejected / lengths[1]
    assert margins(Judge("a", TASK, chat, log, score="average"), row) == pytest.approx([average])
    [prediction] = Judge("a", TASK, chat, log).predict([row], Silent())
    assert prediction.parsed.value["chosen_tokens"] == lengths[0]
    assert prediction.parsed.value["rejected_tokens"] == lengths[1]
    assert prediction.completion_tokens == sum(lengths)
    assert prediction.prompt_tokens == len(requests[0][0])
    assert prediction.confidence == pytest.approx(1 / (1 + math.exp(-abs(average))))
    assert prediction.text == row.target[prediction.parsed.value["prefers"]]


def test_the_answer_is_scored_with_its_end_of_turn() -> None:
    prompt, answer = answer_tokens(CHAT, [Message("user", "the cat")], Message("assistant", ""))
    assert answer == (CHAT.end_of_turn,)
    assert list(prompt) == CHAT.prompt([Message("user", "the cat")])


def test_the_implicit_reward_is_beta_times_what_training_gained() -> None:
    loaded, chat = tiny_loaded()
    row = pair("the dog ran", "the mat sat on the cat")
    requests = [
        answer_tokens(chat, TASK.messages(row, full=False), m) for m in (TASK.answer(row), TASK.rejected(row))
    ]
    before = direct(loaded)(requests, None)
    model = attach_adapter(loaded.model, r=4, seed=1)
    tuned = loaded._replace(model=model)
    judge = Judge("tuned", TASK, chat, direct(tuned), score="implicit_reward",
                  reference=adapter_off(tuned, direct(tuned)), beta=0.3)  # fmt: skip
    # An untrained adapter has B = 0: nothing was gained, so neither answer is preferred.
    assert margins(judge, row) == pytest.approx([0.0], abs=1e-9)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    after = direct(tuned)(requests, None)
    expected = 0.3 * ((after[0] - before[0]) - (after[1] - before[1]))
    assert abs(expected) > 1e-3
    assert margins(judge, row) == pytest.approx([expected], rel=1e-4)
    lengths = [len(answer) for _, answer in requests]
    mean = Judge("tuned", TASK, chat, direct(tuned), score="implicit_reward", per_token=True,
                 reference=adapter_off(tuned, direct(tuned)), beta=0.3)  # fmt: skip
    expected = 0.3 * ((after[0] - before[0]) / lengths[0] - (after[1] - before[1]) / lengths[1])
    assert margins(mean, row) == pytest.approx([expected], rel=1e-4)


def test_the_reference_is_computed_once() -> None:
    loaded, _ = tiny_loaded()
    tuned = loaded._replace(model=attach_adapter(loaded.model, r=2, seed=1))
    asked: list[int] = []

    def counting(requests: Any, tell: Any) -> list[float]:
        asked.append(len(requests))
        return [float(len(answer)) for _, answer in requests]

    reference = adapter_off(tuned, counting)
    requests = [((1,), (2,)), ((1,), (2, 3)), ((1,), (2,))]
    assert reference(requests, None) == [1, 2, 1]
    assert reference([*requests, ((1,), (2, 3, 4))], None) == [1, 2, 1, 3]
    assert asked == [2, 1]
    with pytest.raises(ModelError, match="no adapter to switch off"):
        adapter_off(tiny_loaded()[0], counting)
    with pytest.raises(ValueError, match="reference"):
        Judge("tuned", TASK, CHAT, counting, score="implicit_reward")


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whoever_labels_the_pair_changes_nothing_but_the_sign(texts: list[tuple[str, str]]) -> None:
    rows = [pair(chosen, rejected) for chosen, rejected in texts]
    swapped = [pair(rejected, chosen) for chosen, rejected in texts]
    train = [pair("the cat sat on the mat", "no"), pair("yes", "the dog ran to the user")]
    for system in (Judge("a", TASK, CHAT, by_length(lambda n: -1.5 * n)), LongerOrShorter(TASK, train, CHAT)):
        ours, theirs = system.predict(rows, Silent()), system.predict(swapped, Silent())
        assert [one.text for one in ours] == [one.text for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.parsed.value["margin"] == -other.parsed.value["margin"]


def test_pairs_beyond_the_context_are_wrong_and_said_so() -> None:
    judge = Judge("a", TASK, CHAT, by_length(float), context=60)
    short, long = pair("yes", "no"), pair("the cat " * 40, "no", id_="2")
    [first, second] = judge.predict([short, long], Silent())
    assert first.parsed.error is None
    assert second.parsed.error == "prompt and answer are longer than the model's context"
    assert second.confidence is None
    accuracy = TASK.metrics[0]
    assert list(accuracy.counts(long, second.parsed)) == [0, 1]


def test_rows_with_one_answer_cannot_be_judged() -> None:
    row = Example("1", (Message("user", "x"),), {"completion": "y", "desirable": True}, Source("rows.jsonl", 4))
    with pytest.raises(DataError, match=r"rows\.jsonl:4.*no two answers"):
        Judge("a", TASK, CHAT, by_length(float)).predict([row], Silent())


@pytest.mark.parametrize(
    ("objective", "method", "score"),
    [
        ("dpo", "lora", "implicit_reward"),
        ("kto", "dora", "implicit_reward"),
        ("dpo", "full", "average"),
        ("dpo", "bottleneck", "average"),
        ("orpo", "lora", "average"),
        ("simpo", "lora", "average"),
        ("sft", "lora", "average"),
    ],
)
def test_each_objective_is_measured_by_what_it_moves(objective: str, method: str, score: str) -> None:
    assert score_of(objective, method) == score


def test_the_baseline_takes_the_length_that_was_right_more_often() -> None:
    longer, shorter = pair("the cat sat on the mat", "no"), pair("no", "the cat sat on the mat")
    system = LongerOrShorter(TASK, [longer, longer, longer, shorter], CHAT)
    assert system.prefers_longer
    [right, wrong] = system.predict([longer, shorter], Silent())
    assert (right.parsed.value["prefers"], wrong.parsed.value["prefers"]) == ("chosen", "rejected")
    assert right.confidence == pytest.approx(4 / 6)  # (3 + 1) / (4 + 2)
    assert right.prompt_tokens == 0
    assert not LongerOrShorter(TASK, [shorter, shorter, longer], CHAT).prefers_longer
    with pytest.raises(DataError, match="training examples"):
        LongerOrShorter(TASK, [], CHAT)


def test_equal_lengths_are_right_in_about_half() -> None:
    rows = [pair(f"the {i}", f"the {i + 400}") for i in range(100, 400)]
    rows = [row for row in rows if len(CHAT.answer(row.target["chosen"])) == len(CHAT.answer(row.target["rejected"]))]
    system = LongerOrShorter(TASK, [pair("the cat sat", "no")], CHAT)
    right = sum(one.parsed.value["prefers"] == "chosen" for one in system.predict(rows, Silent()))
    assert 0.4 < right / len(rows) < 0.6
    [tie] = system.predict([pair("same", "same")], Silent())
    assert tie.parsed.value["margin"] == 0


def test_without_pairs_every_desirable_answer_meets_every_undesirable_one() -> None:
    def single(text: str, desirable: bool) -> Example:
        target = {"completion": text, "desirable": desirable}
        return Example("1", (Message("user", "x"),), target, Source("rows.jsonl", 1))

    train = [single("no", True), single("no no", True), single("the cat sat on the mat", False), single("no", False)]
    system = LongerOrShorter(TASK, train, CHAT)
    # 4 comparisons: shorter twice, equal once, longer once.
    assert not system.prefers_longer
    assert system.log_odds == pytest.approx(math.log(3 / 2))


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "prefix_tuning", "prompt_tuning"])
def test_what_can_be_switched_off_is_the_untuned_model_then(method: Any) -> None:
    from burnish.models.score import loglikelihoods

    assert score_of("dpo", method) == "implicit_reward"
    loaded, chat = tiny_loaded()
    requests = requests_of(chat, pair("the dog ran", "the mat sat on the cat"))
    before = loglikelihoods(loaded, requests)
    tuned = loaded._replace(model=attach_adapter(loaded.model, method=method, r=4, virtual_tokens=3, seed=1))
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)

    def own(wanted: Sequence[tuple[Tokens, Tokens]], tell: Any) -> list[float]:
        return loglikelihoods(tuned, wanted)

    assert own(requests, None) != pytest.approx(before, abs=1e-3)
    assert adapter_off(tuned, own)(requests, None) == pytest.approx(before, abs=1e-4)
    assert own(requests, None) != pytest.approx(before, abs=1e-3)  # and it is on again
