"""Files that are written: would anything be lost, and why can they not be written?"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import ConfigError, OutputError, StreamcodecError

# What a setting is called, and its path. None: the setting was not given. A Path is a file; text is
# one as well, but for "-": standard input or output.
NamedPath = tuple[str, str | Path | None]
FOLDS_CASE = sys.platform in ("darwin", "win32")  # there a.wav and A.WAV are one file


def check_paths(inputs: Iterable[NamedPath], outputs: Iterable[NamedPath]) -> None:
    """Raises ConfigError, naming both settings, where an output is also an input, or another
    output: also through links, hard ones included, and where they are spelled differently.

    Devices, pipes and terminals may be given twice: nothing in them can be overwritten.
    """
    seen: dict[object, tuple[str, bool]] = {}
    for named, is_output in ((inputs, False), (outputs, True)):
        for name, path in named:
            file = None if path is None else _identity(path, is_output)
            if file is None:
                continue
            if is_output and file in seen:
                other, other_is_output = seen[file]
                lost = "one would overwrite the other" if other_is_output else "it would be lost"
                raise ConfigError(f"{other} and {name} are the same file, {path}: {lost}")
            seen.setdefault(file, (name, is_output))


def check_folders(outputs: Iterable[NamedPath]) -> None:
    """Raises OutputError for the first whose folder is not there: one that is opened before it
    would have been emptied for nothing.
    """
    for _, path in outputs:
        if path not in (None, "-") and not Path(path).parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {Path(path).parent}")


def check_new(outputs: Iterable[NamedPath]) -> None:
    """Raises ConfigError for the first file that is there already. Devices and pipes may be."""
    for name, path in outputs:
        if path not in (None, "-") and Path(path).is_file():
            raise ConfigError(f"{name} {path} is there already: --force writes it anew")


def _identity(path: str | Path, is_output: bool) -> object:
    """Equal for equal files, whether they exist or not; None for what is no file."""
    try:
        if path == "-":
            status = os.fstat((sys.stdout if is_output else sys.stdin).fileno())
        else:
            status = os.stat(path)
    except FileNotFoundError:
        whole = Path(os.path.realpath(path))  # of a link, where it leads: what is written appears
        name = whole.name.casefold() if FOLDS_CASE else whole.name
        try:
            folder = os.stat(whole.parent)
        except OSError:
            return whole.parent, name
        return folder.st_dev, folder.st_ino, name
    except (OSError, ValueError):  # a closed or replaced standard stream; a path nobody can open
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def writing(path: str | Path, kind: type[StreamcodecError] = OutputError) -> Iterator[None]:
    """Errors of the system become one of `kind` that names the file and, where it is full, the
    disk.
    """
    try:
        yield
    except OSError as error:
        raise kind(cannot_write(path, error)) from error


def cannot_write(path: str | Path, error: Exception) -> str:
    """One line of what was to be written and why it was not."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = f"no space left on the disk that holds {_mount(path)}"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return f"cannot write {path}: {reason}"


def _mount(path: str | Path) -> Path:
    """Where the disk that holds a file is mounted."""
    folder = Path(os.path.realpath(path)).parent
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent
    return folder
