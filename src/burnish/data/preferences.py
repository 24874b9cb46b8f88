"""Rows of preference data taken apart: two answers to one prompt, or one answer that is desirable or not.

    pairs               {"prompt", "chosen", "rejected"}: the prompt in any form that an input may have (a text,
                        messages, ShareGPT's conversations, Alpaca's instruction and input)
    conversation_pairs  {"chosen", "rejected"}: whole conversations that part at their last turn, as messages or as
                        text with Human: and Assistant: (Anthropic's HH)
    preferred_output    {"input": {"messages"}, "preferred_output": […], "non_preferred_output": […]} (OpenAI)
    unpaired            a prompt, one answer, and "label" (or "kto_tag"): true or false

An answer may be empty: a model that said nothing is preferred, or not, like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from burnish.data.prompts import alpaca_turns, has_roles, listed, prompt_turns, system_turns
from burnish.data.strict_json import kind_of
from burnish.data.targets import answer_text
from burnish.data.turns import BadFieldError, decoded, nearest, read_messages, read_sharegpt, refuse_unknown
from burnish.errors import MISSING
from burnish.records import Json, Message

PairName = Literal["pairs", "conversation_pairs", "preferred_output", "unpaired"]

CHOSEN, REJECTED = "chosen", "rejected"
LABELS = ("label", "kto_tag")
# Where a prompt stands, in the order of preference.
PROMPTS = ("prompt", "conversations", "messages", "instruction", "input", "question", "query", "text")
COMPLETIONS = ("completion", "response", "output")
# What data.format means here: the column that holds the prompt.
FORMAT_COLUMNS: Mapping[str, str] = {
    "prompt_completion": "prompt",
    "messages": "messages",
    "sharegpt": "conversations",
    "alpaca": "instruction",
}
_OPENAI = ("input", "preferred_output", "non_preferred_output")
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_OPENED = re.compile(r"\A\s*Human:.*\n\nAssistant:\s*\Z", re.DOTALL)


class PairShape(NamedTuple):
    """text: the prompt's column (chosen for whole conversations); target: the better answer's, None: in the text."""

    name: PairName
    text: str
    target: str | None


class Taken(NamedTuple):
    """A row taken apart, in the order of formats.Draft."""

    messages: tuple[Message, ...]
    target: Json
    answer_field: str
    input_field: str


def is_preference(row: Mapping[str, Json]) -> bool:
    """Whether a row has a rejected answer beside the right one, or says of one answer whether it is wanted."""
    if {CHOSEN, REJECTED} <= row.keys() or _OPENAI[1] in row:
        return True
    if any(is_judgement(row.get(column)) for column in LABELS):
        turns = any(isinstance(row.get(column), list) for column in ("messages", "conversations"))
        return turns or {"prompt", "completion"} <= row.keys() or {"instruction", "output"} <= row.keys()
    return False


def preference_shape(values: Mapping[str, Json], text: str | None, target: str | None, format: str) -> PairShape:
    """The shape of one row. text, target: columns the user named. Raises BadFieldError when it has none."""
    if format in FORMAT_COLUMNS and text is None:
        text = FORMAT_COLUMNS[format]
        if text not in values:
            fix = f"Correct data.format, or the rows.{nearest(text, list(values))}"
            raise BadFieldError(text, f"the format {format} needs a column {text!r}", list(values), fix)
    if text is None and target is None and any(column in values for column in _OPENAI[1:]):
        return PairShape("preferred_output", _OPENAI[0], _OPENAI[1])
    chosen = target or CHOSEN
    if chosen in values and REJECTED in values:
        prompt = text or _first(PROMPTS, values, but=(chosen, REJECTED))
        return PairShape("pairs", prompt, chosen) if prompt else PairShape("conversation_pairs", chosen, REJECTED)
    if any(column in values for column in LABELS):
        prompt = text or _first(PROMPTS, values, but=(target, *LABELS))
        if prompt in ("messages", "conversations") and target is None:
            return PairShape("unpaired", prompt, None)
        answer = target or _first(COMPLETIONS, values, but=(prompt,))
        if prompt is not None and answer is not None:
            return PairShape("unpaired", prompt, answer)
    missing = REJECTED if chosen in values else chosen if REJECTED in values else ""
    what = f"the rows have no {missing} answer" if missing else "the rows are no preferences"
    fix = f"Write {CHOSEN} and {REJECTED} answers to a prompt, or one completion with a label true or false."
    raise BadFieldError(missing, what, list(values), fix + (nearest(missing, list(values)) if missing else ""))


def _first(columns: Sequence[str], values: Mapping[str, Json], but: Sequence[str | None]) -> str | None:
    return next((column for column in columns if column in values and column not in but), None)


def take_pair_apart(values: Mapping[str, Json], shape: PairShape) -> Taken:
    """Prompt and answers of a row of the given shape. Raises BadFieldError."""
    if values.get("tools") or values.get("functions"):
        fix = "Remove them, or describe the tools in a system turn."
        raise BadFieldError("tools", "preference rows with tools are not read", MISSING, fix)
    if shape.name == "preferred_output":
        return _openai(values)
    if shape.name == "conversation_pairs":
        return _whole(values, shape.text, shape.target or REJECTED)
    if shape.name == "unpaired":
        return _unpaired(values, shape)
    chosen = shape.target or CHOSEN
    if _is_whole(values.get(chosen)) or _is_whole(values.get(REJECTED)):
        taken = _whole(values, chosen, REJECTED)
        _require_prompt(_prompt(values, shape.text), taken.messages, shape.text)
        return taken._replace(input_field=shape.text)
    target = {"chosen": _answer(values, chosen), "rejected": _answer(values, REJECTED)}
    return Taken(_prompt(values, shape.text), target, chosen, shape.text)


def _prompt(values: Mapping[str, Json], column: str) -> tuple[Message, ...]:
    value = values[column]
    if column == "instruction":
        return alpaca_turns(values, column)
    if column == "conversations" and not has_roles(value):
        return read_sharegpt(value, column, system_turns(values))
    if isinstance(value, str) and _OPENED.match(value):
        return system_turns(values) + transcript(value, column)[:-1]  # without the answer's empty turn
    return system_turns(values) + prompt_turns(value, column)


def _answer(values: Mapping[str, Json], field: str) -> str:
    """One answer: a text, or one assistant turn in either way of writing turns."""
    value = listed(values.get(field, MISSING), field)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        turns = _turns(value, field)
        if len(turns) != 1 or turns[0].role != "assistant":
            what = f"an answer must be one assistant turn, these are {len(turns)}"
            if len(turns) == 1:
                what = f"an answer must be an assistant turn, this is the {turns[0].role}'s"
            raise BadFieldError(field, what, [turn.role for turn in turns], "Move what comes before to the prompt.")
        return _content(turns[0], field)
    return answer_text(value, field)


def _turns(value: Json, field: str) -> tuple[Message, ...]:
    return read_messages(value, field) if has_roles(value) or not value else read_sharegpt(value, field)


def _content(turn: Message, field: str) -> str:
    if turn.tool_calls:
        fix = "Write the call as text, or leave the row out."
        raise BadFieldError(field, "answers that call tools are not read", turn.tool_calls[0].name, fix)
    return turn.content


def _is_whole(value: Json) -> bool:
    """Whether an answer brings its conversation with it: a list that does not begin with the assistant."""
    if isinstance(value, str) and value.lstrip().startswith('[{"role"'):
        return '"assistant"' not in value[: value.find("}")]
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return value[0].get("role", value[0].get("from")) not in ("assistant", "gpt", None)


def _whole(values: Mapping[str, Json], chosen: str, rejected: str) -> Taken:
    """Whole conversations: what they share is the prompt, their last turns are the answers."""
    sides = [_conversation(values, field) for field in (chosen, rejected)]
    most = min(len(side) for side in sides) - 1
    shared = next((i for i in range(most) if not _same(sides[0][i], sides[1][i])), most)
    for side, field in zip(sides, (chosen, rejected), strict=True):
        last = side[-1]
        if last.role != "assistant":
            what = f"the conversation ends in the {last.role}'s turn"
            raise BadFieldError(field, what, last.content, "End it with the assistant turn that was judged.")
        if len(side) > shared + 1:
            what = f"the two conversations part at turn {shared + 1}, before the last one"
            fix = "Let both be the same up to their last turn: only that one can be judged."
            raise BadFieldError(field, what, side[shared].content, fix)
    if not shared:
        fix = "Put the user's turn in front of both answers, or give the rows a prompt."
        raise BadFieldError(chosen, "there is no prompt: the answer is the first turn", MISSING, fix)
    target = {"chosen": _content(sides[0][-1], chosen), "rejected": _content(sides[1][-1], rejected)}
    return Taken(system_turns(values) + sides[0][:shared], target, chosen, chosen)


def _conversation(values: Mapping[str, Json], field: str) -> tuple[Message, ...]:
    value = listed(values.get(field, MISSING), field)
    if isinstance(value, list):
        return _turns(value, field)
    return transcript(answer_text(value, field), field)


def transcript(text: str, field: str) -> tuple[Message, ...]:
    """A conversation written as "\\n\\nHuman: …\\n\\nAssistant: …", white space around turns left out.

    Turns of one speaker that follow one another are one turn. Raises BadFieldError for text of another form.
    """
    places = list(_SPEAKER.finditer(text))
    if not places or places[0].start() != 0:
        what = "there is no prompt, and the answer is not a whole conversation either"
        fix = 'Give the rows a column prompt, or begin the text with "\\n\\nHuman: ".'
        raise BadFieldError(field, what, text, fix)
    turns: list[Message] = []
    for place, following in zip(places, [*places[1:], None], strict=True):
        said = text[place.end() : following.start() if following else len(text)].strip()
        role: Literal["user", "assistant"] = "user" if place[1] == "Human" else "assistant"
        if turns and turns[-1].role == role:
            said = "\n\n".join(part for part in (turns.pop().content, said) if part)
        turns.append(Message(role, said))
    return tuple(turns)


def _same(left: Message, right: Message) -> bool:
    return (left.role, left.content, left.tool_calls) == (right.role, right.content, right.tool_calls)


def _require_prompt(prompt: Sequence[Message], shared: Sequence[Message], field: str) -> None:
    """A prompt that stands beside whole conversations must be in them, or one of the two is wrong."""
    said = [turn.content.strip() for turn in shared]
    lost = next((turn for turn in prompt if turn.content.strip() not in said), None)
    if lost is not None:
        what = "the conversations do not hold the prompt"
        fix = "Correct the prompt, or remove the column: the shared turns are the prompt then."
        raise BadFieldError(field, what, lost.content, fix)


def _openai(values: Mapping[str, Json]) -> Taken:
    column, preferred, other = _OPENAI
    given = decoded(values.get(column, MISSING), column, "the input")
    if not isinstance(given, dict) or "messages" not in given:
        shown = MISSING if given is MISSING else given
        raise BadFieldError(column, "the input must be an object with messages", shown, 'Write {"messages": […]}.')
    if given.get("tools"):
        fix = "Remove them, or describe the tools in a system turn."
        raise BadFieldError(f"{column}.tools", "preference rows with tools are not read", MISSING, fix)
    known = ("messages", "tools", "parallel_tool_calls")
    refuse_unknown(given, known, column, "the input")
    prompt = read_messages(given["messages"], f"{column}.messages")
    target = {"chosen": _answer(values, preferred), "rejected": _answer(values, other)}
    return Taken(prompt, target, preferred, f"{column}.messages")


def _unpaired(values: Mapping[str, Json], shape: PairShape) -> Taken:
    label = _label(values)
    if shape.target is not None:
        target = {"completion": _answer(values, shape.target), "desirable": label}
        return Taken(_prompt(values, shape.text), target, shape.target, shape.text)
    turns = _prompt(values, shape.text)
    place = f"{shape.text}[{len(turns) - 1}]"
    if turns[-1].role != "assistant":
        what = f"the conversation ends in the {turns[-1].role}'s turn"
        raise BadFieldError(place, what, turns[-1].content, "End it with the assistant turn that was judged.")
    target = {"completion": _content(turns[-1], place), "desirable": label}
    return Taken(turns[:-1], target, f"{place}.content", shape.text)


def is_judgement(value: Json) -> bool:
    """Whether a value is true or false, also as text."""
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def _label(values: Mapping[str, Json]) -> bool:
    """true or false; also as text, since tables have nothing else."""
    column = next((column for column in LABELS if column in values), LABELS[0])
    value = values.get(column, MISSING)
    if is_judgement(value):
        return value if isinstance(value, bool) else str(value).strip().lower() == "true"
    fix = "Write true for an answer that is wanted and false for one that is not."
    if value is MISSING or value is None:
        raise BadFieldError(column, "the row does not say whether the answer is desirable", value, fix)
    raise BadFieldError(
        column, f"whether an answer is desirable is true or false, this is {kind_of(value)}", value, fix
    )
