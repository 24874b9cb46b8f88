"""`burnish data next`: which rows of an unlabelled file to label next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.inspection import embedder
from burnish.cli.options import AllowBadRows, AsJson, TaskFile
from burnish.cli.shell import print_json, show
from burnish.errors import DataError
from burnish.records import Json

if TYPE_CHECKING:
    from burnish.inspection.next_labels import Choice
    from burnish.inspection.sample import Item

MOST_LABELLED = 20_000
MOST_CANDIDATES = 50_000


def next_labels(
    task: TaskFile,
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="Rows without labels: text lines or a file of rows.")
    ],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many rows to choose.")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them as JSONL, too.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    allow_bad_rows: AllowBadRows = 0,
) -> None:
    """Choose the rows that are worth labelling next: where a probe is unsure, spread over what there is.

    They are no random sample: put them into the training part, not into the test.
    """
    from burnish.config import load_task
    from burnish.data.places import near
    from burnish.inspection.next_labels import choose_next
    from burnish.inspection.sample import REQUESTS, Sampler
    from burnish.prepare import read_labelled
    from burnish.reports.inspection import choices_view
    from burnish.reports.terminal import TerminalProgress
    from burnish.runs import write_jsonl

    with TerminalProgress() as progress:
        loaded = load_task(task)
        kind, data = loaded.config.kind, loaded.config.data
        known = Sampler(MOST_LABELLED, kind)
        for example in read_labelled(loaded, allow_bad_rows, progress):
            known.add(example)
        labelled = known.sample().items
        asked = Sampler(MOST_CANDIDATES, kind)
        from burnish.data.inputs import read_inputs

        names = data.model_dump(include={"format", "text", "target", "tools"})
        for request in read_inputs(near(source), kind=kind, **names):
            asked.add(request, REQUESTS)
        seen = {item.text for item in labelled}
        candidates = [item for item in asked.sample().items if item.text not in seen]
        if not candidates:
            fix = "give rows that are not among the task's own"
            raise DataError("there is nothing new to label", where=str(source), fix=fix)
        embed = embedder(progress)
        chosen = choose_next(
            embed([item.text for item in labelled]),
            [item.label for item in labelled],
            [item.unit for item in labelled],
            embed([item.text for item in candidates]),
            number,
            seed=loaded.config.seed,
        )
    rows = _rows(chosen, candidates, data.text or "text")
    if out is not None:
        write_jsonl(out, rows)
    if as_json:
        print_json({"labelled": len(labelled), "candidates": len(candidates), "chosen": rows})
    else:
        show(choices_view(chosen, candidates, len(labelled)))
        if out is not None:
            typer.echo(out)


def _rows(chosen: Sequence[Choice], candidates: Sequence[Item], column: str) -> list[dict[str, Json]]:
    made: list[dict[str, Json]] = []
    for choice in chosen:
        item = candidates[choice.row]
        about: dict[str, Json] = {column: item.text, "file": item.source.file, "line": item.source.line}
        if choice.likely:
            about |= {"likely": choice.likely, "second": choice.second, "margin": round(choice.margin, 4)}
        made.append(about)
    return made
