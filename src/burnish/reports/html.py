"""report.html: one self-contained page about a run, for the person who decides.

The page holds no script, loads nothing, and forbids both by its Content-Security-Policy; its one style sheet
is allowed by hash. Foreign text is cleaned and escaped in one place, the environment's `finalize` and autoescape.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from burnish.reports.calibration import calibration_context
from burnish.reports.data import data_context
from burnish.reports.forgetting import forgetting_context
from burnish.reports.power import power_sentence
from burnish.reports.prompts import prompts_context
from burnish.reports.retrieval import retrieval_context
from burnish.reports.rundata import RunData, read_run
from burnish.reports.sections import (
    INPUT_CHARACTERS,
    Context,
    cases_context,
    comparison_context,
    confidence_context,
    reproduce_context,
    tiles,
    verdict_context,
    weaknesses_context,
)
from burnish.reports.slices import slices_context
from burnish.reports.text import clean, count, cut_noted, metric_name, moment, percent, seconds
from burnish.reports.training import training_context
from burnish.runs import write_text

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def write_report(run_dir: Path, data: RunData | None = None) -> Path:
    """Write run_dir/report.html from what the run folder holds (data: where that is read) and return its path.

    Works for a run that stopped early: what is missing is left out. Raises RunError when this is no run folder.
    """
    path = run_dir / "report.html"
    write_text(path, render_report(data or read_run(run_dir)))
    return path


def render_report(data: RunData) -> str:
    """The page as text."""
    return render_page("report.html.j2", report_context(data))


def render_page(template: str, context: Context) -> str:
    """A page of ours: with the style sheet in it, allowed by its hash, and nothing else."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page: str = _template(template).render(style=Markup(style), style_hash=f"sha256-{digest}", **context)
    return page


@lru_cache(maxsize=4)
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {"count": count, "percent": percent, "metric_name": metric_name, "seconds": seconds}
    return environment.get_template(name)


def _finalize(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def report_context(data: RunData) -> Context:
    """Everything the template says; None for a section that has nothing to say."""
    context: Context = {
        "title": data.name,
        "run_id": str(data.run.get("run_id") or data.path.name),
        "created": moment(data.run.get("created")),
        # The page is written as the last thing a run does.
        "status": "done" if data.run.get("status") == "reporting" else str(data.run.get("status") or ""),
        "model": str(data.config.get("model") or ""),
        "kind": str(data.config.get("kind") or "").replace("_", " "),
        "instruction": cut_noted(str(data.config.get("instruction") or ""), INPUT_CHARACTERS),
        "problems": data.problems,
        "metric": metric_name(data.metric) if data.metric else "",
        "candidate": data.candidate,
        "baseline": data.baseline,
        "verdict": verdict_context(data),
        "tiles": tiles(data),
        "comparison": comparison_context(data),
        "power": power_sentence(data),
        "prompts": prompts_context(data.prompts),
        "retrieval": retrieval_context(data.evaluations),
        "cases": cases_context(data),
        "weaknesses": weaknesses_context(data),
        "forgetting": forgetting_context(data),
        "training": training_context(data),
        "confidence": confidence_context(data),
        "calibration": calibration_context(data),
        "slices": slices_context(data),
        "data": data_context(data),
        "reproduce": reproduce_context(data),
    }
    sections = (
        ("comparison", "Before and after"),
        ("prompts", "Prompts tried"),
        ("retrieval", "Retrieval"),
        ("cases", "Wins and losses"),
        ("weaknesses", "Where it errs"),
        ("slices", "Slices"),
        ("confidence", "Confidence"),
        ("forgetting", "Forgetting"),
        ("training", "Training"),
        ("data", "Data"),
        ("reproduce", "Reproduce"),
    )
    shown = context | {"confidence": context["confidence"] or context["calibration"]}
    context["sections"] = [(key, name) for key, name in sections if shown[key]]
    return context
