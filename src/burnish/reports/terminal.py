"""What a run tells while it works: live bars on a terminal, plain lines everywhere else.

Progress goes to stderr, results to stdout (`results_console`), so that `burnish … --json | jq` works.
The views themselves are in views.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from burnish.reports.text import one_line, seconds

PLAIN_WIDTH = 160  # of tables that go into a file or a pipe
FRAMES_PER_SECOND = 8


def _encodable(stream: TextIO) -> TextIO:
    """Never fail on a character the stream cannot encode (LANG=C): write its escape."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        with contextlib.suppress(OSError, ValueError):
            reconfigure(errors="backslashreplace")
    return stream


def is_live(stream: TextIO) -> bool:
    """True when bars can be drawn on the stream."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"
    except ValueError:  # closed
        return False


def console(stream: TextIO, *, plain: bool = False) -> Console:
    """A console on a stream: colours on a terminal (NO_COLOR is respected), plain text in a file or pipe."""
    live = is_live(stream) and not plain
    width = None if is_live(stream) else int(os.environ.get("COLUMNS") or PLAIN_WIDTH)
    return Console(
        file=_encodable(stream),
        width=width,
        force_terminal=None if live else False,
        no_color=None if live else True,
        color_system="auto" if live else None,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def results_console(*, plain: bool = False) -> Console:
    """Where results go: stdout."""
    return console(sys.stdout, plain=plain)


def messages_console(*, plain: bool = False) -> Console:
    """Where everything else goes: stderr."""
    return console(sys.stderr, plain=plain)


def to_text(view: RenderableType, width: int = PLAIN_WIDTH) -> str:
    """A view as plain text without control characters."""
    target = Console(width=width, force_terminal=False, no_color=True, color_system=None, markup=False, record=False)
    with target.capture() as captured:
        target.print(view)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


class _PatientConsole(Console):
    """Goes on when nobody reads any more; rich would end the program."""

    def on_broken_pipe(self) -> None:
        pass


class _Meter:
    """Counts one piece of work and knows how long the rest takes."""

    def __init__(self, what: str, done: int, total: int, now: float) -> None:
        self.what = what
        self.first_done = done  # a resumed run starts in the middle
        self.started = now
        self.done = done
        self.total = total
        self.facts: dict[str, str] = {}

    def update(self, done: int, total: int, facts: Mapping[str, str] | None) -> None:
        self.done, self.total = done, total
        if facts is not None:
            self.facts = {one_line(str(key), 40): one_line(str(value), 80) for key, value in facts.items()}

    @property
    def finished(self) -> bool:
        return self.total > 0 and self.done >= self.total

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def elapsed(self, now: float) -> float:
        return now - self.started

    def left(self, now: float) -> str | None:
        """Time left, None when it cannot be told yet or the worker tells it itself."""
        made = self.done - self.first_done
        if self.finished or made <= 0 or self.total <= 0 or any(key in ("left", "time left") for key in self.facts):
            return None
        return seconds((now - self.started) / made * (self.total - self.done))

    def amount(self) -> str:
        return f"{self.done:,}/{self.total:,}" if self.total > 0 else f"{self.done:,}"


class TerminalProgress:
    """A `progress.Progress` for people: use it as a context manager, or call `close` at the end.

    On a terminal it draws one bar for each piece of work that is under way, with a heading for each stage.
    Elsewhere it writes whole lines without control characters, at most one each `interval` seconds for one
    piece of work (its first and last are always written):

        == train: LoRA r 16 on 1,050 examples
        train: 40/132 (30%) loss=0.41 tokens/s=440 left=3min12s
        warning: 3 examples are longer than max_length

    quiet leaves warnings only. It never raises: a closed pipe silences it.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        live: bool | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = _encodable(sys.stderr if stream is None else stream)
        self._quiet = quiet
        self._bars = is_live(self._stream) if live is None else live
        self._interval = interval
        self._clock = clock
        self._meters: dict[str, _Meter] = {}
        self._written: dict[str, float] = {}
        self._console = _PatientConsole(
            file=self._stream, force_terminal=True if self._bars else None, markup=False, emoji=False, highlight=False
        )
        self._live: Live | None = None

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bars away; what was unfinished stays on the screen as a line."""
        with contextlib.suppress(Exception):
            for meter in self._meters.values():
                self._leave(meter)
            self._meters.clear()
            self._stop_bars()

    def stage(self, name: str, detail: str = "") -> None:
        """A new step of the lifecycle begins."""
        if self._quiet:
            return
        name, detail = one_line(name, 80), one_line(detail, 500)
        with contextlib.suppress(Exception):
            self.close()
            if self._bars:
                heading = Text.assemble(("● ", "bold cyan"), (name, "bold"), ("  " + detail if detail else "", "dim"))
                self._console.print(heading)
            else:
                self._line(f"== {name}: {detail}" if detail else f"== {name}")

    def notice(self, text: str, *, warning: bool = False) -> None:
        """One line the user should read."""
        if self._quiet and not warning:
            return
        text = one_line(text)
        with contextlib.suppress(Exception):
            if self._bars:
                mark, style = ("! ", "bold yellow") if warning else ("· ", "dim")
                self._console.print(Text.assemble("  ", (mark, style), (text, "yellow" if warning else "")))
            else:
                self._line(f"{'warning' if warning else 'note'}: {text}")

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        """`done` of `total` units of `what` are finished."""
        if self._quiet:
            return
        with contextlib.suppress(Exception):
            what = one_line(what, 80)
            now = self._clock()
            meter = self._meters.get(what)
            if meter is None or done < meter.done:  # the same work again, e.g. the next validation
                meter = self._meters[what] = _Meter(what, done, total, now)
                self._written.pop(what, None)
            meter.update(done, total, facts)
            if self._bars:
                self._draw(meter)
            else:
                self._write(meter, now)
            if meter.finished:
                del self._meters[what]

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def _write(self, meter: _Meter, now: float) -> None:
        last = self._written.get(meter.what)
        if last is not None and not meter.finished and now - last < self._interval:
            return
        self._written[meter.what] = now
        facts = dict(meter.facts)
        if left := meter.left(now):
            facts["left"] = left
        if meter.finished:
            facts["took"] = seconds(meter.elapsed(now))
            self._written.pop(meter.what, None)
        share = f" ({meter.share:.0%})" if meter.total > 0 else ""
        tail = "".join(f" {key.replace(' ', '_')}={value.replace(' ', '')}" for key, value in facts.items())
        self._line(f"{meter.what}: {meter.amount()}{share}{tail}")

    def _draw(self, meter: _Meter) -> None:
        if meter.finished:
            self._leave(meter)
            if len(self._meters) <= 1:
                self._stop_bars()
            return
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._frame,
                refresh_per_second=FRAMES_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _stop_bars(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _leave(self, meter: _Meter) -> None:
        """The line that stays when a piece of work ends."""
        if not self._bars:
            return
        facts = [f"{key} {value}" for key, value in meter.facts.items() if key not in ("left", "time left")]
        facts.append(seconds(meter.elapsed(self._clock())))
        mark = ("✓ ", "green") if meter.finished else ("– ", "yellow")
        detail = "  ".join([meter.amount(), *facts])
        self._console.print(Text.assemble("  ", mark, meter.what, "  ", (detail, "dim")))

    def _frame(self) -> Table:
        """The bars of all work under way."""
        now = self._clock()
        frame = Table.grid(padding=(0, 1))
        for _ in range(3):
            frame.add_column(no_wrap=True)
        frame.add_column(no_wrap=True, overflow="ellipsis")
        for meter in list(self._meters.values()):
            facts = [f"{key} {value}" for key, value in meter.facts.items()]
            if left := meter.left(now):
                facts.append(f"{left} left")
            bar = ProgressBar(
                total=max(1, meter.total), completed=meter.done, width=24, pulse=meter.total <= 0, animation_time=now
            )
            frame.add_row("  " + meter.what, bar, meter.amount(), Text("  ".join(facts), style="dim"))
        return frame
