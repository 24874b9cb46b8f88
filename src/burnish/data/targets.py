"""What a row says is right, checked by the task's kind: a label, a JSON object, a text, calls, a judged answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from burnish.calls import first_accepted
from burnish.data.fingerprint import canonical
from burnish.data.strict_json import kind_of, parse_json
from burnish.data.turns import BadFieldError, Tools, decoded, finding, nearest, read_tool_calls
from burnish.errors import MISSING, ConfigError
from burnish.records import Json, Kind
from burnish.thoughts import has_thought

Check = Callable[[Json, str], None]

_UNLABELLED = "Write what is right for this row, or remove the row."


def read_target(
    kind: Kind,
    value: Json,
    field: str,
    *,
    tools: Tools = (),
    labels: frozenset[str] | None = None,
    schema: Check | None = None,
) -> Json:
    """The target of one row in the form `records.Example` gives for its kind.

    value: as found, or MISSING; field: where, for the message. labels: the known ones, None for any.
    schema: raises BadFieldError for an object that breaks the task's schema. Raises BadFieldError.
    """
    if value is MISSING:
        raise BadFieldError(field, "the row is unlabelled: the field is missing", MISSING, _UNLABELLED, "empty_field")
    if kind == "preference":
        return value  # made and checked by preferences.py
    if value is None or (isinstance(value, str) and not value.strip()):
        what = "the row is unlabelled: the field is " + ("null" if value is None else "empty")
        raise BadFieldError(field, what, value, _UNLABELLED, "empty_field")
    if kind != "generation" and isinstance(value, str) and has_thought(value):
        what = f"the answer begins with a thought, and answers of kind {kind} are learned without"
        raise BadFieldError(field, what, value, "Take the thought out, or use kind: generation.")
    with finding("invalid_tool_call" if kind == "tool_calling" else "schema_violation"):
        if kind == "classification":
            return _label(value, field, labels)
        if kind == "extraction":
            return _object(value, field, schema)
        if kind == "generation":
            return _text(value, field)
        return _calls(value, field, tools)


def _label(value: Json, field: str, labels: frozenset[str] | None) -> str:
    if isinstance(value, list | dict):
        what = f"a label must be one string, this is {kind_of(value)}"
        raise BadFieldError(field, what, value, "Give each row one label; write one row a label otherwise.")
    if isinstance(value, bool):
        label = "true" if value else "false"
    elif isinstance(value, int):
        label = str(value)
    elif isinstance(value, str):
        label = value.strip()
    else:
        what = f"a label must be a string, this is {kind_of(value)}"
        raise BadFieldError(field, what, value, "Write the label as text or as a whole number.")
    if labels is not None and label not in labels:
        hint = nearest(label, sorted(labels)) or f" Known are {', '.join(sorted(labels)[:10])}."
        raise BadFieldError(field, "this label is not one of the task's labels", label, f"Correct or add it.{hint}")
    return label


def _object(value: Json, field: str, schema: Check | None) -> Json:
    value = decoded(value, field, "the target")
    if not isinstance(value, dict):
        what = f"the target must be a JSON object, this is {kind_of(value)}"
        raise BadFieldError(
            field, what, value, 'Write an object with the fields to extract, such as {"total": "9.00"}.'
        )
    _require_json(value, field)
    if schema is not None:
        schema(value, field)
    return value


def _require_json(value: Json, field: str) -> None:
    try:
        canonical(value)
    except (TypeError, ValueError):
        fix = "Use text, finite numbers, true, false, null, lists and objects only."
        raise BadFieldError(field, "the target holds a value that JSON does not have", value, fix) from None


def _text(value: Json, field: str) -> str:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and value[0].strip():
        return value[0]  # SQuAD's form of a single answer
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    fix = "Write it as a string; for objects use kind: extraction."
    raise BadFieldError(field, f"the target must be text, this is {kind_of(value)}", value, fix)


def answer_text(value: Json, field: str) -> str:
    """An answer that was judged, as text; it may be empty. Numbers and true and false become text, as labels do."""
    if value is MISSING or value is None:
        what = "the row is unlabelled: the field is " + ("missing" if value is MISSING else "null")
        fix = 'Write the answer, or "" for one that says nothing.'
        raise BadFieldError(field, what, value, fix, "empty_field")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    fix = "Write it as a string, or as a list with one assistant turn."
    what = f"an answer must be text, this is {kind_of(value)}"
    raise BadFieldError(field, what, value, fix, "schema_violation")


def _calls(value: Json, field: str, tools: Tools) -> list[Json]:
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", "{"):
        fix = "Write the calls as tool_calls of the last assistant turn, or as a JSON list."
        raise BadFieldError(field, "the row is unlabelled: the answer calls no tool", value, fix)
    calls = read_tool_calls(value, field)
    if not calls:
        fix = "Write at least one call, or remove the row."
        raise BadFieldError(field, "the row is unlabelled: the list of calls is empty", value, fix)
    if not tools:
        fix = "Give the row its tools (a column 'tools', or data.tools: COLUMN)."
        raise BadFieldError("tools", "the row calls a tool but lists none", MISSING, fix)
    known: dict[str, Mapping[str, Json]] = {tool["function"]["name"]: tool["function"] for tool in tools}
    for index, call in enumerate(calls):
        place = f"{field}[{index}]"
        if call.name not in known:
            fix = f"Call a tool of the row, or add this one.{nearest(call.name, list(known))}"
            raise BadFieldError(f"{place}.name", "the row has no tool of this name", call.name, fix)
        _require_json(dict(call.arguments), f"{place}.arguments")
        learned = first_accepted(dict(call.arguments))
        _argument_check(canonical(known[call.name].get("parameters", {})))(learned, f"{place}.arguments")
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]


@lru_cache(maxsize=4096)
def _argument_check(parameters: bytes) -> Check:
    return _check(parse_json(parameters.decode("utf-8")), "the arguments break the tool's schema")


def schema_check(schema: Mapping[str, Json]) -> Check:
    """A function (value, field) that raises BadFieldError at the first place where a value breaks the schema.

    Raises ConfigError when the schema is not one. No reference is fetched from a network.
    """
    import jsonschema
    from jsonschema.exceptions import SchemaError

    try:
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        place = ".".join(["schema", *map(str, error.absolute_path)])
        raise ConfigError(
            f"not a valid JSON Schema: {error.message}", where=place, fix="Correct the schema."
        ) from None
    return _check(schema, "the target breaks the schema")


def _check(schema: Mapping[str, Json], what: str) -> Check:
    import jsonschema
    import referencing
    from jsonschema.exceptions import ValidationError
    from referencing.exceptions import Unresolvable

    # an empty registry: by default a $ref to a URL would be fetched
    validator: Any = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(
        schema, registry=referencing.Registry()
    )

    def check(value: Json, field: str) -> None:
        try:
            errors: Sequence[ValidationError] = sorted(
                validator.iter_errors(value), key=lambda e: str(e.absolute_path)
            )
        except Unresolvable as error:
            fix = "Write the definition into the schema under $defs: references are not fetched."
            raise BadFieldError(
                field, f"the schema refers to {error.ref!r}, which is not in it", MISSING, fix
            ) from None
        except RecursionError:
            fix = "Make its references end."
            raise BadFieldError(field, "the schema refers to itself without end", MISSING, fix) from None
        if errors:
            first = errors[0]
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first.absolute_path)
            more = f" ({len(errors) - 1} more in this row)" if len(errors) > 1 else ""
            fix = f"{_schema_advice(first)}{more}"
            raise BadFieldError(f"{field}{path}", f"{what}: {_short(first)}", first.instance, fix)

    return check


def _short(error: Any) -> str:
    """jsonschema repeats the whole instance in its messages; the value is shown apart, so only the rule is named."""
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{', '.join(map(repr, missing))} missing"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        extra = [key for key in error.instance if key not in known]
        return f"{', '.join(map(repr, extra[:5]))} not expected"
    text = str(error.validator_value)
    return f"{error.validator} must be {text if len(text) <= 80 else text[:79] + '…'}"


def _schema_advice(error: Any) -> str:
    if error.validator == "required":
        return "Add the field, or drop it from the schema's 'required'."
    if error.validator == "enum":
        values = [value for value in error.validator_value if isinstance(value, str)]
        hint = nearest(error.instance, values) if isinstance(error.instance, str) else ""
        return f"Use one of the values of the enum.{hint}"
    if error.validator == "additionalProperties":
        return "Remove the field, or add it to the schema's properties."
    return "Correct the value or the schema."
