"""Messages to tokens and loss mask. The only place where a conversation becomes numbers.

The mask follows from rendering: the prompt is what the template makes of the messages before the answer, the answer
is what the template adds. Nothing is found by searching for marker strings, and padding plays no part here.
Prompt and answer are tokenised apart, exactly as at inference, where the prompt is all the model gets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from burnish.errors import ModelError, TrainingError
from burnish.models.in_place import InPlace
from burnish.models.layout import Labelled, Span
from burnish.models.templates import (
    DATE,
    PLAIN_TEMPLATE,
    PROBE,
    opening_as_answered,
    opens_as_it_answers,
    own_template,
    with_fixed_date,
    without_thinking,
)
from burnish.records import Message


class Rendered(NamedTuple):
    """tokens[i] is learned where labelled[i]; prompt_length tokens come before the answer."""

    tokens: list[int]
    labelled: list[bool]
    prompt_length: int


class _Around(NamedTuple):
    """A question's generation prompt; and once it is answered, what stands before and behind the answer."""

    opened: str
    before: str
    after: str


class RewritingError(TrainingError):
    """The chat template writes a turn otherwise once others follow."""


class Chat:
    """A tokenizer with its chat template: renders prompts and answers.

    template: of the adapter's training, taken as it is; None for the tokenizer's own, which is made to write one date
    and to open an answer as it writes one (models/templates.py), the latter unless answers begin with thoughts
    (thinks). stop_ids: tokens that end a turn. begins, ends: what an answer's tokens write around its text (a space,
    mostly nothing). notices: what the user should know about the template.
    Raises ModelError when the template cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        generation_eos: Sequence[int] = (),
        template: str | None = None,
        *,
        thinks: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self._in_place = InPlace(tokenizer)
        self.notices: list[str] = []
        self.template: str = template or own_template(tokenizer) or self._plain_template()
        if template is None:
            dated, self.template = self.template, with_fixed_date(self.template)
            if dated != self.template:
                self.notices.append(f"the chat template writes today's date: here it is always {DATE}")
        self._in_parts = self._wants_parts()
        self._folds_system = self._folds_tools = False
        asked = [Message("system", PROBE), Message("user", "x")]
        # Mistral's writes the system turn into the last turn, if that is the user's: once answered it is gone.
        self._folds_system = not (self._writes(*asked) and self._writes(*asked, Message("assistant", "y")))
        if self._folds_system:
            self.notices.append("the chat template has no system turn; the instruction goes into the first user turn")
        self._folds_tools = not self._writes(Message("user", "x"), Message("assistant", "y"), Message("tool", PROBE))
        as_it_is = thinks or template is not None
        around = self._around_an_answer() if as_it_is else self._opening_as_answering()
        self.end_of_turn = self._end_of_turn(around.after)
        self.ends, self._dropped = self._before_end(around.after)
        self._opened = around.opened
        self._opening = around.before[len(around.opened) :] if opens_as_it_answers(*around[:2]) else ""
        self.begins = self._in_place.space_before(PROBE, self._opened, self._opening)
        stops = {self.end_of_turn, *generation_eos}
        if tokenizer.eos_token_id is not None:
            stops.add(int(tokenizer.eos_token_id))
        self.stop_ids: frozenset[int] = frozenset(stops)
        self._markers = [str(marker) for marker in tokenizer.convert_ids_to_tokens(sorted(stops))]

    def text(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        """What the template makes of the messages. Raises ModelError when it refuses them."""
        from jinja2 import TemplateError

        plain: list[Any] = [_plain(message) for message in messages]
        if self._folds_tools:
            plain = _fold_tools(plain)
        if self._folds_system:
            plain = _fold_system(plain)
        if self._in_parts:
            plain = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in plain]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    plain, chat_template=self.template, tokenize=False, add_generation_prompt=generation_prompt
                )
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ModelError(
                f"the model's chat template refuses this conversation: {error}",
                got=roles,
                fix="put the turns in the order that the model was trained on (system, user, assistant, user, …)",
            ) from error

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the messages with the assistant's turn opened: what generation starts from."""
        return self._in_place.alone(self.text(messages, generation_prompt=True))

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer as they are learned, without the end of turn."""
        return self._in_place.behind(self._opened, self._opening + text + self.ends)

    def render(self, messages: Sequence[Message], answer: Message) -> Rendered:
        """Tokens of prompt and answer; the answer with its end of turn is labelled.

        Raises TrainingError when the template rewrites the prompt once the answer is there.
        """
        labelled = self.render_turns(messages, answer)
        prompt = labelled.spans[-1].first
        flags = [any(span.first <= i < span.last for span in labelled.spans) for i in range(len(labelled.tokens))]
        return Rendered(list(labelled.tokens), flags, prompt)

    def render_turns(self, messages: Sequence[Message], answer: Message, *, all_turns: bool = False) -> Labelled:
        """Tokens of a conversation with the answer, and which of them are learned.

        The answer is; the assistant's earlier turns are where their weight says so, without one where all_turns.
        Every learned turn includes its end of turn. Errors as for `render`.
        """
        tokens: list[int] = []
        spans: list[Span] = []
        written = ""
        for i in [*_learned(messages, all_turns=all_turns), len(messages)]:
            before, turn = messages[:i], answer if i == len(messages) else messages[i]
            opened = self.text(before, generation_prompt=True)
            if not opened.startswith(written):
                raise RewritingError(
                    "the chat template rewrites earlier turns, so they cannot be labelled",
                    got=opened[-200:],
                    fix="use training.train_on: last",
                )
            tokens += self._in_place.behind(written, opened[len(written) :])
            self._refuse_markers(turn)
            tail, written = self._turn(opened, self.text([*before, turn], generation_prompt=False))
            spans.append(Span(len(tokens), len(tokens) + len(tail)))
            tokens += tail
        return Labelled(tuple(tokens), tuple(spans))

    def render_apart(
        self, messages: Sequence[Message], answer: Message, *, all_turns: bool = False
    ) -> tuple[Labelled, ...]:
        """`render_turns`; where the template rewrites earlier turns, each learned turn as the answer to those before
        it, as it was when the model gave it."""
        try:
            return (self.render_turns(messages, answer, all_turns=all_turns),)
        except RewritingError:
            earlier = [(messages[:i], messages[i]) for i in _learned(messages, all_turns=all_turns)]
            return tuple(self.render_turns(_unlearned(given), turn) for given, turn in [*earlier, (messages, answer)])

    def _refuse_markers(self, turn: Message) -> None:
        """An answer with an end of turn in its text would be learned up to there, without a word."""
        content = _plain(turn)["content"]
        marker = next((marker for marker in self._markers if marker in content), None)
        if marker is not None:
            raise TrainingError(
                f"the answer holds {marker}, which ends a turn: what is behind it would not be learned",
                got=content,
                fix="take the marker out of the answer",
            )

    def _turn(self, opened: str, closed: str) -> tuple[list[int], str]:
        """Tokens of a turn with its end of turn, and the text up to there."""
        if not closed.startswith(opened):
            raise TrainingError(
                "the chat template changes the prompt when the answer is added, so the answer cannot be labelled",
                got=closed[-200:],
                fix="give every answer a thought (<think>…</think>), or none; or use a template whose generation "
                "prompt is the start of the assistant's turn",
            )
        text = closed[len(opened) :]
        if self._dropped:
            text = text.removesuffix(self._dropped)
            return [*self._in_place.behind(opened, text), self.end_of_turn], opened + text
        tail = self._in_place.behind(opened, text)
        # Text after the end of turn (a newline, say) is never produced at inference: it carries no label.
        end = next((i for i, token in enumerate(tail) if token in self.stop_ids), None)
        if end is None:
            return [*tail, self.end_of_turn], closed
        marker = str(self.tokenizer.convert_ids_to_tokens(tail[end]))
        before, found, _ = text.partition(marker)
        return tail[: end + 1], opened + before + found

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of generated tokens, special tokens and what the template puts around answers left out."""
        text = str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
        return text.removeprefix(self._opening).removesuffix(self.ends)

    def hidden_system_prompt(self, messages: Sequence[Message]) -> str | None:
        """The system prompt that the template adds by itself when the messages bring none, else None."""
        if any(message.role in ("system", "developer") for message in messages):
            return None
        rendered = self.text(messages, generation_prompt=False)
        first = rendered.find(messages[0].content)
        bare = self.text([Message("system", "\x00"), *messages], generation_prompt=False)
        cut = bare.find("\x00")
        head = rendered[:first] if first > 0 else ""
        return head.strip() if cut >= 0 and len(head) > 2 * len(bare[:cut]) + 20 else None

    def _plain_template(self) -> str:
        """For models without a chat template."""
        if self.tokenizer.eos_token is None:
            raise _no_end_of_turn()
        self.notices.append("the model has no chat template; a plain one with Input: and Answer: is used")
        return ("{{ bos_token }}" if self._begins_texts() else "") + PLAIN_TEMPLATE

    def _begins_texts(self) -> bool:
        """Whether the tokenizer puts its first token in front of a text, as the model was pretrained."""
        first = self.tokenizer.bos_token_id
        return first is not None and list(self.tokenizer.encode("x"))[:1] == [first]

    def _wants_parts(self) -> bool:
        """Whether the template leaves out contents that are texts: those of models that see images take parts."""
        return not self._shows(PROBE) and self._shows([{"type": "text", "text": PROBE}])

    def _shows(self, content: Any) -> bool:
        """Whether the template writes a content that holds PROBE."""
        from jinja2 import TemplateError

        turns = [{"role": "user", "content": content}]
        try:
            text = self.tokenizer.apply_chat_template(turns, chat_template=self.template, tokenize=False)
        except (TemplateError, TypeError):
            return False
        return PROBE in str(text)

    def _writes(self, *messages: Message) -> bool:
        """Whether the template writes the content that is PROBE."""
        try:
            return PROBE in self.text(messages, generation_prompt=False)
        except ModelError:
            return False

    def _around_an_answer(self) -> _Around:
        question = Message("user", "x")
        closed = self.text([question, Message("assistant", PROBE)], generation_prompt=False)
        before, found, after = closed.rpartition(PROBE)
        if not found:
            raise ModelError(
                "the model's chat template leaves out what the assistant says",
                got=closed[-200:],
                fix="give the model a chat template that writes the content of assistant turns",
            )
        return _Around(self.text([question], generation_prompt=True), before, after)

    def _opening_as_answering(self) -> _Around:
        """See to it that the template opens a turn as it writes answers."""
        given, quiet = self.template, without_thinking(self.template)
        for template in (given, quiet, opening_as_answered(quiet, in_parts=self._in_parts)):
            self.template = template
            around = self._around_an_answer()
            if opens_as_it_answers(around.opened, around.before):
                break
        else:
            raise ModelError(
                "the model's chat template writes answers otherwise than it opens them",
                got=around.before[-200:],
                fix="give the model a chat template whose generation prompt is the start of the assistant's turn",
            )
        if self.template != given:
            self.notices.append(
                f"prompts end with {around.before[-40:]!r}, as the chat template writes it in front of an answer "
                "without a thought: the model answers at once"
            )
        return around

    def _end_of_turn(self, after: str) -> int:
        """The first special token that the template puts behind an assistant's content, else the end of text."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        found = next(
            (token for token in self._in_place.alone(after) if token in special), self.tokenizer.eos_token_id
        )
        if found is None:
            raise _no_end_of_turn()
        return int(found)

    def _before_end(self, after: str) -> tuple[str, str]:
        """What the template puts between an answer and its end of turn; and what it puts there in place of one.

        The latter is not learned, since a model that had to write it would have it in its answers.
        """
        marker = str(self.tokenizer.convert_ids_to_tokens(self.end_of_turn))
        between, found, _ = after.partition(marker)
        if found:
            return between, ""
        if after.strip():
            self.notices.append(
                f"the chat template ends answers with {after!r}, which is no token of this tokenizer: answers end "
                f"with {marker} instead"
            )
        return "", after


def _no_end_of_turn() -> ModelError:
    return ModelError("the tokenizer has no end-of-turn token", fix="set eos_token in tokenizer_config.json")


def _learned(messages: Sequence[Message], *, all_turns: bool) -> list[int]:
    """Which of the turns before the answer are learned."""
    return [i for i, message in enumerate(messages) if _turn_weight(message, all_turns) > 0]


def _unlearned(messages: Sequence[Message]) -> list[Message]:
    return [replace(message, weight=None) for message in messages]


def _turn_weight(message: Message, all_turns: bool) -> float:
    """How much an earlier turn is learned: the assistant's alone, as its weight says."""
    if message.role != "assistant":
        return 0.0
    return float(all_turns) if message.weight is None else message.weight


def _plain(message: Message) -> dict[str, str]:
    """Role and text for the template; tool calls are written as JSON text, which every template carries."""
    content = message.content
    if message.tool_calls:
        calls: list[Mapping[str, Any]] = [
            {"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls
        ]
        written = json.dumps(calls, ensure_ascii=False, separators=(",", ":"))
        content = f"{content}\n{written}" if content else written
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": content}


def _fold_tools(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Results of tools as the user's turns; with a user's turn behind them as one."""
    folded: list[dict[str, str]] = []
    after_result = False
    for message in messages:
        result = message["role"] == "tool"
        if after_result and message["role"] in ("tool", "user"):
            folded[-1]["content"] += "\n\n" + message["content"]
        else:
            folded.append({"role": "user" if result else message["role"], "content": message["content"]})
        after_result = result or (after_result and message["role"] == "user")
    return folded


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if system and rest:
        rest[0]["content"] = "\n\n".join([*system, rest[0]["content"]])
    return rest
