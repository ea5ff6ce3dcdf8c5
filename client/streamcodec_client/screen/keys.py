"""Keys of the terminal, while a live session runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator

ESCAPE = "\x1b"
MOST_BYTES = 64


def keys_in(data: bytes) -> list[str]:
    """What was typed: single characters. Sequences of other keys (arrows, F1) are left out."""
    text, keys, at = data.decode(errors="ignore"), [], 0
    while at < len(text):
        if text[at] == ESCAPE and text[at + 1 : at + 2] in ("[", "O"):
            at += 2
            while at < len(text) and not text[at].isalpha() and text[at] != "~":
                at += 1
        else:
            keys.append(text[at])
        at += 1
    return keys


@contextlib.contextmanager
def typed(handle: Callable[[str], None]) -> Iterator[bool]:
    """As long as the block lasts, on the event loop, `handle` gets each key at once and unseen ->
    whether there is a terminal to read them from.
    """
    try:
        import termios
        import tty
    except ModuleNotFoundError:  # Windows
        yield False
        return
    if not sys.stdin.isatty():
        yield False
        return
    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def readable() -> None:
        try:
            data = os.read(terminal, MOST_BYTES)
        except OSError:
            data = b""
        if not data:  # it was closed
            loop.remove_reader(terminal)
        for key in keys_in(data):
            handle(key)

    tty.setcbreak(terminal, termios.TCSANOW)
    loop.add_reader(terminal, readable)
    try:
        yield True
    finally:
        loop.remove_reader(terminal)
        with contextlib.suppress(termios.error):  # it was closed
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
