"""How long Python holds up what must be on time."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

THREADS_TURN_S = 0.0005


@contextlib.contextmanager
def short_pauses() -> Iterator[None]:
    """Threads take turns each half millisecond: Python lets a busy one hold the interpreter for 5,
    half an audio block. The garbage collector ignores all objects that exist now: to look through
    them again and again would interrupt the audio.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(THREADS_TURN_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
