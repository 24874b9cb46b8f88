"""Ctrl-C and SIGTERM between steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[Callable[[], str | None]]:
    """Within, SIGINT and SIGTERM are noted instead of acted on; a second one acts at once."""
    noted: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, _: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted[0] if noted else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
