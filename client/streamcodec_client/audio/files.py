"""Audio files as what paced sources read and paced sinks write."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from streamcodec.config import check_sample_rate
from streamcodec.errors import AudioError, ConfigError
from streamcodec.files import writing
from streamcodec.units import Pcm

from .paced import SampleWriter
from .wav import HEADER_LIMIT, RIFF_LIMIT, WavHeader, WavWriter, are_chunks, is_wav, parse_header

MAX_CHANNELS = 2
# Ending of a file -> what libsndfile calls its container and its coding.
COMPRESSED = {
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
WRITTEN_ENDINGS = (".wav", *COMPRESSED)
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
UNKNOWN_FRAMES = np.iinfo(np.int64).max  # of a FLAC file whose writer could not go back
BAD_SEEK = 39  # libsndfile's code


class AudioFile:
    """A SampleReader of WAV, FLAC, Ogg, whatever libsndfile reads. It reads block by block: memory
    does not grow with the file.

    `warning`: what is wrong with the file although it can be read, in words; None where nothing is.
    """

    def __init__(self, path: Path, *, mono: bool = False, name: str | None = None) -> None:
        """`name`: what messages call it, where that is not its path. Raises AudioError for a file
        that holds no audio or has a sample rate that cannot be coded or, unless they will be mixed
        to `mono`, more than two channels.
        """
        self._path, self._name = path, name or str(path)
        self._below: io.FileIO | None = None
        self.warning: str | None = None
        try:
            if path.stat().st_size == 0:
                raise AudioError(f"cannot read {self._name} as audio: it is empty (0 bytes)")
            self._file = soundfile.SoundFile(path)
            if self._file.frames == 0:
                self._read_unfinished()
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(
                f"cannot read {self._name} as audio: {_reason(error)}; give a WAV, FLAC or Ogg file"
            ) from error
        self._ended = False
        try:
            check_sample_rate(self._file.samplerate)
        except ConfigError as error:
            self.close()
            raise AudioError(f"{self._name}: {error}") from error
        if self._file.channels > MAX_CHANNELS and not mono:
            self.close()
            raise AudioError(
                f"{self._name} has {self._file.channels} channels; at most {MAX_CHANNELS} "
                "can be coded: --mono mixes them"
            )
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        # samples in each channel; 0 where the file does not say
        self.frames: int = 0 if self._file.frames == UNKNOWN_FRAMES else self._file.frames

    def read(self, samples: int) -> Pcm:
        if self._ended:
            return np.zeros((0, self.channels), np.float32)
        position = self._file.tell()
        pcm = np.full((samples, self.channels), np.nan, np.float32)
        try:
            read: Pcm = self._file.read(out=pcm)
        except soundfile.LibsndfileError as error:
            if error.code == BAD_SEEK and self._file.frames == UNKNOWN_FRAMES:
                # soundfile seeks to where it has read, and the end of such a file is not found:
                # what it has read is there
                self._ended = True
                read = pcm[: np.isfinite(pcm[:, 0]).sum()]
            else:
                raise AudioError(
                    f"cannot read {self._name} beyond sample {position}: {_reason(error)}"
                ) from error
        return read

    def skip(self, samples: int) -> None:
        try:
            self._file.seek(min(self._file.tell() + samples, self._file.frames))
        except soundfile.LibsndfileError:  # beyond the end, where the file does not say where it is
            self._ended = True

    def close(self) -> None:
        self._file.close()
        if self._below is not None:
            self._below.close()

    def _read_unfinished(self) -> None:
        """A recorder that is killed leaves a WAV whose header says that nothing follows. Raises
        AudioError where no sound does follow.
        """
        with self._path.open("rb") as file:
            first = file.read(HEADER_LIMIT)
        header = None
        if is_wav(first):
            with contextlib.suppress(ValueError):  # libsndfile takes more for WAV than we do
                header = parse_header(first)
        self._file.close()
        if (
            not isinstance(header, WavHeader)
            or header.data_bytes is not None
            or are_chunks(first, header.data_offset, self._path.stat().st_size)
        ):
            raise AudioError(f"cannot read {self._name} as audio: it holds no sound (0 samples)")
        self._below = _Unfinished(self._path, header.data_offset - 4)
        self._file = soundfile.SoundFile(self._below)
        self.warning = (
            f"{self._name}: its header says 0 samples, as killed recorders leave it; "
            f"read to the end: {self._file.frames / self._file.samplerate:.2f} s"
        )


class _Unfinished(io.FileIO):
    """A WAV whose chunk of samples has all that follows, whatever its header says."""

    def __init__(self, path: Path, size_at: int) -> None:
        """`size_at`: where the header has the size of that chunk."""
        super().__init__(path)
        self._size_at = size_at

    def readinto(self, buffer: Any) -> int:
        begin = self.tell()
        count = super().readinto(buffer) or 0
        known = memoryview(buffer).cast("B")
        for at in range(max(begin, self._size_at), min(begin + count, self._size_at + 4)):
            known[at - begin] = 0xFF
        return count


def file_writer(path: Path, sample_rate: int, channels: int) -> SampleWriter:
    """The SampleWriter for the file's ending, one of WRITTEN_ENDINGS. Raises AudioError."""
    check_format(path, sample_rate)
    kind = WavFile if path.suffix.lower() == ".wav" else CompressedFile
    return kind(path, sample_rate, channels)


