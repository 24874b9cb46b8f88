"""Runs that exist: `burnish runs`, `show`, `diff`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli.options import RUNS_DIR, AsJson, RunsDir
from burnish.cli.shell import print_json, show

if TYPE_CHECKING:
    from burnish.finished import Run

_WHICH = "A run's folder, its id or the beginning of it, or latest."
RunName = Annotated[str, typer.Argument(metavar="RUN", help=_WHICH)]
NewestRun = Annotated[str, typer.Argument(metavar="[RUN]", help=_WHICH)]


def runs(as_json: AsJson = False, runs_dir: RunsDir = RUNS_DIR) -> None:
    """List the runs, the newest first."""
    from burnish.reports.views import runs_view
    from burnish.runs import list_runs, to_json

    found = list_runs(runs_dir)
    if as_json:
        print_json(found)
    else:
        show(runs_view([to_json(run) for run in found]))


def show_run(run: NewestRun = "latest", as_json: AsJson = False, runs_dir: RunsDir = RUNS_DIR) -> None:
    """Show a run: all systems side by side, the verdict and its reasons."""
    from burnish.finished import Run

    found = Run.open(run, runs_dir)
    if as_json:
        print_json(_as_json(found))
    else:
        show_results(found)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_WHICH)],
    b: Annotated[str, typer.Argument(metavar="B", help="The run to compare it with.")],
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Show what two runs do not share: settings, data, environment; and their results side by side."""
    from burnish.finished import Run
    from burnish.reports.views import diff_view
    from burnish.runs import diff_runs

    left, right = Run.open(a, runs_dir), Run.open(b, runs_dir)
    difference = diff_runs(left.path, right.path)
    if as_json:
        print_json({"a": left.run_id, "b": right.run_id, "differences": difference})
    else:
        show(diff_view(left.run_id, right.run_id, difference))


def report(run: NewestRun = "latest", runs_dir: RunsDir = RUNS_DIR) -> None:
    """Write report.html and MODEL_CARD.md of a run again; prints their paths, and what of the run is damaged."""
    from burnish.finished import Run
    from burnish.reports.html import write_report
    from burnish.reports.model_card import write_model_card
    from burnish.reports.rundata import read_run

    found = Run.open(run, runs_dir)
    data = read_run(found.path)
    for problem in data.problems:
        typer.echo(f"damaged: {problem}", err=True)
    for path in (write_report(found.path, data), write_model_card(found.path, data)):
        typer.echo(path)


def show_results(run: Run) -> None:
    """A run for people, finished or not."""
    from rich.text import Text

    from burnish.reports.calibration import calibration_view
    from burnish.reports.prompts import prompts_view
    from burnish.reports.retrieval import retrieval_view
    from burnish.reports.rundata import read_run
    from burnish.reports.slices import slices_view
    from burnish.reports.text import moment, one_line
    from burnish.reports.views import forgetting_view, systems_view, verdict_view
    from burnish.runs import remedy, run_status

    data = read_run(run.path)
    status = run_status(run.path, data.run)
    about = f"  {status}, started {moment(data.run.get('created'))}, metric {data.metric or 'not measured yet'}"
    show(Text.assemble((run.run_id, "bold"), (about, "dim")))
    if data.evaluations:
        show(systems_view(data.evaluations, data.paired, metric=data.metric, candidate=data.candidate))
    if (searched := retrieval_view(data.evaluations)) is not None:
        show(searched)
    if data.prompts:
        show(prompts_view(data.prompts))
    if data.slices:
        show(slices_view(data.slices))
    if data.calibration:
        show(calibration_view(data.calibration))
    if data.forgetting:
        show(forgetting_view(data.forgetting))
    if data.verdict:
        show(verdict_view(data.verdict))
    else:
        error = one_line(str(data.run.get("error") or "no verdict yet"))
        show(Text.assemble((f"{status}: ", "yellow"), error), f"To go on: {remedy(run.path, data.run)}")
    for problem in data.problems:
        show(Text.assemble(("damaged: ", "yellow"), one_line(problem)))
    for name, path in (("report", run.report), ("model card", run.path / "MODEL_CARD.md"), ("adapter", run.adapter)):
        if path.exists():
            typer.echo(f"{name:<11}{path}")


def _as_json(run: Run) -> dict[str, Any]:
    """Run.summary() with the run's state in front; of an unfinished run the state alone."""
    record = _record(run.path)
    state = {key: record.get(key) for key in ("status", "error", "name", "created", "data_fingerprint")}
    done = (run.path / "verdict.json").exists()
    return {"run_id": run.run_id, "run_dir": str(run.path), **state, **(run.summary() if done else {})}


def _record(path: Path) -> dict[str, Any]:
    from burnish.runs import open_run

    return open_run(path).record()
