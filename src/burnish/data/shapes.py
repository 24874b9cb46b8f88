"""The shapes that rows come in, and which of them a file has.

    messages           {"messages": [{role, content, tool_calls?, name?, weight?}, …], "tools"?}
    prompt_completion  {"prompt", "completion"}: strings or lists of messages
    alpaca             {"instruction", "input"?, "output", "system"?, "history"?}
    sharegpt           {"conversations": [{from, value}, …], "system"?, "tools"?}
    self_instruct      {"instruction", "instances": [{"input", "output"}, …]}: an example each (instances.py)
    bfcl               {"question": [[…]], "function", "ground_truth"} (leaderboard.py)
    gemini             {"contents": [{role, parts}, …], "systemInstruction"?, "tools"?} (gemini.py)
    columns            a text (or messages) column and a target column: text and label, text and target, …

"classification" and "extraction" name the last one with its usual target column. Preference data have shapes of their
own: preferences.py. A row of a shape becomes an Example in formats.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from burnish.data.gemini import CONTENTS
from burnish.data.instances import INSTANCES, INSTRUCTION
from burnish.data.leaderboard import ANSWER, FUNCTION, QUESTION
from burnish.data.preferences import COMPLETIONS, PairName, is_preference, preference_shape
from burnish.data.prompts import has_roles, is_conversation
from burnish.data.streams import Row
from burnish.data.targets import Check
from burnish.data.turns import BadFieldError, nearest
from burnish.errors import MISSING
from burnish.records import Json, Kind

_Own = Literal["messages", "prompt_completion", "alpaca", "sharegpt", "self_instruct", "bfcl", "gemini"]
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


_TURNS = {"sharegpt": "conversations", "gemini": CONTENTS}
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
        Shape("gemini", CONTENTS),
    ]


def _named_shape(values: Mapping[str, Json], rules: Rules) -> Shape:
    text, target = rules.columns.text, rules.columns.target
    if rules.format == "messages":
        shape = Shape("columns", text or "messages", target) if target else Shape("messages", text or "messages")
    elif rules.format == "sharegpt" or rules.format == "gemini":
        shape = Shape(rules.format, text or _TURNS[rules.format])
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