def check_format(path: Path, sample_rate: int) -> None:
    """Raises AudioError where a file of this name and rate (Hz) cannot be written."""
    ending = path.suffix.lower()
    if ending not in WRITTEN_ENDINGS:
        raise AudioError(
            f"cannot write {path}: its name must end in one of {', '.join(WRITTEN_ENDINGS)}"
        )
    if ending == ".opus" and sample_rate not in OPUS_RATES:
        allowed = ", ".join(map(str, OPUS_RATES))
        raise AudioError(f"cannot write {path}: Opus has {allowed} Hz, not {sample_rate}")


class WavFile:
    """A SampleWriter of 16-bit WAV, RF64 where it grows beyond `riff_limit` bytes. A second is the
    most that is lost when the process is killed.
    """

    def __init__(
        self, path: Path, sample_rate: int, channels: int, riff_limit: int = RIFF_LIMIT
    ) -> None:
        """Raises AudioError where the file cannot be written."""
        self.sample_rate, self.channels = sample_rate, channels
        self._path = path
        with writing(path, AudioError), contextlib.ExitStack() as failing:
            self._file = failing.enter_context(path.open("wb"))
            self._wav = WavWriter(self._file, sample_rate, channels, riff_limit)
            failing.pop_all()

    def write(self, pcm: Pcm) -> bool:
        with writing(self._path, AudioError):
            self._wav.write(pcm)
        return True

    def close(self) -> None:
        """Raises AudioError where the last samples do not fit on the disk."""
        if self._file.closed:
            return
        with writing(self._path, AudioError), self._file:
            self._wav.refresh()


class CompressedFile:
    """A SampleWriter of FLAC, Ogg Vorbis or Opus, by the path's ending."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        """Raises AudioError where the file cannot be written, or not at this rate."""
        self.sample_rate, self.channels = sample_rate, channels
        self._path = path
        container, coding = COMPRESSED[path.suffix.lower()]
        self._below = _Told(path)
        try:
            self._file = soundfile.SoundFile(
                self._below, "w", sample_rate, channels, coding, format=container
            )
        except soundfile.LibsndfileError as error:
            self._below.close()
            raise AudioError(f"cannot write {path}: {_reason(error)}") from error

    def write(self, pcm: Pcm) -> bool:
        self._file.write(np.clip(pcm, -1.0, 1.0))
        self._below.check()
        return True

    def close(self) -> None:
        """Raises AudioError where the last samples do not fit on the disk."""
        self._file.close()
        self._below.close()


class _Told:
    """A file for libsndfile, which keeps no error of the system: it is kept here."""

    def __init__(self, path: Path) -> None:
        """Raises AudioError."""
        self._path = path
        self._error: OSError | None = None
        with writing(path, AudioError):
            self._file = path.open("wb", buffering=0)  # nothing is left here when we are killed
        self.seek, self.tell = self._file.seek, self._file.tell

    def write(self, data: bytes) -> int:
        """As if it had succeeded: libsndfile would go on anyway, and soundfile fail an assert."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = self._error or error
        return len(data)

    def check(self) -> None:
        """Raises AudioError for what has failed."""
        if self._error is not None:
            with writing(self._path, AudioError):
                raise self._error

    def close(self) -> None:
        """Raises AudioError."""
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error
        self.check()


def _reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string).strip().rstrip(".")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
