"""What is odd about labelled rows, found in one pass that keeps few bytes a row and no row.

Findings here: too_few, exact_duplicate, conflicting_answers, split_leak, empty_field. Those on labels, on text and on
answers that cannot be used are in checks/, those on preference data in pair_check.py, lengths in lengths.py.
Rows are compared by 64 bits of SHA-256: that two of ten million different rows look equal has a chance of three in a
million.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from burnish.data.checks.base import Check, have, repeat, rows_text, text_row
from burnish.data.checks.classes import Classes
from burnish.data.checks.contamination import ContaminationCheck, read_material
from burnish.data.checks.masking import masked_problem
from burnish.data.checks.names import FindNames
from burnish.data.checks.near import NearRows, near_findings, near_leaks
from burnish.data.checks.parts import GroupParts
from burnish.data.checks.suite import text_checks
from burnish.data.checks.unfit import UnfitRows
from burnish.data.duplicates import Hashes, conflicting, later_copies, shared
from burnish.data.fingerprint import input_digest
from burnish.data.lengths import CountTokens, Lengths
from burnish.data.load import BadRows, FileFormat, iter_examples
from burnish.data.pair_check import PairTally
from burnish.data.places import KEPT, Places
from burnish.data.reasons import told
from burnish.data.shapes import Format
from burnish.errors import Problem
from burnish.records import DataReport, Example, Finding, Json, Kind, Severity, Source, Split

MUCH_LEAKED = 0.05  # of the test: public benchmarks leak 1 or 2%, and more decides the result
PARTS = ("train", "validation", "test")


class Checked(NamedTuple):
    """A report on files. problems: the first rows that cannot be used; bad: the number of all; files: as detected."""

    report: DataReport
    problems: tuple[Problem, ...]
    bad: int
    files: tuple[FileFormat, ...]


def check_examples(
    examples: Iterable[Example],
    *,
    kind: Kind,
    stratum: Callable[[Example], str | None] | None = None,
    count_tokens: CountTokens | None = None,
    max_length: int | None = None,
    split: Split | None = None,
    against: Sequence[str | Path] = (),
    names: FindNames | None = None,
    labels: Collection[str] | None = None,
) -> DataReport:
    """The findings on some examples, in one pass.

    stratum: an example's label (None: classification's target). count_tokens: lengths of examples, prompt and answer
    together; called with at most 64 at a time, for a sample of at most 10,000. max_length: longer rows are reported.
    split: its parts are compared with one another (the examples are then usually those of the split).
    against: files of test material that no row to train on may hold. Raises DataError when one cannot be read.
    names: finds names of persons (checks/names.py: name_finder); without it they are not looked for. labels: those
    that the task declares.
    """
    material = read_material(against) if against else None
    tally = _Tally(kind, stratum, count_tokens, max_length, near=split is None, declared=labels, names=names)
    if split is None and material is not None:
        tally.material = ContaminationCheck(material)
    for example in examples:
        tally.add(example)
    if split is None:
        return tally.report()
    parts = _Tally(kind, stratum, None, None, texts=False, declared=labels)
    if material is not None:
        parts.material = ContaminationCheck(material)
    for name, part in zip(PARTS, (split.train, split.validation, split.test), strict=True):
        parts.begin(name)
        for example in part:
            parts.add(example)
    return tally.report(parts)


def check_files(
    paths: str | Path | Sequence[str | Path],
    *,
    kind: Kind,
    validation: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    format: Format = "auto",
    text: str | None = None,
    target: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    document: str | None = None,
    tools: str | None = None,
    slices: Sequence[str] = (),
    labels: Collection[str] | None = None,
    schema: Mapping[str, Json] | None = None,
    answers: Sequence[str | Path] = (),
    stratum: Callable[[Example], str | None] | None = None,
    count_tokens: CountTokens | None = None,
    max_length: int | None = None,
    against: Sequence[str | Path] = (),
    names: FindNames | None = None,
    allow_bad_rows: int = 0,
    show: int = 20,
    observe: Callable[[Example, str], None] | None = None,
) -> Checked:
    """Read and check files without holding their rows: 1 GB takes a few hundred MB. Arguments as above.

    validation, test: files given as those parts. observe: is shown every good row with its part. Rows whose answer
    cannot be used are findings. Raises DataError for more than `allow_bad_rows` rows that cannot be read at all, for
    a file that cannot, and when no row is left.
    """
    tally = _Tally(kind, stratum, count_tokens, max_length, declared=labels, names=names)
    if against:
        tally.material = ContaminationCheck(read_material(against))
    bad = BadRows(show)
    unfit = UnfitRows()
    files: list[FileFormat] = []
    train = [paths] if isinstance(paths, str | Path) else paths
    for name, part in zip(PARTS, (train, validation, test), strict=True):
        tally.begin(name)
        for item in iter_examples(
            part,
            kind=kind,
            format=format,
            text=text,
            target=target,
            group=group,
            weight=weight,
            document=document,
            tools=tools,
            slices=slices,
            labels=labels,
            schema=schema,
            answers=answers,
            on_file=files.append,
        ):
            if isinstance(item, Example):
                tally.add(item)
                if observe is not None:
                    observe(item, name)
                continue
            bad.add(item)
            if item.finding:
                unfit.add(masked_problem(item))
    if bad.lost or bad.count - unfit.count > allow_bad_rows or (bad.count and not tally.rows):
        bad.require_readable(tally.rows, allow_bad_rows if tally.rows else -1)
    report = tally.report(tally if validation or test else None)
    if unfit.count:
        findings = told([*unfit.findings(allow_bad_rows), *report.findings])
        report = DataReport(report.rows, findings, report.stats)
    return Checked(report, bad.shown(), bad.count, tuple(files))


class _Tally:
    """Fixed-size facts about every row: 8 bytes of its input's hash, 8 of its content's, 4 of its line."""

    def __init__(
        self,
        kind: Kind,
        stratum: Callable[[Example], str | None] | None,
        count_tokens: CountTokens | None,
        max_length: int | None,
        *,
        texts: bool = True,
        near: bool = True,
        declared: Collection[str] | None = None,
        names: FindNames | None = None,
    ) -> None:
        self.kind = kind
        self.stratum = stratum
        self.max_length = max_length
        self.inputs = array("Q")
        self.contents = array("Q")
        self.lines = array("I")
        self.file_starts: list[int] = []  # row at which rows of another file begin
        self.files: list[str] = []
        self.parts: list[tuple[str, int]] = [("train", 0)]
        self.classes = Classes(kind, declared=declared)
        self.empty_inputs = Places()
        self.empty_targets = Places()
        self.groups = array("q")  # hashes, to count the different ones
        self.group_parts = GroupParts()
        self.lengths = None if count_tokens is None else Lengths(count_tokens, max_length)
        self.pairs = PairTally() if kind == "preference" else None
        self.checks: list[Check] = text_checks(kind, names) if texts else []
        self.near = NearRows(kind) if near else None
        self.material: ContaminationCheck | None = None

    @property
    def rows(self) -> int:
        return len(self.lines)

    def begin(self, part: str) -> None:
        """Rows from here on belong to `part`."""
        if self.rows == 0 and len(self.parts) == 1:
            self.parts = []
        self.parts.append((part, self.rows))

    def add(self, example: Example) -> None:
        content = int(example.id, 16)
        source = example.source
        self.inputs.append(int.from_bytes(input_digest(example.messages, example.tools)[:8], "big"))
        self.contents.append(content)
        if not self.files or self.files[-1] != source.file:
            self.files.append(source.file)
            self.file_starts.append(self.rows)
        self.lines.append(min(source.line, 2**32 - 1))
        if any(not message.content.strip() and not message.tool_calls for message in example.messages):
            self.empty_inputs.add(source)
        if self.kind == "extraction" and any(value == "" for value in example.target.values()):
            self.empty_targets.add(source)
        if self.pairs is not None:
            self.pairs.add(example)
        if example.group is not None:
            self.groups.append(hash(example.group))
            if self.kind != "preference" or not example.group.startswith("prompt "):  # equal prompts are told anyway
                self.group_parts.add(self.parts[-1][0], example.group, source)
        self.classes.add(self.parts[-1][0], self._label(example), source)
        if self.lengths is not None:
            self.lengths.add(example)
        row = text_row(example)
        for check in self.checks:
            check.add(row)
        if self.near is not None:
            self.near.add(row)
        if self.material is not None and self.parts[-1][0] != "test":
            self.material.add(row)

    def _label(self, example: Example) -> str | None:
        if self.stratum is not None:
            return self.stratum(example)
        if self.kind == "preference" and "desirable" in example.target:
            return "desirable" if example.target["desirable"] else "undesirable"
        return example.target if self.kind == "classification" else None

    def sources(self, rows: Iterable[int]) -> tuple[Source, ...]:
        """Where rows stand, given their indices."""
        return tuple(
            Source(self.files[bisect_right(self.file_starts, row) - 1], self.lines[row]) for row in map(int, rows)
        )

    def part_rows(self, wanted: str) -> Iterator[slice]:
        ends = [start for _, start in self.parts[1:]] + [self.rows]
        for (part, start), end in zip(self.parts, ends, strict=True):
            if part == wanted and end > start:
                yield slice(start, end)

    def report(self, parts: _Tally | None = None) -> DataReport:
        """parts: the tally that knows which row is in which part, if rows are divided."""
        labels = self.classes.labels
        findings = [*_size_findings(self.rows), *self._copies(), *self._empty(), *self.classes.findings(self.sources)]
        findings += [finding for check in self.checks for finding in check.findings()]
        stats: dict[str, Json] = {"rows": self.rows}
        if labels:
            stats["labels"] = dict(sorted(labels.items(), key=lambda item: (-item[1], item[0])))
        if self.pairs is not None:
            findings += self.pairs.findings(self.sources)
            stats |= self.pairs.stats()
        if self.groups:
            stats["groups"] = len(np.unique(np.frombuffer(self.groups, dtype=np.int64)))
        compared = parts or self
        findings += compared.near_copies()
        if compared.material is not None:
            findings += compared.material.findings()
        if parts is not None:
            stats["parts"] = {part: sum(rows.stop - rows.start for rows in parts.part_rows(part)) for part in PARTS}
            findings += _leaks(parts)
            findings += parts.classes.part_findings()
            findings += parts.group_parts.findings()
        if self.lengths is not None:
            self.lengths.flush()
            stats["tokens"] = self.lengths.stats(self.rows)
            findings += self.lengths.findings(self.rows)
        return DataReport(self.rows, told(findings), stats)

    def near_copies(self) -> Iterator[Finding]:
        if self.near is not None:
            found = self.near.later(later_copies(_hashes(self.contents))[0].tolist())
            yield from near_findings(found, self.rows, self.sources)

    def _copies(self) -> Iterator[Finding]:
        contents, inputs = _hashes(self.contents), _hashes(self.inputs)
        copies, firsts = later_copies(contents)
        if len(copies):
            yield Finding(
                "exact_duplicate",
                "warning",
                len(copies),
                f"{repeat(len(copies))} an earlier one exactly ({_share(len(copies), self.rows)})",
                "Remove the copies, or give one row a weight: copies count twice in training and in the metric.",
                self.sources(copies[:KEPT]),
                repeats=self.sources(firsts[:KEPT]),
            )
        rows, asked = conflicting(inputs, contents)
        if asked and self.pairs is None:  # several pairs of one prompt are the usual case
            inputs_text = "1 input has" if asked == 1 else f"{asked:,} inputs have"
            yield Finding(
                "conflicting_answers",
                "warning",
                len(rows),
                f"{inputs_text} different answers in different rows ({rows_text(len(rows))})",
                "Decide on one answer: no model can get all of them right, which caps every metric.",
                self.sources(rows[:KEPT]),
            )

    def _empty(self) -> Iterator[Finding]:
        if self.empty_inputs.count:
            yield Finding(
                "empty_field",
                "warning",
                self.empty_inputs.count,
                f"{have(self.empty_inputs.count)} an empty turn in the input",
                "Fill or remove them: the model would learn to answer nothing with something.",
                tuple(self.empty_inputs.first),
            )
        if self.empty_targets.count:
            yield Finding(
                "empty_field",
                "info",
                self.empty_targets.count,
                f"{have(self.empty_targets.count)} an empty string in the target",
                'Write null, or leave the field out, if it means "not there": the schema can then say so.',
                tuple(self.empty_targets.first),
            )


def _hashes(values: array[int]) -> Hashes:
    return np.frombuffer(values, dtype=np.uint64) if len(values) else np.empty(0, dtype=np.uint64)


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%} of {total:,}"


def _size_findings(rows: int) -> Iterator[Finding]:
    levels: tuple[tuple[int, Severity, str], ...] = (
        (10, "error", "Label at least 10 rows, better 100: fewer cannot be divided into train and test."),
        (100, "warning", "Label 100 rows or more: below that fine-tuning rarely pays and intervals are wide."),
    )
    for least, severity, advice in levels:
        if rows < least:
            yield Finding("too_few", severity, rows, f"there are {rows} labelled rows, fewer than {least}", advice)
            return


def _leaks(tally: _Tally) -> Iterator[Finding]:
    """Inputs of validation or test that another part shows too."""
    inputs = _hashes(tally.inputs)
    index = {
        part: np.concatenate(
            [np.arange(rows.start, rows.stop) for rows in tally.part_rows(part)] or [np.empty(0, np.int64)]
        )
        for part in PARTS
    }
    for seen, held in (("train", "test"), ("validation", "test"), ("train", "validation")):
        size = len(index[held])
        rows = index[held][shared(inputs[index[held]], inputs[index[seen]])]
        if len(rows):
            spoilt = held == "test" and len(rows) > MUCH_LEAKED * size
            yield Finding(
                "split_leak",
                "error" if spoilt else "warning",
                len(rows),
                f"{rows_text(len(rows))} of {held} ask what a row of {seen} asks too ({_share(len(rows), size)})",
                f"Remove them from {seen}: a result on rows that were trained or tuned on proves nothing.",
                tally.sources(rows[:KEPT]),
            )
        if tally.near is not None:
            near = tally.near.across(index[seen], np.setdiff1d(index[held], rows))
            yield from near_leaks(near, (seen, held), size, tally.sources)
