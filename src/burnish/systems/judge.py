"""Systems that choose between the two answers of a pair, by what a model makes of them, or by their lengths.

A judge is given both answers in the order of their texts (`Preference.options`) and never sees which one was chosen.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from burnish.errors import DataError, ModelError
from burnish.models.chat import Chat
from burnish.models.load import Loaded
from burnish.models.text_part import context_length
from burnish.progress import Progress
from burnish.records import Example, Message, Parsed, Prediction
from burnish.tasks.preference import Preference, is_pair

Score = Literal["likelihood", "average", "implicit_reward"]
SCORES: dict[Score, str] = {
    "likelihood": "log-likelihood of the whole answer",
    "average": "log-likelihood a token",
    "implicit_reward": "implicit reward: beta times the log-likelihood gained over the untuned model",
}
Tokens = tuple[int, ...]
# (prompt, answer) pairs to the natural-log probability of each answer; told (done, all) now and then.
Loglikelihoods = Callable[[Sequence[tuple[Tokens, Tokens]], Callable[[int, int], None] | None], list[float]]
_TIE = 1e-6  # log-odds by which a hash decides between answers of equal length


def score_of(objective: str, method: str) -> Score:
    """What the tuned model is asked, so that it is measured by what it was trained on.

    dpo and kto move the implicit reward beta (log pi - log pi_ref) (Rafailov et al. 2023, equation 5, without the
    term that both answers share; Ethayarajh et al. 2024 for kto), which takes an adapter that can be switched
    off (not so for full and bottleneck).
    simpo moves the average log-likelihood of a token (Meng et al. 2024, equation 3), orpo odds of the same
    average (Hong et al. 2024, equation 3). Elsewhere, and for weights trained in full, the average is what does not
    favour short answers from the start.
    """
    return "implicit_reward" if objective in ("dpo", "kto") and method not in ("full", "bottleneck") else "average"


class _Pair(NamedTuple):
    """Prompt and both options of one example as tokens."""

    prompt: Tokens
    answers: tuple[Tokens, Tokens]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.answers))


class Judge:
    """Prefers the answer with the higher score; see `Score`. Confidence: sigmoid of the margin (Bradley-Terry).

    reference: log-likelihoods under the untuned model, for implicit_reward. beta: scale of that reward; per_token: it
    is a mean over the answer's tokens, as dpo's form ipo is trained. context: the model's, in tokens.
    """

    def __init__(
        self,
        name: str,
        task: Preference,
        chat: Chat,
        loglikelihoods: Loglikelihoods,
        *,
        score: Score = "average",
        reference: Loglikelihoods | None = None,
        beta: float = 1.0,
        per_token: bool = False,
        context: int = 2**31,
    ) -> None:
        """ValueError: implicit_reward without a reference."""
        if score == "implicit_reward" and reference is None:
            raise ValueError("an implicit reward needs the reference's log-likelihoods")
        self.name = name
        self._task = task
        self._chat = chat
        self._loglikelihoods = loglikelihoods
        self._reference = reference if score == "implicit_reward" else None
        self._beta = beta
        self._per_token = score == "average" or (score == "implicit_reward" and per_token)
        self._context = context

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Judge the pairs, in order. DataError: an example without a pair.

        A pair that does not fit the model's context is judged by nobody: an answer of no form, which counts as wrong.
        """
        began = time.perf_counter()
        options = [_options(self._task, example) for example in examples]
        pairs = [
            _tokens(self._task, self._chat, example, both) for example, both in zip(examples, options, strict=True)
        ]
        fitting = [pair for pair in pairs if pair.longest <= self._context]
        found = iter(self._scores([(pair.prompt, answer) for pair in fitting for answer in pair.answers], progress))
        judged = []
        for example, pair in zip(examples, pairs, strict=True):
            if pair.longest <= self._context:
                judged.append(self._task.judged(example, (next(found), next(found)), _lengths(pair)))
            else:
                judged.append(Parsed(None, "prompt and answer are longer than the model's context"))
        seconds = (time.perf_counter() - began) / max(1, len(examples))
        return [
            _prediction(example, parsed, len(pair.prompt), sum(_lengths(pair)), seconds)
            for example, parsed, pair in zip(examples, judged, pairs, strict=True)
        ]

    def _scores(self, requests: Sequence[tuple[Tokens, Tokens]], progress: Progress) -> list[float]:
        passes = 1 if self._reference is None else 2

        def tell(before: int) -> Callable[[int, int], None]:
            return lambda done, total: progress.advance(f"{self.name} judges", before + done, passes * len(requests))

        values = self._loglikelihoods(requests, tell(0))
        if self._reference is not None:
            base = self._reference(requests, tell(len(requests)))
            values = [self._beta * (ours - theirs) for ours, theirs in zip(values, base, strict=True)]
        if self._per_token:
            values = [value / len(answer) for value, (_, answer) in zip(values, requests, strict=True)]
        return values


