"""Records what is heard and said during a session, in a thread of its own: a slow disk holds up no
sound.
"""

from __future__ import annotations

import dataclasses
import datetime
import queue
import threading
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from streamcodec.errors import AudioError, OutputError
from streamcodec.files import writing
from streamcodec.units import Pcm

from ..audio.tracks import ENDING, Track, write_mix
from ..clock import Clock
from .receiver import HeardBlock

MOST_WAITING = 6_000  # blocks of 10 ms: a minute of one person
OWN = -1  # in place of a stream's number
# Files at once; systems allow a process 256 and more. Whoever has been silent longest has another
# one where they speak again.
MOST_OPEN = 64
MIX = "mix"
NAME_LETTERS, NAME_BYTES = 60, 150  # systems allow 255 bytes for all of a file's name


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """Sound of one person, [T, C]. captured_ns: of its first sample, None while not known. now_ns:
    when it was heard, or said.
    """

    stream: int
    name: str
    pcm: Pcm
    captured_ns: int | None
    now_ns: int


class Recorder:
    """on: whether what comes now is recorded; may be changed from any thread."""

    def __init__(
        self,
        folder: Path,
        sample_rate: int,
        clock: Clock,
        name: str,
        notify: Callable[[str], None],
        began: datetime.datetime | None = None,
    ) -> None:
        """folder: is made where it does not exist. name: of the user, for the own track. notify: is
        told where nothing can be written any more. began: now, for the names of files. Raises
        OutputError.
        """
        with writing(folder, OutputError):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._rate, self._clock = folder, sample_rate, clock
        self._name, self._notify = name, notify
        began = began or datetime.datetime.now()
        self._began, self._prefix = began.strftime("%Y%m%d-%H%M%S"), ""
        self._mix: Path | None = None
        self._begin_ns = clock.now_ns()
        self._tracks: list[Track] = []
        self._open: dict[tuple[int, str, int], Track] = {}
        self._waiting: queue.Queue[_Piece | None] = queue.Queue(MOST_WAITING)
        self._failed = False
        self.on = True
        self._writer = threading.Thread(target=self._write, name="recorder")
        self._writer.start()

    @property
    def files(self) -> list[Path]:
        """Of those who have been recorded so far."""
        return [track.path for track in self._tracks]

    def heard(self, blocks: Sequence[HeardBlock]) -> None:
        """What is heard of others now. In the receiver's thread."""
        for block in blocks:
            self._put(block.talker.stream, block.talker.name, block.pcm, block.captured_ns)

    def said(self, pcm: Pcm, captured_ns: int) -> None:
        """What was captured here, [T, C], and when its first sample was. In the sender's thread."""
        self._put(OWN, self._name, pcm, captured_ns)

    def close(self) -> list[Path]:
        """Writes what waits, and the mix -> all files, the mix at the end. Any number of times."""
        if self._writer.is_alive():
            self._waiting.put(None)
            self._writer.join()
        return self.files + ([] if self._mix is None else [self._mix])

    def _put(self, stream: int, name: str, pcm: Pcm, captured_ns: int | None) -> None:
        if not self.on or self._failed:
            return
        piece = _Piece(stream, name, pcm.copy(), captured_ns, self._clock.now_ns())
        try:
            self._waiting.put_nowait(piece)
        except queue.Full:
            self._fail("the disk is too slow")

    def _write(self) -> None:
        while (piece := self._waiting.get()) is not None:
            if self._failed:
                continue
            try:
                self._track(piece).write(piece.pcm, piece.captured_ns, piece.now_ns)
            except AudioError as error:
                self._fail(str(error))
        try:
            for track in self._open.values():
                track.close()
            if self._tracks:
                mix = self._path(MIX)
                write_mix(mix, self._tracks, self._rate)
                self._mix = mix
        except AudioError as error:
            self._fail(str(error))

    def _track(self, piece: _Piece) -> Track:
        """Whoever comes back as another stream, or with another number of channels, has another
        file.
        """
        key = piece.stream, piece.name, piece.pcm.shape[1]
        if not self._tracks:
            self._prefix = self._free_prefix()
        if (track := self._open.get(key)) is None:
            if len(self._open) >= MOST_OPEN:
                longest = min(self._open, key=lambda known: self._open[known].written_ns)
                self._open.pop(longest).close()
            path = self._free_path(_safe(piece.name))
            track = self._open[key] = Track(path, self._rate, piece.pcm.shape[1], self._begin_ns)
            self._tracks.append(track)
        return track

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}-{name}{ENDING}"

    def _free_path(self, name: str) -> Path:
        """That no other person's file has, nor the mix; some systems take A and a for the same."""
        taken = {path.name.casefold() for path in (*self.files, self._path(MIX))}
        path, number = self._path(name), 2
        while path.name.casefold() in taken:
            path, number = self._path(f"{name}-{number}"), number + 1
        return path

    def _free_prefix(self) -> str:
        """That no other recording of the same second in this folder has."""
        prefix, number = self._began, 2
        while any(self._folder.glob(f"{prefix}-*")):
            prefix, number = f"{self._began}-{number}", number + 1
        return prefix

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._notify(f"recording has stopped: {reason}")


def _safe(name: str) -> str:
    """For a file's name on any system."""
    name = unicodedata.normalize("NFC", name)
    kept = "".join(c if c.isalnum() or c in " -_." else "_" for c in name).strip(" .")
    short = kept[:NAME_LETTERS].encode()[:NAME_BYTES].decode(errors="ignore")
    return short.strip(" .") or "somebody"
