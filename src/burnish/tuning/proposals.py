"""Asking a chat model for better instructions: what it is told, and what is read from its answer. Pure functions.

What is told: the best instruction so far with its mistakes on training rows, and earlier ones with their values, so
that the model can do better than at random (Yang et al. 2023, OPRO, section 4.2; Pryzant et al. 2023, ProTeGi).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from burnish.records import Json, Message
from burnish.tasks.json_text import read_json

LONGEST = 2000  # characters of an instruction that is tried
SHOWN = 600  # characters of an input or an answer that the model is shown
HISTORY = 6  # earlier instructions that it is told


class Case(NamedTuple):
    """A training row: its input, the right answer, and the model's answer (None where it was right)."""

    input: str
    right: str
    answer: str | None


class Tried(NamedTuple):
    """An instruction and the value it reached on validation, from 0 to 1."""

    instruction: str
    value: float


def request(
    best: Tried, others: Sequence[Tried], mistakes: Sequence[Case], good: Sequence[Case], *, metric: str, count: int
) -> list[Message]:
    """The conversation that asks for `count` new instructions."""
    parts = [
        "A language model does a task. It is told what to do by an instruction, and then given one input. "
        f"Write {count} new instructions that would make it answer better.",
        f"The best instruction so far ({metric} {best.value:.3f}):\n{best.instruction}",
    ]
    if others:
        told = "\n".join(f"- {metric} {one.value:.3f}: {_cut(one.instruction)}" for one in others[:HISTORY])
        parts.append(f"Others that were tried:\n{told}")
    if good:
        parts.append("Inputs with their right answers:\n" + "\n".join(map(_good, good)))
    if mistakes:
        parts.append("Mistakes made with the best instruction:\n" + "\n".join(map(_mistake, mistakes)))
    parts.append(
        "Each instruction must stand alone, say what is wanted and how to decide, and avoid these mistakes in "
        "general, not by naming the examples. The list of labels, the schema or the tools is added to it by itself. "
        f'Answer with JSON: {{"instructions": [{count} texts]}}'
    )
    return [
        Message("system", "You write clear, short instructions for language models."),
        Message("user", "\n\n".join(parts)),
    ]


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + "…"


def _good(case: Case) -> str:
    return f"- Input: {_cut(case.input)}\n  Right answer: {_cut(case.right)}"


def _mistake(case: Case) -> str:
    return f"{_good(case)}\n  The model's answer: {_cut(case.answer or '(nothing)')}"


def answer_schema(count: int, longest: int | None = None) -> dict[str, Json]:
    """JSON Schema of the answer. longest: most characters of an instruction, where the writer can be held to it."""
    text: dict[str, Json] = {"type": "string"} | ({} if longest is None else {"maxLength": longest})
    listed = {"type": "array", "items": text, "minItems": 1, "maxItems": count}
    properties = {"instructions": listed}
    return {"type": "object", "properties": properties, "required": ["instructions"], "additionalProperties": False}


def read_instructions(text: str, known: Sequence[str], count: int) -> list[str]:
    """At most `count` new instructions of an answer: of its JSON, also where it was cut off, else of its list."""
    value, _ = read_json(text, (dict, list))
    listed = next((one for one in value.values() if isinstance(one, list)), []) if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed:
        strings = re.findall(r'"((?:[^"\\]|\\.){12,})"(?!\s*:)', text)
        lines = re.findall(r"(?m)^\s*(?:[-*•]|\d+[.)])\s+(.{12,})$", text)
        listed = strings or lines
    seen = {_plain(one) for one in known}
    found: list[str] = []
    for one in listed:
        if not isinstance(one, str):
            continue
        instruction = one.strip().strip("\"'").strip()
        if 3 <= len(instruction) <= LONGEST and instruction.isprintable() and _plain(instruction) not in seen:
            seen.add(_plain(instruction))
            found.append(instruction)
    return found[:count]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .")
