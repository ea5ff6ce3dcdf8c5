"""Files that are read and written as a whole: pipes become files that can be sought, and what was
there before is replaced only once all of the new one is written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streamcodec.files import writing

STANDARD = Path("-")  # standard input or output
PARTIAL = ".partial-"  # how the name of a file begins while it is written


def is_stream(path: Path) -> bool:
    """Whether it is standard input or output, or a pipe or a device."""
    return path == STANDARD or (path.exists() and not path.is_file() and not path.is_dir())


def input_name(path: Path) -> str:
    """What messages call it."""
    return "standard input" if path == STANDARD else str(path)


@contextlib.contextmanager
def reading_whole(source: Path) -> Iterator[Path]:
    """A file with the content of `source`, which may be a stream. Raises OSError."""
    if not is_stream(source):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        if source == STANDARD:
            stream: BinaryIO = sys.stdin.buffer
        else:
            stream = opened.enter_context(source.open("rb"))
        spooled = Path(folder, "input")
        with writing(spooled), spooled.open("wb") as file:
            shutil.copyfileobj(stream, file)
        yield spooled


@contextlib.contextmanager
def writing_whole(target: Path, ending: str) -> Iterator[Path]:
    """A path to write to. It becomes `target` when the block ends without an error; a link stays,
    and leads to the new file. Into a stream it is copied. `ending`: of the path, where `target` has
    none. Raises OutputError, OSError.
    """
    if is_stream(target):
        with tempfile.TemporaryDirectory() as folder:
            spooled = Path(folder, f"output{ending}")
            yield spooled
            with spooled.open("rb") as file:
                if target == STANDARD:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                else:
                    with writing(target), target.open("wb") as stream:
                        shutil.copyfileobj(file, stream)
        return
    whole = Path(os.path.realpath(target))
    partial = whole.with_name(PARTIAL + whole.name)
    try:
        yield partial
        with writing(target):
            partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)
