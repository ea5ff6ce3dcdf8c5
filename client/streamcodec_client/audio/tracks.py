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
LOOSE_MS = 60.0  # playing faster and slower moves sound by less; what lies further off is placed
SILENCE_AT_ONCE_S = 10.0
MIX_AT_ONCE_S = 10.0
SOFT_CLIP_KNEE = 0.8


class Track:
    """One person's file."""

    def __init__(self, path: Path, sample_rate: int, channels: int, begin_ns: int) -> None:
        """begin_ns: when its first sample would have been captured. Raises AudioError."""
        self.path = path
        self._rate, self._channels, self._begin_ns = sample_rate, channels, begin_ns
        self._file = CompressedFile(path, sample_rate, channels)
        self._position = 0

    def write(self, pcm: Pcm, captured_ns: int) -> None:
        """[T, channels], whose first sample was captured then. Raises AudioError."""
        place = (captured_ns - self._begin_ns) * self._rate // NS
        ahead = place - self._position
        loose = round(LOOSE_MS * self._rate / 1_000)
        if ahead > loose:
            self._write_silence(ahead)
        elif ahead < -loose:
            pcm = pcm[min(len(pcm), -ahead) :]
        if len(pcm):
            self._give(pcm)

    def close(self) -> None:
        """Raises AudioError where the end does not fit on the disk."""
        self._file.close()

    def _write_silence(self, samples: int) -> None:
        most = round(SILENCE_AT_ONCE_S * self._rate)
        while samples > 0:
            piece = min(samples, most)
            self._give(np.zeros((piece, self._channels), np.float32))
            samples -= piece

    def _give(self, pcm: Pcm) -> None:
        self._file.write(pcm)
        self._position += len(pcm)


def write_mix(path: Path, parts: Sequence[Path], sample_rate: int) -> None:
    """The sum of such files, at least one, soft-clipped: as long as the longest, with as many
    channels as any of them has. Raises AudioError.
    """
    files = [AudioFile(part) for part in parts]
    channels = max(file.channels for file in files)
    target = CompressedFile(path, sample_rate, channels)
    size = round(MIX_AT_ONCE_S * sample_rate)
    try:
        while True:
            pieces = [file.read(size) for file in files]
            length = max((len(piece) for piece in pieces), default=0)
            if not length:
                return
            mixed = np.zeros((length, channels), np.float32)
            for piece in pieces:
                mixed[: len(piece)] += with_channels(piece, channels)
            target.write(soft_clip(mixed))
    finally:
        target.close()
        for file in files:
            file.close()


def soft_clip(pcm: Pcm) -> Pcm:
    """Linear up to SOFT_CLIP_KNEE, then bent smoothly so that nothing exceeds full scale."""
    size = np.abs(pcm)
    room = np.float32(1 - SOFT_CLIP_KNEE)
    bent = SOFT_CLIP_KNEE + room * np.tanh((size - SOFT_CLIP_KNEE) / room)
    clipped: Pcm = np.where(size <= SOFT_CLIP_KNEE, pcm, np.sign(pcm) * bent).astype(np.float32)
    return clipped
