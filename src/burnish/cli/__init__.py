"""The command line. `main` is what `burnish` starts; `app` is the same for tests and for embedding."""

from __future__ import annotations

from burnish.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that sys.argv asks for, and exit with its status."""
    app()
