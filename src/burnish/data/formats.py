"""A row taken apart by its shape (shapes.py), and put together as an Example of the task's kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from burnish.data.beside import name_in, slice_of, weight_of
from burnish.data.fingerprint import example_id, input_digest
from burnish.data.gemini import declared_tools, read_contents, system_instruction, written_part
from burnish.data.instances import OUTPUT, instances
from burnish.data.leaderboard import FUNCTION, take_question_apart, written_place
from burnish.data.preferences import PairShape, take_pair_apart
from burnish.data.prompts import alpaca_turns, has_roles, listed, prompt_turns, system_turns
from burnish.data.shapes import Columns, Rules, Shape, shape_of
from burnish.data.streams import Row
from burnish.data.targets import read_target
from burnish.data.turns import BadFieldError, Tools, nearest, read_messages, read_sharegpt, read_tools
from burnish.errors import MISSING, Problem
from burnish.records import Example, Json, Kind, Message, Source

CONVERSATIONS = ("messages", "sharegpt", "gemini")  # shapes whose last turn is the answer


class Draft(NamedTuple):
    """A row taken apart. answer_field: where the target stands, for messages."""

    messages: tuple[Message, ...]
    target: Json
    answer_field: str
    input_field: str


def to_examples(file: str, row: Row, shape: Shape, rules: Rules) -> Iterator[Example | Problem]:
    """The Examples of one row, several where it has instances, or the Problems with them."""
    if shape.name != "self_instruct" or not shape.fits(row.values):
        yield to_example(file, row, shape, rules)
        return
    alpaca = Shape("alpaca", shape.text, OUTPUT)
    for one in instances(row.values):
        if isinstance(one, BadFieldError):
            yield Problem(file, row.line, one.field, one.what, one.got, one.fix, one.finding)
            continue
        made = to_example(file, Row(row.line, one.values), alpaca, rules)
        yield replace(made, field=one.field(made.field)) if isinstance(made, Problem) else made


def to_example(file: str, row: Row, shape: Shape, rules: Rules) -> Example | Problem:
    """One row as an Example, or the Problem with it."""
    try:
        if not shape.fits(row.values):
            _refuse_other_shape(row.values, shape, rules)
        return _example(file, row, shape, rules)
    except BadFieldError as error:
        return Problem(
            file, row.line, _written(error.field, shape, row.values), error.what, error.got, error.fix, error.finding
        )


def _written(field: str, shape: Shape, values: Mapping[str, Json]) -> str:
    """Where a field of an example stands in a row whose answers are written in another form."""
    if shape.name == "bfcl":
        return written_place(field, values)
    return written_part(field) if shape.name == "gemini" else field


def _refuse_other_shape(values: Mapping[str, Json], shape: Shape, rules: Rules) -> None:
    try:
        other = shape_of(values, rules)
    except BadFieldError:
        return
    if other != shape:
        what = f"mixed shapes: this row is {other}, the file's first rows are {shape}"
        raise BadFieldError(
            "", what, list(values), "Write all rows in one shape, or put these in a file of their own."
        )


def _example(file: str, row: Row, shape: Shape, rules: Rules) -> Example:
    values = row.values
    if rules.columns.tools is not None and rules.columns.tools not in values:
        column = rules.columns.tools
        fix = f"Correct data.tools.{nearest(column, list(values))}"
        raise BadFieldError(column, "the row has no such column", list(values), fix)
    tools = tools_of(values, rules.columns, shape)
    draft = take_apart(values, shape, rules.kind)
    check_input(draft)
    target = read_target(
        rules.kind, draft.target, draft.answer_field, tools=tools, labels=rules.labels, schema=rules.schema
    )
    alone = rules.kind == "preference" and rules.columns.group is None
    return Example(
        id=example_id(draft.messages, target, tools),
        messages=draft.messages,
        target=target,
        source=Source(file, row.line),
        tools=tools,
        group=_same_prompt(draft) if alone else name_in(values, rules.columns.group, "split.group", "group"),
        weight=weight_of(values, rules.columns.weight),
        slices={column: slice_of(values, column) for column in rules.columns.slices},
        document=name_in(values, rules.columns.document, "data.document", "document"),
    )


def tools_of(values: Mapping[str, Json], columns: Columns, shape: Shape) -> Tools:
    """The function schemas of a row, none where it lists none."""
    column = columns.tools or (FUNCTION if shape.name == "bfcl" else "tools")
    if shape.name == "gemini":
        return declared_tools(values[column], column) if values.get(column) else ()
    tools = read_tools(values.get(column) or None, column)
    if not tools and values.get("functions") and column == "tools":  # OpenAI before November 2023
        tools = read_tools(values["functions"], "functions")
    return tools


def take_apart(values: Mapping[str, Json], shape: Shape, kind: Kind) -> Draft:
    value = values.get(shape.text, MISSING)
    if value is MISSING:
        raise BadFieldError(shape.text, "the row has no such field", list(values), "Add the field to the row.")
    if shape.name in ("pairs", "conversation_pairs", "preferred_output", "unpaired"):
        return Draft(*take_pair_apart(values, PairShape(shape.name, shape.text, shape.target)))
    if shape.name == "bfcl":
        return Draft(*take_question_apart(values))
    if shape.name in CONVERSATIONS:
        messages, shift = conversation(values, shape)
        return _split_answer(messages, shape.text, kind, shift)
    if shape.name == "prompt_completion":
        return _prompt_completion(values, shape, kind)
    if shape.name == "alpaca":
        field = shape.target or "output"
        return Draft(alpaca_turns(values, shape.text), values.get(field, MISSING), field, shape.text)
    target = values.get(shape.target or "", MISSING)
    return Draft(system_turns(values) + prompt_turns(value, shape.text), target, shape.target or "", shape.text)


def conversation(values: Mapping[str, Json], shape: Shape) -> tuple[tuple[Message, ...], int]:
    """The turns of a row, its column `system` in front, and how many turns that put there."""
    value, system = values[shape.text], system_turns(values)
    if shape.name == "gemini":
        system += system_instruction(values)
        turns = read_contents(value, shape.text)
    elif shape.name == "sharegpt" and not has_roles(value):
        turns = read_sharegpt(value, shape.text)
    else:
        turns = read_messages(value, shape.text)
    if system and turns[0].role == "system":
        if turns[0].content.strip() != system[0].content.strip():
            fix = "Keep one of them."
            what = "the row has a system text beside the conversation's own"
            raise BadFieldError("system", what, system[0].content, fix)
        system = ()
    return system + turns, len(system)


def _split_answer(messages: tuple[Message, ...], field: str, kind: Kind, shift: int = 0) -> Draft:
    """Everything before the last turn is the input, the last turn the answer. shift: turns put in front."""
    last = messages[-1]
    place = f"{field}[{len(messages) - 1 - shift}]"
    if last.role != "assistant":
        what = f"the row is unlabelled: its last turn is the {last.role}'s"
        raise BadFieldError(place, what, last.content, "End the row with the assistant turn that is right.")
    if last.weight == 0:
        fix = "End the row with a turn of weight 1, or remove the weight."
        raise BadFieldError(f"{place}.weight", "the last assistant turn has weight 0: nothing to learn", 0, fix)
    return Draft(messages[:-1], _answer(last, place, kind), _answer_field(last, place, kind), field)


def _answer_field(message: Message, place: str, kind: Kind) -> str:
    return f"{place}.tool_calls" if kind == "tool_calling" and message.tool_calls else f"{place}.content"


def _answer(message: Message, place: str, kind: Kind) -> Json:
    if kind != "tool_calling":
        if message.tool_calls:
            what = f"the answer calls tools, which is not {kind}"
            raise BadFieldError(f"{place}.tool_calls", what, message.tool_calls[0].name, "Use kind: tool_calling.")
        return message.content
    if not message.tool_calls:
        return message.content
    if message.content.strip():
        fix = "Empty the content of the last turn, or use kind: generation with the call as text."
        what = "text beside the calls of the answer would be lost"
        raise BadFieldError(f"{place}.content", what, message.content, fix)
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]


def _prompt_completion(values: Mapping[str, Json], shape: Shape, kind: Kind) -> Draft:
    field = shape.target or "completion"
    prompt = system_turns(values) + prompt_turns(values[shape.text], shape.text)
    completion = listed(values.get(field, MISSING), field)
    if not has_roles(completion):
        return Draft(prompt, completion, field, shape.text)
    draft = _split_answer(prompt + read_messages(completion, field), field, kind, shift=len(prompt))
    return draft._replace(input_field=shape.text)


def check_input(draft: Draft) -> None:
    if not draft.messages:
        fix = "Put the user's turn in front of the answer."
        raise BadFieldError(draft.input_field, "there is no input: the answer is the first turn", MISSING, fix)
    last = draft.messages[-1]
    if last.role == "assistant":
        what = "two assistant turns follow one another at the end"
        fix = "Join them, or put the user or tool turn between them."
        raise BadFieldError(f"{draft.input_field}[{len(draft.messages) - 1}]", what, last.content, fix)
    if last.role not in ("user", "tool"):
        what = f"the input ends in a {last.role} turn: there is no user turn to answer"
        raise BadFieldError(draft.input_field, what, last.content, "Add the user's turn in front of the answer.")


def _same_prompt(draft: Draft) -> str:
    """Pairs of one prompt stand or fall together: several are the usual case, and one group of any interval."""
    return f"prompt {input_digest(draft.messages).hex()[:16]}"
