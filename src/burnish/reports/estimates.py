"""What `burnish estimate` shows: memory by part, time and energy, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.reports.text import one_line, seconds

PARTS = {
    "weights": "the base model's, frozen or trained",
    "blocks": "frozen weights once more, as the processor multiplies them, and transposed",
    "code": "that the processor's library makes for products of each size",
    "adapter": "what is trained beside them",
    "gradients": "of what is trained, as far as they are there at the peak",
    "optimizer": "AdamW's two moments",
    "activations": "kept for the backward pass of the largest pass",
    "logits": "scores over the vocabulary, one chunk",
    "allocator": "freed memory that cannot be used again",
    "process": "Python, PyTorch and their libraries",
    "restored": "the best weights, read back at the end",
    "loading": "the model file beside its weights",
}
BAR = 24


def gigabytes(size: float) -> str:
    """Bytes in GB of 2^30: 12.3 GB; below a tenth of one in MB."""
    if size < 0.1 * 2**30:
        return f"{size / 2**20:,.1f} MB" if size < 10 * 2**20 else f"{size / 2**20:,.0f} MB"
    return f"{size / 2**30:,.2f} GB" if size < 100 * 2**30 else f"{size / 2**30:,.0f} GB"


def amount(number: float) -> str:
    """Parameters or operations with a word for the size: 134.5 million."""
    for size, word in ((1e18, " × 10¹⁸"), (1e15, " × 10¹⁵"), (1e12, " × 10¹²"), (1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.4g}{word}"
    return f"{number:,.0f}"


def estimate_view(record: Mapping[str, Any]) -> RenderableType:
    """The record that `burnish estimate --json` prints, as a table."""
    model, device, work = record["model"], record["device"], record["work"]
    trained = record["trained_parameters"]
    head = Text.assemble(
        (one_line(model, 100), "bold"),
        f"  {amount(record['parameters'])} parameters, {amount(trained)} trained"
        f" ({100 * trained / record['parameters']:.3g}%), {record['method']}, {record['dtype']}",
    )
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    many = record["devices"] > 1
    table.add_column("Memory of each device" if many else "Memory at the peak")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("")
    sizes = record["memory"]
    most = max(sizes[part] for part in PARTS)
    for part, words in PARTS.items():
        if sizes[part] > 0:
            bar = "█" * max(1, round(BAR * sizes[part] / most))
            table.add_row(part, gigabytes(sizes[part]), Text(bar, style="cyan"), Text(words, style="dim"))
    fits = record["fits"]
    style = "bold green" if fits else "bold red"
    words = f"{'fits' if fits else 'does not fit'} {gigabytes(device['memory'])} of {device['name']}"
    table.add_section()
    table.add_row(Text("total", style="bold"), Text(gigabytes(sizes["total"]), style="bold"), "", Text(words, style))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("work", _work(work, record["tokens_per_batch"]))
    if record["passages"]:
        facts.add_row("passages", record["passages"])
    facts.add_row("operations", f"{amount(record['flops'])}")
    facts.add_row("time", f"{seconds(record['seconds'])} of training steps; validation and evaluation not counted")
    facts.add_row("energy", _energy(record["kwh"]))
    facts.add_row("from", one_line(device["source"], 200))
    facts.add_row("assumed", f"training reaches {100 * device['efficiency']:.0f}% of that speed")
    parts: list[RenderableType] = [head, table, facts]
    if record.get("fit"):
        parts += [Text(), _fit(record["fit"])]
    return Group(*parts)


def _work(work: Mapping[str, Any], tokens_per_batch: int) -> str:
    return (
        f"{work['steps']:,} steps of up to {work['passes']:,} passes, the largest with {work['tokens']:,} tokens "
        f"(tokens_per_batch {tokens_per_batch:,}); {amount(work['all_tokens'])} tokens in all"
    )


def _energy(kwh: float | None) -> str:
    if kwh is None:
        return "not known here: say --watts"
    return f"{kwh:.3g} kWh at most: rated power throughout"


def _fit(fitted: Mapping[str, Any]) -> RenderableType:
    if not fitted["fits"]:
        return Text(
            f"Nothing fits: even {fitted['method']} with the fewest tokens a pass takes "
            f"{gigabytes(fitted['total'])}. Use a smaller model, shorter rows, or a device with more memory.",
            style="red",
        )
    changes: Sequence[str] = fitted["settings"]
    if not changes:
        return Text("It fits as it is.", style="green")
    text = Text.assemble(("What fits", "bold green"), f": {gigabytes(fitted['total'])}, ")
    text.append(f"{seconds(fitted['seconds'])}. Put into the task file:\n")
    for line in changes:
        text.append(f"  {line}\n", style="green")
    return text
