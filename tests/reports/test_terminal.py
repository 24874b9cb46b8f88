"""Progress: plain lines in a pipe, bars on a terminal, and never an exception."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from burnish.progress import Progress
from burnish.reports import terminal
from burnish.reports.terminal import TerminalProgress

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def plain(**options: object) -> tuple[io.StringIO, Clock, TerminalProgress]:
    stream, clock = io.StringIO(), Clock()
    return stream, clock, TerminalProgress(stream=stream, clock=clock, **options)  # type: ignore[arg-type]


def test_is_a_progress() -> None:
    progress: Progress = TerminalProgress(stream=io.StringIO())
    progress.stage("check")


def test_plain_lines_can_be_grepped() -> None:
    stream, clock, progress = plain()
    progress.stage("train", "LoRA r 16 on 1,050 examples")
    progress.advance("train", 10, 132, {"loss": "0.41", "tokens/s": "440", "peak memory": "2.1 GB"})
    progress.notice("validation loss 0.38")
    progress.notice("3 examples are too long", warning=True)
    clock.now += 30
    progress.advance("train", 132, 132, {"loss": "0.11"})
    assert stream.getvalue().splitlines() == [
        "== train: LoRA r 16 on 1,050 examples",
        "train: 10/132 (8%) loss=0.41 tokens/s=440 peak_memory=2.1GB",
        "note: validation loss 0.38",
        "warning: 3 examples are too long",
        "train: 132/132 (100%) loss=0.11 took=30.0s",
    ]


def test_plain_lines_are_rate_limited_but_first_and_last_are_written() -> None:
    stream, clock, progress = plain(interval=10.0)
    for done in range(1, 1001):
        progress.advance("answer", done, 1000)
        clock.now += 0.1
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("answer: 1/1,000")
    assert lines[-1].startswith("answer: 1,000/1,000 (100%)")
    assert 10 <= len(lines) <= 12


def test_time_left_counts_from_where_a_resumed_run_began() -> None:
    stream, clock, progress = plain(interval=0.0)
    progress.advance("train", 100, 200)
    clock.now += 10
    progress.advance("train", 110, 200)  # 1 a second, 90 to go
    assert stream.getvalue().splitlines()[1] == "train: 110/200 (55%) left=1min30s"


def test_the_workers_own_time_left_wins() -> None:
    stream, clock, progress = plain(interval=0.0)
    progress.advance("train", 1, 10, {"left": "0:09"})
    clock.now += 1
    progress.advance("train", 2, 10, {"left": "0:08"})
    assert [line.count("left=") for line in stream.getvalue().splitlines()] == [1, 1]


def test_the_same_work_again_starts_anew() -> None:
    stream, clock, progress = plain(interval=1000.0)
    for _ in range(2):
        progress.advance("validation", 1, 2)
        progress.advance("validation", 2, 2)
        clock.now += 1
    assert len(stream.getvalue().splitlines()) == 4


def test_unknown_totals_are_no_division_by_zero() -> None:
    stream, clock, progress = plain(interval=0.0)
    progress.advance("read", 0, 0)
    clock.now += 1
    progress.advance("read", 5, 0)
    assert stream.getvalue().splitlines() == ["read: 0", "read: 5"]


def test_quiet_leaves_warnings() -> None:
    stream, _, progress = plain(quiet=True)
    progress.stage("train")
    progress.notice("hello")
    progress.advance("train", 1, 2)
    progress.notice("look out", warning=True)
    assert stream.getvalue() == "warning: look out\n"


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=80), live=st.booleans())
def test_foreign_text_cannot_steer_the_terminal(text: str, live: bool) -> None:
    evil = f"\x1b[31m\x1b]0;owned\x07[bold]{text}\u202e\r\n"
    stream = io.StringIO()
    with TerminalProgress(stream=stream, live=False) as progress:
        progress.stage(evil, evil)
        progress.notice(evil, warning=live)
        progress.advance(evil, 1, 2, {evil: evil})
    written = stream.getvalue()
    assert not CONTROL.search(written)
    assert len(written.splitlines()) == written.count("\n") == 3
    assert "[bold]" in written


def test_huge_values_are_shortened() -> None:
    stream, _, progress = plain()
    progress.notice("x" * 1_000_000)
    progress.advance("y" * 1_000_000, 1, 2, {"z" * 10_000: "w" * 10_000})
    assert len(stream.getvalue()) < 5000


@pytest.mark.parametrize("live", [True, False])
def test_a_broken_pipe_silences_it(live: bool) -> None:
    with TerminalProgress(stream=Closed(), live=live) as progress:
        progress.stage("train")
        progress.notice("n")
        progress.advance("train", 1, 2)


def test_a_closed_stream_silences_it() -> None:
    stream = io.StringIO()
    stream.close()
    with TerminalProgress(stream=stream) as progress:
        progress.stage("train")
        progress.advance("train", 1, 2)


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    clock = Clock()
    with TerminalProgress(stream=stream, clock=clock) as progress:
        progress.stage("train", "[red]LoRA[/red]")
        progress.advance("train steps", 1, 4, {"loss": "1.20"})
        clock.now += 5
        progress.advance("train steps", 2, 4, {"loss": "0.90"})
        progress.notice("half way")
        progress.advance("train steps", 4, 4, {"loss": "0.40"})
    written = Text.from_ansi(stream.getvalue()).plain
    assert "\x1b[" in stream.getvalue()
    assert "● train  [red]LoRA[/red]" in written
    assert "half way" in written
    assert "✓ train steps  4/4  loss 0.40  5.0 s" in written


def test_the_frame_shows_bar_facts_and_time_left() -> None:
    clock = Clock()
    progress = TerminalProgress(stream=Terminal(), live=True, clock=clock)
    progress.advance("train steps", 1, 4, {"loss": "1.20"})
    clock.now += 5
    progress.advance("train steps", 2, 4, {"loss": "0.90"})
    frame = terminal.to_text(progress._frame())
    progress.close()
    assert "train steps" in frame
    assert "2/4" in frame
    assert "loss 0.90" in frame
    assert "10.0 s left" in frame


def test_unfinished_work_is_left_as_a_line_on_close() -> None:
    stream = Terminal()
    progress = TerminalProgress(stream=stream, live=True)
    progress.advance("train steps", 1, 4)
    progress.close()
    assert "– train steps" in Text.from_ansi(stream.getvalue()).plain


def test_dumb_terminals_get_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_live(Terminal())


def test_a_console_in_a_pipe_writes_no_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    terminal.console(stream).print(Text("hello", style="bold red"))
    assert stream.getvalue() == "hello\n"


def test_an_ascii_stream_gets_escapes_instead_of_an_exception() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    terminal.console(stream).print(Text("✓ Größe"))
    stream.flush()
    assert b"Gr\\xf6\\xdfe" in raw.getvalue()
