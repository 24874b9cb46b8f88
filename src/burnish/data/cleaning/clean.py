"""`burnish check --fix`: cleaned copies beside the files, and a log of every change. The files themselves stay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from burnish.data.checks.masking import masker
from burnish.data.checks.names import FindNames
from burnish.data.cleaning.actions import ACTIONS
from burnish.data.cleaning.answers import with_answer
from burnish.data.cleaning.edits import (
    COPIES,
    DROPPED,
    FORMAT,
    REDACTED,
    REPAIRS,
    SPELLING,
    edit_of,
    edited,
    respelled,
)
from burnish.data.cleaning.log import end_of, entry_of, log_of
from burnish.data.cleaning.rewrite import rewrite
from burnish.data.instances import instances
from burnish.data.read import Row, read_rows
from burnish.errors import ConfigError, DataError
from burnish.records import Finding, Json, Source
from burnish.runs import dumps
from burnish.runs.files import replacing

_KINDS = {"drop": DROPPED, "redact": REDACTED, "repair": (*REPAIRS, SPELLING, FORMAT)}

Plan = dict[str, dict[int, dict[str, str]]]  # file -> line -> kind -> action


class Cleaned(NamedTuple):
    """One file and its cleaned copy. changes: rows by action; log: see log.py."""

    file: str
    written: str
    log: str
    changes: dict[str, int]


def read_actions(text: str) -> tuple[str, ...]:
    """`drop,redact` as a tuple; `all` for all three. Raises ConfigError for another word."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return ACTIONS
    for word in words:
        if word not in ACTIONS:
            fix = f"Use one or more of {', '.join(ACTIONS)}, with commas between, or --fix alone for all."
            raise ConfigError("there is no such action", got=word, where="--fix", fix=fix)
    return tuple(words) or ACTIONS


