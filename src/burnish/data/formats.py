"""The shapes rows come in, and how a row of each becomes an Example of the task's kind.

    messages           {"messages": [{role, content, tool_calls?, name?, weight?}, …], "tools"?}
    prompt_completion  {"prompt", "completion"}: strings or lists of messages
    alpaca             {"instruction", "input"?, "output", "system"?, "history"?}
    sharegpt           {"conversations": [{from, value}, …], "system"?, "tools"?}
    self_instruct      {"instruction", "instances": [{"input", "output"}, …]}: an example each (instances.py)
    bfcl               {"question": [[…]], "function", "ground_truth"} (leaderboard.py)
    columns            a text (or messages) column and a target column: text and label, text and target, …

"classification" and "extraction" name the last one with its usual target column. Preference data have shapes of their
own: preferences.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from burnish.data.beside import name_in, slice_of, weight_of
from burnish.data.fingerprint import example_id, input_digest
from burnish.data.instances import INSTANCES, INSTRUCTION, OUTPUT, instances
from burnish.data.leaderboard import ANSWER, FUNCTION, QUESTION, take_question_apart, written_place
from burnish.data.preferences import (
    COMPLETIONS,
    PairName,
    PairShape,
    is_preference,
    preference_shape,
    take_pair_apart,
)
from burnish.data.prompts import alpaca_turns, has_roles, is_conversation, listed, prompt_turns, system_turns
from burnish.data.streams import Row
from burnish.data.targets import Check, read_target
from burnish.data.turns import BadFieldError, Tools, nearest, read_messages, read_sharegpt, read_tools
from burnish.errors import MISSING, Problem
from burnish.records import Example, Json, Kind, Message, Source

_Own = Literal["messages", "prompt_completion", "alpaca", "sharegpt", "self_instruct", "bfcl"]
Format = Literal["auto", "columns", "classification", "extraction"] | _Own
ShapeName = Literal["columns"] | _Own | PairName

TEXT_COLUMNS = ("text", "input", "question", "sentence", "utterance", "query", "prompt")
TARGET_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "classification": ("label", "target", "output", "category", "class", "answer", "completion", "response"),
    "extraction": ("target", "output", "json", "label", "answer", "completion", "response"),
    "generation": ("target", "output", "completion", "response", "answer", "label"),
    "tool_calling": ("target", "tool_calls", "output", "completion", "answer", "answers"),
    "preference": ("chosen", "completion"),
}
NAME_THEM = "Name the columns: data.text and data.target in the task file, or --set data.text=COLUMN."


class Columns(NamedTuple):
    """Column names the user gave; None: the usual ones."""

    text: str | None = None
    target: str | None = None
    tools: str | None = None
    group: str | None = None
    weight: str | None = None
    slices: tuple[str, ...] = ()
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows of a file are laid out. text, target: the columns that hold the input and the answer."""

    name: ShapeName
    text: str
    target: str | None = None

    def __str__(self) -> str:
        if self.name == "columns":
            return f"columns {self.text} → {self.target}"
        if self.name == "pairs":
            return f"pairs {self.text} → {self.target}, rejected"
        if self.name == "unpaired":
            return f"unpaired {self.text} → {self.target or 'last turn'}, label"
        return {"conversation_pairs": "pairs of conversations"}.get(self.name, self.name)

    def fits(self, values: Mapping[str, Json]) -> bool:
        """Whether a row has the columns of this shape."""
        if self.name == "bfcl" and FUNCTION not in values:
            return False
        return self.text in values and (self.target is None or self.target in values)


@dataclass(frozen=True, slots=True)
class Rules:
    """What rows are read as. labels and schema restrict the targets."""

    kind: Kind
    columns: Columns = field(default_factory=Columns)
    format: Format = "auto"
    labels: frozenset[str] | None = None
    schema: Check | None = None


_SELF_INSTRUCT = Shape("self_instruct", INSTRUCTION, INSTANCES)
_BFCL = Shape("bfcl", QUESTION, ANSWER)


def detect_shape(rows: Sequence[Row], rules: Rules) -> Shape:
    """The shape most of the given (first) rows have; on a tie the one that comes first.

    Raises BadFieldError when none of them has any shape.
    """
    found: Counter[Shape] = Counter()
    refusal: BadFieldError | None = None
    for row in rows:
        try:
            found[shape_of(row.values, rules)] += 1
        except BadFieldError as error:
            refusal = refusal or error
    if found:
        return found.most_common(1)[0][0]
    raise refusal or BadFieldError("", "there is no row to tell the shape by", MISSING, "Add labelled rows.")


