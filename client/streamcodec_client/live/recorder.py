"""Records what is heard and said during a session, in a thread of its own: a slow disk holds up no
sound.
"""

from __future__ import annotations

import datetime
import queue
import threading
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
        self._tracks: dict[tuple[int, str, int], Track] = {}
        self._waiting: queue.Queue[tuple[int, str, Pcm, int] | None] = queue.Queue(MOST_WAITING)
        self._failed = False
        self.on = True
        self._writer = threading.Thread(target=self._write, name="recorder")
        self._writer.start()

    @property
    def files(self) -> list[Path]:
        """Of those who have been recorded so far."""
        return [track.path for track in self._tracks.values()]

    def heard(self, blocks: Sequence[HeardBlock]) -> None:
        """What is heard of others now. In the receiver's thread."""
        now_ns = self._clock.now_ns()
        for block in blocks:
            captured_ns = now_ns if block.captured_ns is None else block.captured_ns
            self._put(block.talker.stream, block.talker.name, block.pcm, captured_ns)

    def said(self, pcm: Pcm, captured_ns: int) -> None:
        """What was captured here, [T, C], and when its first sample was. In the sender's thread."""
        self._put(OWN, self._name, pcm, captured_ns)

    def close(self) -> list[Path]:
        """Writes what waits, and the mix -> all files, the mix at the end. Any number of times."""
        if self._writer.is_alive():
            self._waiting.put(None)
            self._writer.join()
        return self.files + ([] if self._mix is None else [self._mix])

    def _put(self, stream: int, name: str, pcm: Pcm, captured_ns: int) -> None:
        if not self.on or self._failed:
            return
        try:
            self._waiting.put_nowait((stream, name, pcm.copy(), captured_ns))
        except queue.Full:
            self._fail("the disk is too slow")

    def _write(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._failed:
                continue
            stream, name, pcm, captured_ns = item
            try:
                self._track(stream, name, pcm.shape[1]).write(pcm, captured_ns)
            except AudioError as error:
                self._fail(str(error))
        try:
            for track in self._tracks.values():
                track.close()
            if self._tracks:
                mix = self._folder / f"{self._prefix}-mix{ENDING}"
                write_mix(mix, self.files, self._rate)
                self._mix = mix
        except AudioError as error:
            self._fail(str(error))

    def _track(self, stream: int, name: str, channels: int) -> Track:
        """Whoever comes back as another stream, or with another number of channels, has another
        file.
        """
        key = stream, name, channels
        if not self._tracks:
            self._prefix = self._free_prefix()
        if (track := self._tracks.get(key)) is None:
            path = self._folder / f"{self._prefix}-{_safe(name)}{ENDING}"
            taken = {known.path for known in self._tracks.values()}
            number = 2
            while path in taken:
                path = self._folder / f"{self._prefix}-{_safe(name)}-{number}{ENDING}"
                number += 1
            track = self._tracks[key] = Track(path, self._rate, channels, self._begin_ns)
        return track

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
    kept = "".join(c if c.isalnum() or c in " -_." else "_" for c in name).strip(" .")
    return kept[:60] or "somebody"
