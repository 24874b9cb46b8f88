"""Take a picture of a report: python scripts/screenshot_report.py REPORT.html OUT.png

Needs chromium (CHROMIUM names another binary than /usr/bin/chromium) and the dev extra (playwright).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from playwright.sync_api import sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def screenshot(
    report: Path,
    out: Path,
    *,
    width: int,
    height: int,
    scheme: str = "light",
    full: bool = False,
    printed: bool = False,
) -> None:
    """Write what a browser window of `width` by `height` pixels shows of the report as PNG."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        page = browser.new_page(
            viewport={"width": width, "height": height},
            device_scale_factor=2 if not full else 1,
            color_scheme="dark" if scheme == "dark" else "light",
        )
        if printed:
            page.emulate_media(media="print")
        page.goto(report.resolve().as_uri())
        out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=out, full_page=full)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1240)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--full", action="store_true", help="the whole page instead of the window")
    parser.add_argument("--print", dest="printed", action="store_true", help="as printed")
    arguments = parser.parse_args()
    screenshot(
        arguments.report,
        arguments.out,
        width=arguments.width,
        height=arguments.height,
        scheme=arguments.scheme,
        full=arguments.full,
        printed=arguments.printed,
    )


if __name__ == "__main__":
    main()
