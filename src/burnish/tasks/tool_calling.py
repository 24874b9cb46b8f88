"""Tool calling: the answer is a JSON list of calls, each {"name", "arguments"}.

A target's argument is a value, or the values that are accepted (burnish/calls.py). `tools` are OpenAI function
schemas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.calls import first_accepted, options, parameter_schema
from burnish.records import Constraint, Example, Json, JsonSchema, Kind, Message, Parsed
from burnish.tasks.base import Metric
from burnish.tasks.json_text import compact, in_schema_order, json_equal, read_json, validator
from burnish.tasks.metrics import f1_metric, precision_recall_f1, rate_metric
from burnish.tasks.prompts import conversation

_FORM = (
    'Answer with a JSON list of the calls to make, each {"name": …, "arguments": {…}}, and nothing else. '
    "Answer [] when no call is needed."
)


@dataclass(frozen=True)
class ToolCalling:
    """See tasks/base.py:Task. shared_tools: all examples have the same tools, so a tuned model need not be told."""

    name: str
    instruction: str
    shared_tools: bool
    metrics: tuple[Metric, ...]
    kind: Kind = field(default="tool_calling", init=False)

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        system = self.instruction.strip()
        if full or not self.shared_tools:
            system += f"\n\nTools:\n{compact([_described(tool) for tool in example.tools])}"
        if full:
            system += f"\n\n{_FORM}"
        return conversation(system, example, shots, self.answer)

    def answer(self, example: Example) -> Message:
        schemas = dict(_parameters(example))
        calls = [
            {"name": call["name"], "arguments": in_schema_order(_chosen(call), schemas.get(call["name"]))}
            for call in example.target
        ]
        return Message("assistant", compact(calls))

    def constraint(self, example: Example) -> Constraint | None:
        return JsonSchema(calls_schema(example))

    def parse(self, text: str, example: Example) -> Parsed:
        value, error = read_json(text, (list, dict))
        if error is None and isinstance(value, dict):
            value = [value]  # one call without its list
        if error is None:
            error = _explain(value, example)
        return Parsed(value) if error is None else Parsed(None, error)

    def stratum(self, example: Example) -> str | None:
        return tools_called(example)

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        return {"per_tool": _per_tool(examples, parsed)}


def tools_called(example: Example) -> str:
    """The names of the tools of the right answer, "no call" where there are none."""
    return "+".join(sorted(call["name"] for call in example.target)) or "no call"


def _function(tool: Mapping[str, Json]) -> Mapping[str, Any]:
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) else {}


def _described(tool: Mapping[str, Json]) -> dict[str, Json]:
    function = _function(tool)
    return {key: function[key] for key in ("name", "description", "parameters") if key in function}


def _parameters(example: Example) -> list[tuple[str, dict[str, Any]]]:
    """(name, schema of the arguments) of every tool. Arguments that a tool does not name are refused."""
    found = []
    for tool in example.tools:
        function = _function(tool)
        schema = parameter_schema(function.get("parameters") or {})
        schema["type"] = "object"
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
        found.append((str(function.get("name", "")), schema))
    return found


def calls_schema(example: Example) -> dict[str, Any]:
    """JSON Schema of the answer: a list of calls of the example's tools (of any tool when it has none)."""
    calls: list[Json] = []
    definitions: dict[str, Json] = {}
    for index, (name, schema) in enumerate(_parameters(example)):
        arguments: Json = schema
        if '"$ref"' in compact(schema):  # local references keep leading inside their tool's own schema
            definitions[f"tool{index}"] = _moved(schema, f"#/$defs/tool{index}")
            arguments = {"$ref": f"#/$defs/tool{index}"}
        calls.append(_call_schema({"const": name}, arguments))
    if not calls:
        calls = [_call_schema({"type": "string"}, {"type": "object"})]
    schema = {"type": "array", "items": calls[0] if len(calls) == 1 else {"anyOf": calls}}
    return {**schema, "$defs": definitions} if definitions else schema


def _call_schema(name: Json, arguments: Json) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {"name": name, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, root: str) -> Any:
    if isinstance(schema, list):
        return [_moved(item, root) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: root + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, root)
        for key, value in schema.items()
    }


def _explain(value: Json, example: Example) -> str | None:
    """Why a list is not a list of calls of the example's tools, None when it is one."""
    known = dict(_parameters(example))
    for index, call in enumerate(value):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return f"call {index + 1} has no name"
        if not isinstance(call.get("arguments"), dict):
            return f"call {index + 1} ({call['name']}) has no arguments object"
        if extra := sorted(call.keys() - {"name", "arguments"}):
            return f"call {index + 1} ({call['name']}) has other keys: {', '.join(extra)}"
        if known and call["name"] not in known:
            return f"call {index + 1}: there is no tool {call['name']!r}"
        if known and (error := validator(known[call["name"]])(call["arguments"])):
            return f"call {index + 1} ({call['name']}): {error}"
    return None


def _optional(spec: Json) -> bool:
    several = options(spec)
    return several is not None and "" in several


def _chosen(call: Mapping[str, Json]) -> dict[str, Json]:
    """The arguments to train on: of several accepted values the first that is given."""
    resolved = first_accepted(call["arguments"])
    return dict(resolved) if isinstance(resolved, Mapping) else {}


