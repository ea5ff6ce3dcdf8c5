"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streamcodec.errors import StreamcodecError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CannotWrite(StreamcodecError):
    """A file that cannot be written: the disk is full, or the folder is not ours."""


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to. It lies beside `path` until it is complete and on the disk, and only
    then takes the place of `path`: whatever goes wrong before, `path` stays as it was. Raises
    CannotWrite naming path and disk.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # two runs may write the same
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some file systems say only here that the disk is full
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> CannotWrite:
    """One line of what was to be written, why it was not, and how full the disk is."""
    number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
    disk = _disk(path) if number in FULL or number is None else ""
    return CannotWrite(f"cannot write {path}: {text or error}{disk}")


def require_writable(folder: Path) -> None:
    """Raises CannotWrite where `folder` could not be made or written into: known before hours of
    work rather than after.
    """
    there = _existing(folder)
    if not there.is_dir():
        raise CannotWrite(f"cannot write into {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CannotWrite(f"cannot write into {folder}: no permission to write into {there}")


def _disk(path: Path) -> str:
    folder = _existing(path.parent)
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ""
    mount = next(place for place in (folder, *folder.parents) if os.path.ismount(place))
    return f"; the disk at {mount} has {usage.free >> 20} of {usage.total >> 20} MB free"


def _existing(path: Path) -> Path:
    """`path` or the nearest folder above it that exists, absolute."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
