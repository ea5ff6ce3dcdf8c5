"""An orderly end of what a signal would cut off."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGTERM,) if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_unwind(*, interrupt: bool = False) -> Iterator[None]:
    """The first SIGTERM or SIGHUP (a terminal that is closed; not under nohup) raises SystemExit
    with a shell's status for it, 143 or 129, so that `finally` and `with` do their work on the way
    out; more of them are ignored until then. In another thread than the main one nothing changes.

    interrupt: SIGINT (Ctrl-C) is one of them, and raises KeyboardInterrupt as ever. Without it the
    second of a key that is held would cut off what the first has begun to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: handler
        for number in ((signal.SIGINT, *ENDING) if interrupt else ENDING)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def unwind(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
