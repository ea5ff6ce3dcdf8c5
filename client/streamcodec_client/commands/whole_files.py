"""Files that are read and written as a whole: pipes become files that can be sought, and what was
there before is replaced only once all of the new one is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streamcodec.errors import OutputError, StreamcodecError
from streamcodec.files import cannot_write, writing

STANDARD = Path("-")  # standard input or output
PARTIAL = ".partial-"  # how the name of a file begins while it is written
LONGEST_NAME = 255  # bytes, on most systems


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
                    with _writing_standard():
                        shutil.copyfileobj(file, sys.stdout.buffer)
                        sys.stdout.buffer.flush()
                else:
                    with writing(target), target.open("wb") as stream:
                        shutil.copyfileobj(file, stream)
        return
    whole = Path(os.path.realpath(target))
    partial = _partial(whole)
    try:
        yield partial
        with writing(target):
            partial.replace(whole)
    except StreamcodecError as error:
        said = str(error)
        if str(partial) not in said:
            raise
        # Users know the file by the name that they gave.
        raise type(error)(said.replace(str(partial), str(target))) from error
    finally:
        with contextlib.suppress(OSError):  # what ended the block says more
            partial.unlink()


def _partial(whole: Path) -> Path:
    """Where a file is written until it is whole; names may be as long as the system allows."""
    name = PARTIAL + whole.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = PARTIAL + hashlib.sha256(os.fsencode(whole.name)).hexdigest() + whole.suffix
    return whole.with_name(name)


@contextlib.contextmanager
def _writing_standard() -> Iterator[None]:
    """Raises OutputError, but for a reader that has gone: whoever it was has seen enough."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(cannot_write("/dev/stdout", error)) from error