class LongerOrShorter:
    """The baseline that reads no word: prefers the longer answer, or the shorter one, whichever was chosen more often
    in the training part. Confidence is the share in which that was right (by Laplace's rule).

    Lengths are in tokens. Between answers of equal length a hash of their texts decides, which is right in half of
    the cases, as guessing is. Where the training part has no pairs, every desirable answer is compared with every
    undesirable one.
    """

    name = "majority"

    def __init__(self, task: Preference, train: Sequence[Example], chat: Chat) -> None:
        """DataError: no training examples."""
        if not train:
            raise DataError("the majority baseline needs training examples", fix="give the train part some rows")
        self._task = task
        self._chat = chat
        longer, shorter = self._train_lengths(train)
        self.prefers_longer = longer >= shorter
        share = (max(longer, shorter) + 1) / (longer + shorter + 2)
        self.log_odds = max(_TIE, math.log(share / (1 - share)))

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        began = time.perf_counter()
        judged = []
        for example in examples:
            options = _options(self._task, example)
            pair = _tokens(self._task, self._chat, example, options)
            first, second = _lengths(pair)
            if first == second:
                scores = (_TIE, 0.0) if _digest(options[0]) < _digest(options[1]) else (0.0, _TIE)
            else:
                scores = (self.log_odds, 0.0) if (first > second) == self.prefers_longer else (0.0, self.log_odds)
            if options[0] == options[1]:
                scores = (0.0, 0.0)
            judged.append((example, self._task.judged(example, scores, (first, second))))
        seconds = (time.perf_counter() - began) / max(1, len(examples))
        progress.advance(f"{self.name} judges", len(examples), len(examples))
        return [_prediction(example, parsed, 0, 0, seconds) for example, parsed in judged]

    def _train_lengths(self, train: Sequence[Example]) -> tuple[int, int]:
        """How often the better answer is the longer one, and how often the shorter one."""
        longer = shorter = 0
        desirable: list[int] = []
        undesirable: list[int] = []
        for example in train:
            prompt = self._task.messages(example, full=False)
            length = len(answer_tokens(self._chat, prompt, self._task.answer(example))[1])
            other = self._task.rejected(example)
            if other is not None:
                rejected = len(answer_tokens(self._chat, prompt, other)[1])
                longer += length > rejected
                shorter += length < rejected
            else:
                (desirable if example.target["desirable"] else undesirable).append(length)
        if longer + shorter == 0 and desirable and undesirable:
            ordered = np.sort(undesirable)
            longer = int(np.searchsorted(ordered, desirable, side="left").sum())
            shorter = int((len(ordered) - np.searchsorted(ordered, desirable, side="right")).sum())
        return longer, shorter


def answer_tokens(chat: Chat, prompt: Sequence[Message], answer: Message) -> tuple[Tokens, Tokens]:
    """Tokens of the prompt, and of the answer with its end of turn, as they are trained on."""
    rendered = chat.render(prompt, answer)
    return tuple(rendered.tokens[: rendered.prompt_length]), tuple(rendered.tokens[rendered.prompt_length :])


def adapter_off(loaded: Loaded, loglikelihoods: Loglikelihoods) -> Loglikelihoods:
    """`loglikelihoods` of a model with its adapter switched off: the reference. Each answer is computed once.

    Raises ModelError for a model without an adapter.
    """
    if not hasattr(loaded.model, "disable_adapter"):
        fix = "measure it by the average log-likelihood"
        raise ModelError("the model has no adapter to switch off", got=loaded.name, fix=fix)
    known: dict[tuple[Tokens, Tokens], float] = {}

    def reference(requests: Sequence[tuple[Tokens, Tokens]], tell: Callable[[int, int], None] | None) -> list[float]:
        new = [request for request in dict.fromkeys(requests) if request not in known]
        if new:
            with loaded.model.disable_adapter():
                known.update(zip(new, loglikelihoods(new, tell), strict=True))
        return [known[request] for request in requests]

    return reference


def local_judge(
    name: str,
    task: Preference,
    loaded: Loaded,
    chat: Chat,
    *,
    score: Score,
    beta: float,
    per_token: bool,
    tokens_per_batch: int,
) -> Judge:
    """A judge with a model on this machine. Raises ModelError: implicit_reward of a model without an adapter."""
    from burnish.models.score import loglikelihoods

    def own(requests: Sequence[tuple[Tokens, Tokens]], tell: Callable[[int, int], None] | None) -> list[float]:
        return loglikelihoods(loaded, requests, tokens_per_batch=tokens_per_batch, on_progress=tell)

    return Judge(
        name,
        task,
        chat,
        own,
        score=score,
        reference=adapter_off(loaded, own) if score == "implicit_reward" else None,
        beta=beta,
        per_token=per_token,
        context=context_length(loaded.model),
    )


def _options(task: Preference, example: Example) -> tuple[Message, Message]:
    if not is_pair(example.target):
        where = f"{example.source.file}:{example.source.line}"
        fix = "give pairs as data.test: rows with one answer can be trained on, but not measured"
        raise DataError("there are no two answers to choose between", where=where, fix=fix)
    return task.options(example)


def _tokens(task: Preference, chat: Chat, example: Example, options: tuple[Message, Message]) -> _Pair:
    messages = task.messages(example, full=False)
    (prompt, first), (_, second) = (answer_tokens(chat, messages, option) for option in options)
    return _Pair(prompt, (first, second))


def _lengths(pair: _Pair) -> tuple[int, int]:
    return len(pair.answers[0]), len(pair.answers[1])


def _digest(message: Message) -> str:
    return hashlib.sha256(message.content.encode("utf-8", "surrogatepass")).hexdigest()


def _prediction(
    example: Example,
    parsed: Parsed,
    prompt_tokens: int,
    answer_tokens: int,
    seconds: float,
) -> Prediction:
    if parsed.value is None:
        return Prediction(example.id, "", parsed, None, prompt_tokens, answer_tokens, seconds)
    margin = float(parsed.value["margin"])
    text = str(example.target[parsed.value["prefers"]]) if margin else ""  # a tie chooses neither
    confidence = 1 / (1 + math.exp(-min(abs(margin), 700.0)))
    return Prediction(example.id, text, parsed, confidence, prompt_tokens, answer_tokens, seconds)
