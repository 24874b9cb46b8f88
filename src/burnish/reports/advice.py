"""A recommendation as people read it. Its JSON is the record itself (runs.to_json)."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.advice.candidates import Ranked
from burnish.advice.facts import Choice, Reason, Recommendation
from burnish.reports.text import one_line

CHOICES: dict[Choice, str] = {
    "keep_prompt": "keep the prompt",
    "few_shot": "examples in the prompt",
    "rag": "retrieval (RAG)",
    "probe": "an embedding probe",
    "fine_tune": "fine-tune",
    "rag_and_fine_tune": "retrieval and fine-tuning",
    "more_data": "get more data",
    "fix_data": "fix the data",
}


def _sentence(reason: Reason) -> Text:
    return Text.assemble(
        f"· {one_line(reason.text, 600)} ", (f"[{reason.kind}: {one_line(reason.source, 200)}]", "dim")
    )


def recommendation_view(found: Recommendation) -> RenderableType:
    """For the terminal: the choice, why, what was ruled out, the runner-up, and what would change it."""
    head = Text.assemble(("Recommendation: ", "bold"), (CHOICES[found.choice], "bold green"))
    if found.system is not None:
        head.append(f" ({one_line(found.system, 60)})")
    if not found.tested and found.choice not in ("more_data", "fix_data"):
        head.append("  not measured yet", "yellow")
    parts: list[RenderableType] = [head, *(_sentence(reason) for reason in found.reasons)]
    if found.left_out:
        parts += [Text("Ruled out", "bold"), *(_sentence(reason) for reason in found.left_out)]
    if found.runner_up is not None:
        parts.append(Text.assemble(("Runner-up: ", "bold"), CHOICES[found.runner_up]))
        if found.runner_up_reason is not None:
            parts.append(_sentence(found.runner_up_reason))
    if found.changes:
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("What would change it", "now", "then", "recommendation"):
            table.add_column(heading, overflow="fold")
        for change in found.changes:
            table.add_row(one_line(change.what, 80), change.now, change.then, CHOICES[change.choice])
        parts += [Text(), table]
    return Group(*parts)


def candidates_view(ranked: tuple[Ranked, ...]) -> RenderableType:
    """Models to try, the best fit first."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "model", "parameters", "why"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "parameters" else "left")
    for number, one in enumerate(ranked, 1):
        words = "; ".join([*one.against, *one.remarks])
        style = "" if one.fits else "dim"
        name = one_line(one.candidate.name, 80)
        table.add_row(str(number) if one.fits else "–", name, f"{one.candidate.parameters:,}", words, style=style)
    return table
