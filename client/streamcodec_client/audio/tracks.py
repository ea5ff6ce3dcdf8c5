"""A recording of several people: a file for each, all of which begin at the same time, and the mix.

Sound is placed by when it was captured, so that the files line up in an editor, whatever delay each
had. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamcodec.units import NS, Pcm

from .blocks import with_channels
from .files import AudioFile, CompressedFile

ENDING = ".flac"  # hours of silence take next to nothing, and a file that was cut off is read
# Playing faster and slower moves sound, and so does a network that becomes slow: less than LOOSE_MS
# stays, more is made up for where a splice is not heard, more than FAR_MS at once.
LOOSE_MS, FAR_MS = 60.0, 1_000.0
JUMP_MS = 30.0  # time that passes between two pieces: a pause, not playing faster
QUIET = 1e-5  # mean power below which a splice is not heard: -50 dBFS
# A talker's clock is compared with ours soon after it was first heard; sound waits for that.
PLACED_WITHIN_S = 3.0
SILENCE_AT_ONCE_S = 10.0
MIX_AT_ONCE_S = 10.0
SOFT_CLIP_KNEE = 0.8


class Track:
    """One person's file.

    path: of it. channels: how many it has. first, length: its first sample that is not silence put
    in before the person was heard, and how many there are so far. written_ns: when it was last
    written to.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, begin_ns: int) -> None:
        """begin_ns: when its first sample would have been captured. Raises AudioError."""
        self.path, self.channels = path, channels
        self._rate, self._begin_ns = sample_rate, begin_ns
        self._file = CompressedFile(path, sample_rate, channels)
        self.first = self.length = 0
        self.written_ns = begin_ns
        self._unplaced: list[tuple[Pcm, int]] = []
        self._delay_ns: int | None = None  # from capture to now
        self._ahead = 0  # by how many samples the last piece belonged behind where it came to lie
        self._cutting = False  # too much was heard between two pieces: what follows is left out

    def write(self, pcm: Pcm, captured_ns: int | None, now_ns: int) -> None:
        """[T, channels], whose first sample was captured then; None while that is not known. What
        is heard stays whole but where it lies more than FAR_MS too late, and what was captured
        before the beginning. Raises AudioError.
        """
        self.written_ns = now_ns
        if captured_ns is not None:
            self._delay_ns = now_ns - captured_ns
        self._unplaced.append((pcm, now_ns))
        if self._delay_ns is None and now_ns - self._unplaced[0][1] > PLACED_WITHIN_S * NS:
            self._delay_ns = 0
        if self._delay_ns is not None:
            self._place(self._delay_ns)

    def close(self) -> None:
        """Raises AudioError where the end does not fit on the disk."""
        self._place(self._delay_ns or 0)
        self._file.close()

    def _place(self, delay_ns: int) -> None:
        """What waits, by when it was captured."""
        waiting, self._unplaced = self._unplaced, []
        for pcm, now_ns in waiting:
            self._add(pcm, (now_ns - delay_ns - self._begin_ns) * self._rate // NS)

    def _add(self, pcm: Pcm, place: int) -> None:
        """place: the sample of the file at which pcm belongs."""
        loose, far, jump = (round(ms * self._rate / 1_000) for ms in (LOOSE_MS, FAR_MS, JUMP_MS))
        ahead = place - self.length
        unheard = float(np.square(pcm).mean()) < QUIET if len(pcm) else True
        jumped, self._ahead = ahead - self._ahead > jump, ahead
        if ahead > far or (ahead > loose and (jumped or unheard)):
            self._write_silence(ahead)
            self._ahead = 0
        most = far if self.length else loose  # what came before the beginning is not missed
        self._cutting = ahead < 0 and (self._cutting or ahead < -most)
        if self._cutting or (ahead < -loose and unheard):
            pcm = pcm[min(len(pcm), max(0, -ahead)) :]
        if len(pcm):
            self._give(pcm)

    def _write_silence(self, samples: int) -> None:
        if not self.length:
            self.first = samples
        most = round(SILENCE_AT_ONCE_S * self._rate)
        while samples > 0:
            piece = min(samples, most)
            self._give(np.zeros((piece, self.channels), np.float32))
            samples -= piece

    def _give(self, pcm: Pcm) -> None:
        self._file.write(pcm)
        self.length += len(pcm)


def write_mix(path: Path, tracks: Sequence[Track], sample_rate: int) -> None:
    """The sum of tracks that are closed, at least one, soft-clipped: as long as the longest, with
    as many channels as any of them has. A file is open only where its person was there. Raises
    AudioError.
    """
    channels = max(track.channels for track in tracks)
    length = max(track.length for track in tracks)
    size = round(MIX_AT_ONCE_S * sample_rate)
    opened: dict[Path, AudioFile] = {}
    target = CompressedFile(path, sample_rate, channels)
    try:
        for begin in range(0, length, size):
            mixed = np.zeros((min(size, length - begin), channels), np.float32)
            for track in tracks:
                if begin < track.length and track.first < begin + size:
                    if track.path not in opened:
                        opened[track.path] = AudioFile(track.path)
                        opened[track.path].skip(begin)
                    piece = opened[track.path].read(size)
                    mixed[: len(piece)] += with_channels(piece, channels)
                elif track.path in opened:
                    opened.pop(track.path).close()
            target.write(soft_clip(mixed))
    finally:
        target.close()
        for file in opened.values():
            file.close()


def soft_clip(pcm: Pcm) -> Pcm:
    """Linear up to SOFT_CLIP_KNEE, then bent smoothly so that nothing exceeds full scale."""
    size = np.abs(pcm)
    room = np.float32(1 - SOFT_CLIP_KNEE)
    bent = SOFT_CLIP_KNEE + room * np.tanh((size - SOFT_CLIP_KNEE) / room)
    clipped: Pcm = np.where(size <= SOFT_CLIP_KNEE, pcm, np.sign(pcm) * bent).astype(np.float32)
    return clipped
