"""Audio files as what paced sources read and paced sinks write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

MAX_CHANNELS = 2


class AudioFile:
    """A SampleReader of WAV, FLAC, Ogg, whatever libsndfile reads. It reads block by block: memory
    does not grow with the file.
    """

    def __init__(self, path: Path) -> None:
        """Raises AudioError for a file that holds no audio, or more than two channels."""
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
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels

    def read(self, samples: int) -> Pcm:
        position = self._file.tell()
        try:
            pcm: Pcm = self._file.read(samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"cannot read {self._path} beyond sample {position}: {_reason(error)}"
            ) from error
        return pcm

    def skip(self, samples: int) -> None:
        self._file.seek(min(self._file.tell() + samples, self._file.frames))

    def close(self) -> None:
        self._file.close()


class WavFile:
    """A SampleWriter of 16-bit WAV."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        """Raises AudioError where the file cannot be written."""
        self.sample_rate, self.channels = sample_rate, channels
        self._path = path
        try:
            self._file = soundfile.SoundFile(
                path, "w", sample_rate, channels, "PCM_16", format="WAV"
            )
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            raise AudioError(f"cannot write {path}: {_reason(error)}") from error

    def write(self, pcm: Pcm) -> bool:
        try:
            self._file.write(np.clip(pcm, -1.0, 1.0))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot write {self._path}: {_reason(error)}") from error
        return True

    def close(self) -> None:
        self._file.close()


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return str(text).strip().rstrip(".")
