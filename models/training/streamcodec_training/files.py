"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streamcodec.errors import OutputError
from streamcodec.files import writing


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to. It lies beside `path` until it is complete and on the disk, and only
    then takes the place of `path`: whatever goes wrong before, `path` stays as it was. Raises
    OutputError naming path and disk.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # two runs may write the same
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems say only here that the disk is full
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Raises OutputError where `folder` could not be made or written into: known before hours of
    work rather than after.
    """
    there = _existing(folder)
    if not there.is_dir():
        raise OutputError(f"cannot write into {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {folder}: no permission to write into {there}")


def _existing(path: Path) -> Path:
    """`path` or the nearest folder above it that exists, absolute."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
