"""Lines for people: a terminal would cut a long one in the middle of a word."""

from __future__ import annotations

import contextlib
import os
import shutil
import textwrap
from typing import TextIO

FEWEST_COLUMNS = 20  # what says less is taken for no answer


def fitted(text: str, stream: TextIO) -> str:
    """`text`, broken between words where `stream` is a terminal that is not wide enough. For files
    and pipes a line stays a line.
    """
    if not stream.isatty():
        return text
    columns = _columns(stream)
    lines = [
        textwrap.wrap(
            line,
            columns,
            subsequent_indent="  ",
            break_long_words=False,  # paths and URLs can be copied
            break_on_hyphens=False,
        )
        if len(line) > columns
        else [line]
        for line in text.split("\n")
    ]
    return "\n".join(line for broken in lines for line in broken)


def _columns(stream: TextIO) -> int:
    """COLUMNS, else what the terminal says, else 80."""
    columns = shutil.get_terminal_size().columns  # COLUMNS, or of standard output
    if "COLUMNS" not in os.environ:
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(stream.fileno()).columns
    return columns if columns >= FEWEST_COLUMNS else 80
