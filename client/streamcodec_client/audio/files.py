"""Audio files as a source at real-time pace and as a sink that records what a listener would have
heard.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

from ..clock import Clock
from .paced import PacedSink, PacedSource

MAX_CHANNELS = 2


class FileSource(PacedSource):
    """WAV, FLAC, Ogg, whatever libsndfile reads, in blocks: memory does not grow with the file."""

    def __init__(self, clock: Clock, path: Path) -> None:
        """Raises AudioError for a file that holds no audio or more than two channels."""
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(
                f"cannot read {path}: {_reason(error)}; give a WAV, FLAC or Ogg file"
            ) from error
        if self._file.channels > MAX_CHANNELS:
            self._file.close()
            raise AudioError(
                f"{path} has {self._file.channels} channels; at most {MAX_CHANNELS} can be sent"
            )
        self._path = path
        super().__init__(clock, self._file.samplerate, self._file.channels)

    def close(self) -> None:
        super().close()
        self._file.close()

    def _take(self, samples: int) -> Pcm:
        try:
            pcm: Pcm = self._file.read(samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"cannot read {self._path} beyond sample {self._position}: {_reason(error)}"
            ) from error
        return pcm

    def _skip(self, samples: int) -> None:
        self._file.seek(min(self._file.tell() + samples, self._file.frames))


class WavSink(PacedSink):
    """16 bit. Sample n was heard n / sample_rate s after the first write, gaps included."""

    def __init__(self, clock: Clock, path: Path, sample_rate: int, channels: int) -> None:
        """Raises AudioError where the file cannot be written."""
        super().__init__(clock, sample_rate, channels)
        self._path = path
        try:
            self._file = soundfile.SoundFile(
                path, "w", sample_rate, channels, "PCM_16", format="WAV"
            )
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            raise AudioError(f"cannot write {path}: {_reason(error)}") from error

    def close(self) -> None:
        self._file.close()

    def _put(self, pcm: Pcm) -> None:
        try:
            self._file.write(np.clip(pcm, -1.0, 1.0))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot write {self._path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return str(text).strip().rstrip(".")
