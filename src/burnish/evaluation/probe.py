"""The general-capability probe: multiple-choice questions answered by likelihood.

The question is the user's turn under the model's own chat template, without the task's instruction; each choice is
tried as the assistant's turn. The answer is the choice with the highest log-probability per character (byte of
UTF-8), so that a long choice is not worse for its length alone: what the lm-evaluation-harness of Gao et al. calls
acc_norm. The end of the turn is left out: it says how long an answer is, not whether it is right. Nothing is
generated, so answering in the form of the task costs nothing: what is seen is what the model knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from burnish.data.questions import Question
from burnish.errors import RunError
from burnish.records import Message, ProbeAnswer

if TYPE_CHECKING:
    from burnish.models.chat import Chat

Request = tuple[Sequence[int], Sequence[int]]  # prompt tokens, continuation tokens
Score = Callable[[Sequence[Request]], Sequence[float]]


def requests_of(questions: Sequence[Question], chat: Chat) -> list[Request]:
    """One request for each choice of each question, in order; those of one question share their prompt."""
    requests: list[Request] = []
    for question in questions:
        messages = [Message("user", question.text)]
        prompt = tuple(chat.prompt(messages))
        for choice in question.choices:
            rendered = chat.render(messages, Message("assistant", choice))
            requests.append((prompt, tuple(rendered.tokens[rendered.prompt_length : -1])))
    return requests


def answer_questions(questions: Sequence[Question], chat: Chat, score: Score) -> list[ProbeAnswer]:
    """Let a model answer. score: natural-log probability of each continuation given its prompt, summed over tokens.

    Among equal scores the first choice is taken.
    """
    found = list(score(requests_of(questions, chat)))
    answers = []
    start = 0
    for question in questions:
        part = found[start : start + len(question.choices)]
        start += len(question.choices)
        scores = tuple(value / len(text.encode()) for value, text in zip(part, question.choices, strict=True))
        chosen = scores.index(max(scores))
        answers.append(ProbeAnswer(question.id, question.text, question.choices, question.answer, chosen, scores))
    return answers


def check_same(questions: Sequence[Question], answers: Sequence[ProbeAnswer], where: str) -> None:
    """Raise RunError unless the answers, read back, are to these questions in this order."""
    if [question.id for question in questions] != [answer.question_id for answer in answers]:
        raise RunError(
            "the probe's questions have changed since they were answered",
            where=where,
            fix="restore the file of questions, or begin anew without --resume",
        )
