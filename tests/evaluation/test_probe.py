"""Questions to requests, scores to answers."""

from __future__ import annotations

import pytest

from burnish.data.questions import Question
from burnish.errors import RunError
from burnish.evaluation.probe import answer_questions, check_same, requests_of
from tiny import tiny_loaded

QUESTIONS = [
    Question("01", "Which colour has grass?", ("red", "green"), 1),
    Question("02", "Where do fish live?", ("in the deep blue sea", "up", "nowhere"), 0),
]


def test_requests_are_the_chat_with_each_choice_and_no_end_of_turn():
    _, chat = tiny_loaded()
    requests = requests_of(QUESTIONS, chat)
    assert len(requests) == 5
    prompt, answer = requests[1]
    assert chat.tokenizer.decode(prompt) == "<s>user\nWhich colour has grass?</s>\n<s>assistant\n"
    assert chat.tokenizer.decode(answer) == "green"
    assert {requests[0][0], requests[1][0]} == {prompt}, "choices of a question share their prompt"
    assert not set(answer) & chat.stop_ids


def test_scores_are_by_character_and_the_highest_wins():
    _, chat = tiny_loaded()
    # The long right choice has the lower sum and the higher score by character.
    one, two = answer_questions(QUESTIONS, chat, lambda requests: [-3.0, -6.0, -10.0, -2.0, -7.0])
    assert (one.answer, one.chosen, one.scores) == (1, 0, (-1.0, -1.2))
    assert (two.answer, two.chosen) == (0, 0)
    assert two.scores == pytest.approx((-0.5, -1.0, -1.0))
    assert (one.question_id, one.question, one.choices) == ("01", "Which colour has grass?", ("red", "green"))


def test_characters_are_bytes_and_the_first_of_equals_is_taken():
    _, chat = tiny_loaded()
    [one] = answer_questions([Question("03", "?", ("é", "ab", "c"), 1)], chat, lambda _: [-2.0, -2.0, -1.0])
    assert one.scores == (-1.0, -1.0, -1.0)
    assert one.chosen == 0


def test_other_questions_are_noticed():
    _, chat = tiny_loaded()
    answers = answer_questions(QUESTIONS, chat, lambda requests: [0.0] * len(requests))
    check_same(QUESTIONS, answers, "here")
    for other in (QUESTIONS[:1], QUESTIONS[::-1]):
        with pytest.raises(RunError, match="have changed"):
            check_same(other, answers, "here")
