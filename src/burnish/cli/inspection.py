"""The embedding checks of `burnish check`: which rows, which model, what joins the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.errors import ConfigError, ModelError
from burnish.records import DataReport, Example, Kind

if TYPE_CHECKING:
    from burnish.config.settings import DataConfig
    from burnish.data.logistic import Vectors
    from burnish.inspection.inspect import Embed, Inspection
    from burnish.inspection.sample import Sampler
    from burnish.progress import Progress

LABELLED: tuple[Kind, ...] = ("classification", "tool_calling")  # by default: where there are labels to doubt

UseEmbeddings = Annotated[
    bool | None,
    typer.Option(
        "--embeddings/--no-embeddings",
        help="Look at rows by their meaning, too (default: where there are labels).",
        show_default=False,
    ),
]
SampleSize = Annotated[
    int,
    typer.Option("--sample", metavar="N", min=50, help="Rows of each part that the embedding checks look at."),
]


RequestsFile = Annotated[
    Path | None,
    typer.Option("--requests", metavar="FILE", help="Real requests, to compare the rows with.", show_default=False),
]


HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with plots, too.", show_default=False),
]


class Inspector:
    """Collects rows while they are read, and looks at them afterwards."""

    def __init__(self, wanted: bool | None, size: int, requests: Path | None, progress: Progress) -> None:
        """wanted: None leaves it to the kind of the rows. requests: a file to compare them with.

        Raises ConfigError for requests without embeddings.
        """
        if requests is not None and wanted is False:
            fix = "leave out --no-embeddings"
            raise ConfigError(
                "requests are compared by their embeddings", got=str(requests), where="--requests", fix=fix
            )
        self._wanted = True if requests is not None else wanted
        self._requests = requests
        self._size = size
        self._progress = progress
        self._sampler: Sampler | None = None
        self.found: Inspection | None = None  # what `complete` found

    def observer(self, kind: Kind, data: DataConfig | None = None) -> Callable[[Example, str], None] | None:
        """What is to be shown every row and its part; None when the embedding checks are off.

        data: how the task's rows are read; requests are read likewise. Raises DataError for requests that cannot be.
        """
        if self._wanted is False or (self._wanted is None and kind not in LABELLED):
            return None
        from burnish.data.inputs import read_inputs
        from burnish.data.places import near
        from burnish.inspection.sample import REQUESTS, Sampler

        self._sampler = Sampler(self._size, kind)
        if self._requests is not None:
            names: dict[str, Any] = (
                {} if data is None else data.model_dump(include={"format", "text", "target", "tools"})
            )
            for request in read_inputs(near(self._requests), kind=kind, **names):
                self._sampler.add(request, REQUESTS)
        return self._sampler.add

    def complete(self, report: DataReport) -> DataReport:
        """The report with what the embedding checks found. Without the model they are left out, unless asked for."""
        if self._sampler is None:
            return report
        from burnish.data.reasons import told
        from burnish.inspection.inspect import inspect

        try:
            found = inspect(self._sampler.sample(), embedder(self._progress))
        except ModelError as error:
            if self._wanted:
                raise
            reason = str(error).replace("\n", " ")
            self._progress.notice(f"no embedding checks (--no-embeddings asks for that): {reason}", warning=True)
            return report
        self.found = found
        if found is None:
            return report
        findings = told([*report.findings, *found.findings])
        return replace(report, findings=findings, stats={**report.stats, "inspection": found.stats()})


def embedder(progress: Progress) -> Embed:
    """Texts to vectors, told on `progress`. The model is loaded when it is first asked."""

    def embed(texts: Sequence[str]) -> Vectors:
        from burnish.models.embed import load_embedder

        progress.stage("embed", f"{len(texts):,} rows")
        model = load_embedder(progress=progress)
        return model.embed(texts, lambda done, total: progress.advance("rows embedded", done, total))

    return embed
