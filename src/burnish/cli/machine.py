"""What is here: `burnish models`, `doctor`, `version`."""

from __future__ import annotations

import typer

from burnish.cli.options import AsJson
from burnish.cli.shell import print_json, show


def models(as_json: AsJson = False) -> None:
    """List the models that Burnish fetches by itself.

    A task may also name a folder saved by transformers, a .gguf file, or a hub id (owner/name).
    """
    from burnish.models.catalog import CATALOG, is_cached

    entries = list(CATALOG.values())
    if as_json:
        facts = ("name", "parameters", "context", "licence", "languages", "about")
        print_json([{key: getattr(m, key) for key in facts} | {"cached": is_cached(m)} for m in entries])
        return
    from burnish.models.wheels import cache_dir
    from burnish.reports.views import models_view

    show(models_view(entries))
    here = [entry.name for entry in entries if is_cached(entry)]
    typer.echo(f"Already downloaded: {', '.join(here) or 'none'} (in {cache_dir()})")
    typer.echo("A task may also name a folder saved by transformers, a .gguf file, or a hub id (owner/name).")


def version() -> None:
    """Print the version."""
    from burnish import __version__

    typer.echo(f"burnish {__version__}")


def doctor(as_json: AsJson = False) -> int:
    """Look at this machine: Python, PyTorch, processor, memory, cache folder, optional parts.

    Exit status: 0 when training can start here, 1 when something prevents it.
    """
    from burnish.cli.checkup import checkup, checkup_view

    checks = checkup()
    if as_json:
        print_json({"ok": all(check.state != "fail" for check in checks), "checks": checks})
    else:
        show(checkup_view(checks))
    return 1 if any(check.state == "fail" for check in checks) else 0