def shape_of(values: Mapping[str, Json], rules: Rules) -> Shape:
    """The shape of one row. Raises BadFieldError when it has none, naming the nearest columns."""
    text, target = rules.columns.text, rules.columns.target
    for column in (text, target):
        if column is not None and column not in values:
            what = f"there is no column {column!r}"
            raise BadFieldError(column, what, list(values), f"Correct the name.{nearest(column, list(values))}")
    if rules.kind == "preference":
        return Shape(*preference_shape(values, text, target, rules.format))
    if rules.format != "auto":
        return _named_shape(values, rules)
    if text is None and target is None:
        _refuse_preferences(values)
    if text is None:
        for shape in _usual(target):
            if shape.fits(values):
                return shape
    return _column_shape(values, rules.kind, text, target)


def _usual(target: str | None) -> list[Shape]:
    """Shapes with fixed columns that a row may have when `target` is the answer's column (None: not said)."""
    if target is not None:
        named = [Shape("columns", "messages", target)]
        if target in COMPLETIONS:
            named.insert(0, Shape("alpaca", "instruction", target))
        if target in ("completion", "response"):
            named.insert(0, Shape("prompt_completion", "prompt", target))
        return named
    return [
        Shape("messages", "messages"),
        Shape("sharegpt", "conversations"),
        Shape("prompt_completion", "prompt", "completion"),
        Shape("prompt_completion", "prompt", "response"),
        Shape("alpaca", "instruction", "output"),
        Shape("alpaca", "instruction", "response"),
        Shape("alpaca", "instruction", "completion"),
        _SELF_INSTRUCT,
        _BFCL,
    ]


def _named_shape(values: Mapping[str, Json], rules: Rules) -> Shape:
    text, target = rules.columns.text, rules.columns.target
    if rules.format == "messages":
        shape = Shape("columns", text or "messages", target) if target else Shape("messages", text or "messages")
    elif rules.format == "sharegpt":
        shape = Shape("sharegpt", text or "conversations")
    elif rules.format == "prompt_completion":
        shape = Shape("prompt_completion", text or "prompt", target or "completion")
    elif rules.format == "alpaca":
        shape = Shape("alpaca", text or "instruction", target or "output")
    elif rules.format in ("self_instruct", "bfcl"):
        shape = _SELF_INSTRUCT if rules.format == "self_instruct" else _BFCL
    else:
        usual = {"classification": "label", "extraction": "target"}.get(rules.format)
        if usual is not None and target is None and usual in values:
            target = usual
        return _column_shape(values, rules.kind, text, target)
    if not shape.fits(values):
        missing = next(column for column in (shape.text, shape.target) if column and column not in values)
        what = f"the format {rules.format} needs a column {missing!r}"
        raise BadFieldError(
            missing, what, list(values), f"Correct data.format, or the rows.{nearest(missing, list(values))}"
        )
    return shape


def _column_shape(values: Mapping[str, Json], kind: Kind, text: str | None, target: str | None) -> Shape:
    target = target or next((column for column in held(TARGET_COLUMNS[kind], values) if column != text), None)
    text = text or next((column for column in held(TEXT_COLUMNS, values) if column != target), None)
    if text is not None and target is not None:
        return Shape("columns", text, target)
    if text is None:
        what, field = "the rows have none of the known shapes: no column with the input was found", ""
    else:
        what, field = "the rows are unlabelled: no column with the answer was found", TARGET_COLUMNS[kind][0]
    raise BadFieldError(field, what, list(values), _remedy(values))


def held(usual: Sequence[str], values: Mapping[str, Json]) -> Iterator[str]:
    """The columns of a row that have one of the usual names, in the order of the names; large letters do not count.

    Beside an `Instruction` they do: its row has a shape of fixed names, of which a part would be lost.
    """
    folded = {column.lower(): column for column in values}
    fold = "instruction" not in folded
    for name in usual:
        if name in values or (fold and name in folded):
            yield name if name in values else folded[name]


def _remedy(values: Mapping[str, Json]) -> str:
    """What to do about rows of no known shape."""
    if {QUESTION, FUNCTION} <= values.keys():
        return "Name the file with the answers, joined by id: data.answers (--set data.answers=FILE)."
    said = next((name for name, value in values.items() if is_conversation(value)), None)
    if said is not None:
        shape = "messages" if has_roles(values[said]) else "sharegpt"
        return f"Name the column with the conversation: data.format: {shape} and data.text: {said}."
    return NAME_THEM


def _refuse_preferences(values: Mapping[str, Json]) -> None:
    """Rejected answers must not be taken for right ones."""
    if is_preference(values):
        fix = "Use kind: preference. To train on chosen answers alone: data.target: chosen."
        if not {"chosen", "rejected"} & values.keys() and "preferred_output" not in values:
            fix = "Use kind: preference, or keep the rows whose label is true and remove the column."
        raise BadFieldError("", "the rows are preferences", list(values), fix)


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
        field = written_place(error.field, row.values) if shape.name == "bfcl" else error.field
        return Problem(file, row.line, field, error.what, error.got, error.fix, error.finding)


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
    if shape.name in ("messages", "sharegpt"):
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
    if shape.name == "sharegpt" and not has_roles(value):
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
