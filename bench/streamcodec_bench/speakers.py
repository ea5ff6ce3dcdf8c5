"""Who speaks in which recording, and in which language: a CSV that lies with the recordings."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from streamcodec.errors import ConfigError

NAME = "manifest.csv"
FILE_COLUMNS = ("file", "path")
ALLOWED = (
    f"columns {' or '.join(FILE_COLUMNS)}, and speaker, with files written from the CSV's folder, "
    "from the folder of clips, or as bare names"
)


class Voice(NamedTuple):
    """language: empty where the CSV does not say."""

    speaker: str
    language: str


@dataclasses.dataclass(frozen=True)
class Speakers:
    """voices: a file, as the CSV writes it -> who speaks. source: the CSV, None where there is
    none. complete: a file that it does not name is an error.
    """

    source: Path | None = None
    voices: Mapping[str, Voice] = dataclasses.field(default_factory=dict)
    complete: bool = False

    def of(self, file: Path, folder: Path) -> Voice:
        """The voice in `file` below `folder`; an empty one where it is not known. Raises
        ConfigError where it must be.
        """
        for name in self._names(file, folder):
            if name in self.voices:
                return self.voices[name]
        if self.complete:
            raise ConfigError(f"{self.source} names no speaker for {file}: it needs {ALLOWED}")
        return Voice("", "")

    def described(self, known: int, clips: int) -> str:
        """For a report: where the speakers of so many of its clips come from."""
        if self.source is None:
            return f"not known (no --speakers, no {NAME}): each clip counts as one of its own"
        rest = "" if known == clips else "; each of the others counts as one of its own"
        return f"{self.source} names those of {known} of {clips} clips{rest}"

    def _names(self, file: Path, folder: Path) -> Iterator[str]:
        if self.source is not None:
            home, whole = self.source.resolve().parent, file.resolve()
            if whole.is_relative_to(home):
                yield whole.relative_to(home).as_posix()
        yield file.relative_to(folder).as_posix()
        yield file.name


def read_speakers(source: Path) -> Speakers:
    """Raises ConfigError for a CSV without the columns or with a file twice."""
    try:
        with source.open(newline="", encoding="utf-8") as opened:
            lines = csv.DictReader(opened)
            columns = lines.fieldnames or []
            column = next((name for name in FILE_COLUMNS if name in columns), None)
            if column is None or "speaker" not in columns:
                raise ConfigError(
                    f"{source} has the columns {', '.join(columns) or 'of an empty file'}: "
                    f"it needs {ALLOWED}"
                )
            voices: dict[str, Voice] = {}
            for line in lines:
                file = Path(line[column] or "").as_posix()
                if file in voices:
                    raise ConfigError(f"{source}, line {lines.line_num}: {file} is named twice")
                if line["speaker"]:
                    voices[file] = Voice(line["speaker"], line.get("language") or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{source} cannot be read as CSV ({error}): it needs {ALLOWED}") from None
    return Speakers(source, voices)


def found_speakers(folder: Path) -> Speakers:
    """Those of the nearest manifest.csv in `folder` or above it that has the columns."""
    inside = folder.resolve()
    for home in (inside, *inside.parents):
        if (home / NAME).is_file():
            try:
                return read_speakers(home / NAME)
            except ConfigError:
                continue  # of the same name, but about something else
    return Speakers()