def make_plan(findings: Iterable[Finding], actions: Collection[str]) -> Plan:
    """What is to be done to which row. Notes (findings of severity info) are nobody's fault and change nothing.

    Nor do spellings of which none is the usual one, and styles other than space at the ends of a field. A row that is
    dropped is not changed besides.
    """
    plan: defaultdict[str, defaultdict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for finding in findings:
        action = _action(finding)
        if (finding.kind == SPELLING and not finding.instead) or (finding.kind == FORMAT and finding.within is None):
            continue
        if action in actions and finding.severity != "info":
            for row in finding.rows:
                plan[row.file][row.line][finding.kind] = action
    made: Plan = {}
    for file, rows in plan.items():
        made[file] = {}
        for line, kinds in sorted(rows.items()):
            drops = {kind: action for kind, action in kinds.items() if action == "drop"}
            made[file][line] = drops or kinds
    return made


def _action(finding: Finding) -> str:
    if finding.kind == "encoding_damage" and finding.severity == "error":  # bytes that are no text
        return "drop"
    return next((action for action in ACTIONS if finding.kind in _KINDS[action]), "")


def copy_of(path: Path, folder: Path | None) -> Path:
    """Where the cleaned copy goes: `rows.jsonl.gz` becomes `rows.clean.jsonl.gz`."""
    stem, *suffixes = path.name.split(".")
    name = ".".join([stem or path.name, "clean", *suffixes]) if stem else f"{path.name}.clean"
    return (folder or path.parent) / name


def clean_files(
    findings: Sequence[Finding],
    actions: Collection[str],
    folder: Path | None = None,
    *,
    answers: Mapping[str, str] | None = None,
    nested: Collection[str] = (),
    names: FindNames | None = None,
) -> list[Cleaned]:
    """Write a cleaned copy of every file with something to change, and its log `<copy>.changes.jsonl`.

    folder: for the copies (None: beside each file). answers: by file the column with the answer (load.FileFormat); in
    other files no space at the ends of fields is taken away. nested: files whose rows may hold several examples.
    names: finds names of persons, which are redacted, too; the logs then show no text. Raises ConfigError when a copy
    is there already, DataError when a file cannot be cut into rows, or when a row of several examples would go for
    the sake of one.
    """
    plan = make_plan(findings, actions)
    instead = {text: usual for finding in findings for text, usual in finding.instead.items()}
    spaced, repeats = _spaced(findings), _kept_of(findings)
    copies = {file: copy_of(Path(file), folder) for file in plan}
    for file, copy in copies.items():
        if copy.exists() or list(copies.values()).count(copy) > 1:
            fix = "Remove it, or name another folder: --out DIR."
            raise ConfigError("the cleaned copy would replace a file", got=str(copy), where=file, fix=fix)
    for file in plan.keys() & set(nested):
        _require_single(file, {line for line, kinds in plan[file].items() if "drop" in kinds.values()})
    return [
        _clean(
            Path(file), copies[file], rows, _Repairs((answers or {}).get(file), spaced[file], instead, repeats), names
        )
        for file, rows in plan.items()
    ]


def _require_single(file: str, drop: Collection[int]) -> None:
    for row in read_rows(file):
        if isinstance(row, Row) and row.line in drop and (count := sum(1 for _ in instances(row.values))) > 1:
            what = f"the row holds {count} instances, of which not all may have to go"
            fix = "Write a row for each instance (instruction, input, output), or drop nothing: --fix redact,repair."
            raise DataError(what, where=f"{file}:{row.line}", fix=fix)


class _Repairs(NamedTuple):
    """answer: the column with the answer. spaced: line to fields with space at an end. instead: label to its usual
    spelling. repeats: copy to the row that is kept of it."""

    answer: str | None
    spaced: Mapping[int, list[tuple[str, ...]]]
    instead: Mapping[str, str]
    repeats: Mapping[Source, Source]


def _spaced(findings: Iterable[Finding]) -> defaultdict[str, defaultdict[int, list[tuple[str, ...]]]]:
    """File to line to the fields with space at an end."""
    found: defaultdict[str, defaultdict[int, list[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        if finding.kind == FORMAT and finding.within is not None:
            for row in finding.rows:
                found[row.file][row.line].append(finding.within)
    return found


def _kept_of(findings: Iterable[Finding]) -> dict[Source, Source]:
    """Copy to the row that it repeats; where that one repeats another, to the one at the end, which stays."""
    found: dict[Source, Source] = {}
    for finding in findings:
        pairs = zip(finding.rows, finding.repeats, strict=False)
        found |= {row: first for row, first in pairs if row != first}  # several rows may begin on one line
    for row in found:
        while found[row] in found:  # each is earlier than the one before
            found[row] = found[found[row]]
    return found


def _clean(
    path: Path,
    copy: Path,
    rows: dict[int, dict[str, str]],
    repairs: _Repairs,
    names: FindNames | None,
) -> Cleaned:
    drop = {line for line, kinds in rows.items() if "drop" in kinds.values()}
    log, mask = log_of(copy), masker(names)
    counts: Counter[str] = Counter()

    def changed(line: int, values: dict[str, Json]) -> dict[str, Json]:
        edit = edit_of(rows[line], mask)
        if SPELLING in rows[line]:
            values = respelled(values, repairs.instead)
        if FORMAT in rows[line] and repairs.answer is not None:
            for field in repairs.spaced[line]:
                values = with_answer(values, repairs.answer, field, str.strip)
        return {key: edited(value, edit) for key, value in values.items()}

    with replacing(copy) as sink, replacing(log) as lines:
        for made in rewrite(path, sink, drop=drop, change=rows.keys() - drop, changed=changed):
            counts.update(set(rows[made.line].values()))
            for kind, action in rows[made.line].items():
                first = repairs.repeats.get(Source(str(path), made.line)) if kind in COPIES else None
                entry = entry_of(path, made, kind, action, repeats=first, text=names is None)
                lines.write(dumps(entry).encode() + b"\n")
        sink.flush()
        lines.write(dumps(end_of(path, copy, Path(sink.name))).encode() + b"\n")
    return Cleaned(str(path), str(copy), str(log), dict(counts))
