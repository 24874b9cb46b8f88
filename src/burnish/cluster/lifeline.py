"""A worker does not outlive those who started it: it would write into a run that another may have taken up."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading


def end_with_parent(stdin: int) -> None:
    """End this process at once when the parent dies, or closes the other end of the pipe `stdin`."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def wait() -> None:
        while os.read(stdin, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