def accepts(spec: Json, value: Json) -> bool:
    """Whether a value is what a target asks for, with any_of at every depth."""
    several = options(spec)
    if several is not None:
        return any(accepts(option, value) for option in several)
    if isinstance(spec, Mapping):
        if not isinstance(value, Mapping) or value.keys() - spec.keys():
            return False
        return all(accepts(inner, value[key]) if key in value else _optional(inner) for key, inner in spec.items())
    if isinstance(spec, list):
        return isinstance(value, list) and len(spec) == len(value) and all(map(accepts, spec, value))
    return json_equal(spec, value)


def _call_accepts(target: Mapping[str, Json], call: Mapping[str, Json]) -> bool:
    return bool(target["name"] == call["name"]) and accepts(target["arguments"], call["arguments"])


def _all_match(example: Example, parsed: Parsed) -> bool:
    """Every call matched with one target and the reverse, in any order (augmenting paths)."""
    targets, calls = example.target, parsed.value
    if calls is None or len(targets) != len(calls):
        return False
    owner: dict[int, int] = {}  # call -> target

    def assign(target: int, tried: set[int]) -> bool:
        for call in range(len(calls)):
            if call not in tried and _call_accepts(targets[target], calls[call]):
                tried.add(call)
                if call not in owner or assign(owner[call], tried):
                    owner[call] = target
                    return True
        return False

    return all(assign(target, set()) for target in range(len(targets)))


def _names(calls: Sequence[Mapping[str, Json]] | None) -> Counter[str]:
    return Counter(str(call["name"]) for call in calls or ())


def _names_match(example: Example, parsed: Parsed) -> bool:
    return parsed.value is not None and _names(example.target) == _names(parsed.value)


def _right_arguments(target: Mapping[str, Json], call: Mapping[str, Json]) -> int:
    given = call["arguments"]
    return sum(key in given and accepts(spec, given[key]) for key, spec in target["arguments"].items())


def _argument_counts(example: Example, parsed: Parsed) -> tuple[int, int, int]:
    """[tp, fp, fn] over arguments. Calls of one name are paired, the best pairs first.

    A call that has no partner counts all its arguments as wrong, and one when it has none, so that a call
    without arguments is not free.
    """
    targets: list[Mapping[str, Json]] = list(example.target)
    calls: list[Mapping[str, Json]] = list(parsed.value or [])
    pairs = sorted(
        ((-_right_arguments(target, call), i, j) for i, target in enumerate(targets)
         for j, call in enumerate(calls) if target["name"] == call["name"])
    )  # fmt: skip
    tp = fp = fn = 0
    free_targets, free_calls = set(range(len(targets))), set(range(len(calls)))
    for negative, i, j in pairs:
        if i not in free_targets or j not in free_calls:
            continue
        free_targets.discard(i)
        free_calls.discard(j)
        right, given = -negative, calls[j]["arguments"]
        tp += right
        fp += len(given) - right
        missing = [key for key, spec in targets[i]["arguments"].items() if key in given or not _optional(spec)]
        fn += len(missing) - right
    fp += sum(max(1, len(calls[j]["arguments"])) for j in free_calls)
    fn += sum(max(1, sum(not _optional(s) for s in targets[i]["arguments"].values())) for i in free_targets)
    if parsed.value is None and not targets:
        fp += 1  # text that is no list where [] is right
    return tp, fp, fn


def _per_tool(examples: Sequence[Example], parsed: Sequence[Parsed]) -> list[Json]:
    """One row a tool: how often it is wanted and called; precision, recall and f1 of calling it;
    exact: share of the wanted calls whose arguments are right, too."""
    totals: dict[str, Counter[str]] = {}
    for example, answer in zip(examples, parsed, strict=True):
        wanted, called = _names(example.target), _names(answer.value)
        for name in wanted.keys() | called.keys():
            tp = min(wanted[name], called[name])
            row = totals.setdefault(name, Counter())
            row.update(wanted=wanted[name], called=called[name], tp=tp)
            targets = [target for target in example.target if target["name"] == name]
            row["exact"] += _matched(targets, [call for call in answer.value or [] if call["name"] == name])
    return [
        {
            "tool": name,
            "wanted": row["wanted"],
            "called": row["called"],
            "exact": row["exact"] / row["wanted"] if row["wanted"] else 0.0,
            **precision_recall_f1(row["tp"], row["called"] - row["tp"], row["wanted"] - row["tp"]),
        }
        for name, row in sorted(totals.items(), key=lambda item: (-item[1]["wanted"], item[0]))
    ]


def _matched(targets: Sequence[Mapping[str, Json]], calls: Sequence[Mapping[str, Json]]) -> int:
    free = list(calls)
    count = 0
    for target in targets:
        hit = next((call for call in free if _call_accepts(target, call)), None)
        if hit is not None:
            free.remove(hit)
            count += 1
    return count


def tool_calling_metrics() -> tuple[Metric, ...]:
    """call_match: all calls right, in any order. name_match: the right tools, each as often as wanted.
    argument_f1: micro F1 over arguments. valid: a list of calls that the tools' schemas accept."""
    return (
        rate_metric("call_match", _all_match),
        rate_metric("name_match", _names_match),
        f1_metric("argument_f1", _argument_counts),
        rate_metric("valid", lambda example, parsed: parsed.value is not None),
    )
