"""One recording through the codec: audio file to .sc file, and back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

import streamcodec
from streamcodec.coding.container import Recording, read_container, write_container
from streamcodec.coding.model import CodecModel
from streamcodec.coding.recording import decode_pieces
from streamcodec.errors import AudioError, ContainerError, ModelError, PayloadError
from streamcodec.files import writing

from ..live.codec import Band, affords_high_band, is_full_band
from .options import RateOptions

READ_SAMPLES = 1 << 16  # read and encoded at once: an hour of audio need not fit into memory
SHOWN_PAYLOADS = 50  # decoded between two steps of a progress bar


# Is told which share of a source is done, 0 to 1, and how many seconds of sound that is.
Progress = Callable[[float, float], None]


@dataclasses.dataclass(frozen=True)
class Done:
    """How much was converted; and what was wrong with the source, a line each. seconds: of
    sound. payload_bytes, payload_s: of all payloads, which hold a little more than the sound.
    """

    seconds: float
    payload_bytes: int
    payload_s: float
    warnings: tuple[str, ...] = ()


class Conversion(Protocol):
    """From a file to a file. Can be pickled: other processes run it, too."""

    @property
    def ending(self) -> str:
        """Of what is written where the target's name has none."""
        ...

    def __call__(
        self, model: CodecModel, source: Path, target: Path, name: str, progress: Progress
    ) -> Done:
        """`name`: what messages call the source. Raises StreamcodecError, OSError."""
        ...


@dataclasses.dataclass(frozen=True)
class Encode:
    """Audio that libsndfile reads -> .sc. mono: average all channels into one."""

    rate: RateOptions
    mono: bool
    band: Band = "auto"
    ending: str = ".sc"

    def __call__(
        self, model: CodecModel, source: Path, target: Path, name: str, progress: Progress
    ) -> Done:
        """Raises AudioError for a source that is no audio, ConfigError for a rate that the model
        does not have, OutputError.
        """
        from ..audio.files import AudioFile

        audio = AudioFile(source, mono=self.mono, name=name)
        with contextlib.closing(audio):
            channels = 1 if self.mono else audio.channels
            bitrate_bps = self.rate.bitrate_of(channels)
            afforded = self.band == "full" or affords_high_band(bitrate_bps, channels)
            encoder = streamcodec.StreamEncoder(
                model,
                bitrate_bps=bitrate_bps,
                quality=self.rate.quality,
                capped=self.rate.capped,
                sample_rate=audio.sample_rate,
                channels=audio.channels,
                downmix=self.mono and audio.channels > 1,
                packet_ms=self.rate.packet_ms,
                full_band=afforded and is_full_band(model, self.band, audio.sample_rate),
            )
            payloads: list[bytes] = []
            samples = 0
            while len(pcm := audio.read(READ_SAMPLES)):
                samples += len(pcm)
                try:
                    payloads += encoder.encode(pcm)
                except AudioError as error:
                    raise AudioError(f"{name}: {error}") from error
                progress(samples / max(samples, audio.frames), samples / audio.sample_rate)
            payloads += encoder.flush()
        header = encoder.header(samples, len(payloads))
        with writing(target), target.open("wb") as file:
            write_container(file, header, payloads)
        warnings = () if audio.warning is None else (audio.warning,)
        payload_bytes, payload_s = sum(map(len, payloads)), header.seconds(len(payloads))
        return Done(samples / audio.sample_rate, payload_bytes, payload_s, warnings)


@dataclasses.dataclass(frozen=True)
class Decode:
    """.sc -> WAV, FLAC, Ogg, by the target's ending. Of a damaged file, what can be read. band:
    `wide` leaves out what the file says of the high band.
    """

    ending: str
    band: Band = "auto"

    def __call__(
        self, model: CodecModel, source: Path, target: Path, name: str, progress: Progress
    ) -> Done:
        """Raises ContainerError for a source that is no .sc file, ModelError for one of another
        model, AudioError for a target that cannot be written.
        """
        from ..audio.files import file_writer

        recording = _read(source, name)
        header, count = recording.header, len(recording.payloads)
        try:
            decoder = streamcodec.StreamDecoder.from_header(
                model, header, wideband=self.band == "wide"
            )
        except ModelError as error:
            raise ModelError(f"{name}: {error}: give the right one with --model") from error
        except ContainerError as error:
            raise ContainerError(f"{name}: {error}") from error
        damaged: list[PayloadError] = []
        pieces = decode_pieces(recording.payloads, decoder, header.samples, damaged.append)
        samples = 0
        with contextlib.closing(file_writer(target, header.source_rate, header.channels)) as writer:
            for number, pcm in enumerate(pieces):
                writer.write(pcm)
                samples += len(pcm)
                if number % SHOWN_PAYLOADS == 0:
                    progress(number / max(count, 1), samples / header.source_rate)
            decoded = count - len(damaged) - recording.payloads.count(None)
            if not decoded and (count or recording.damage):
                raise ContainerError(f"{name}: none of its payloads can be decoded")
        warnings = [f"{name}: {recording.damage}"] if recording.damage else []
        if damaged:
            warnings.append(
                f"{name}: {len(damaged)} of {count} payloads are damaged and were concealed"
            )
        payload_bytes = sum(len(payload or b"") for payload in recording.payloads)
        seconds = samples / header.source_rate
        return Done(seconds, payload_bytes, header.seconds(count), tuple(warnings))


def _read(source: Path, name: str) -> Recording:
    """Raises ContainerError, OSError."""
    with source.open("rb") as file:
        try:
            return read_container(file)
        except ContainerError as error:
            raise ContainerError(f"{name}: {error}") from error


def described(path: Path, name: str) -> list[str]:
    """What an .sc file holds, in lines. `name`: what messages call it. Raises ContainerError,
    OSError.
    """
    recording = _read(path, name)
    header = recording.header
    samples = header.samples
    seconds = (
        header.seconds(len(recording.payloads)) if samples is None else samples / header.source_rate
    )
    sizes = np.array([len(p or b"") for p in recording.payloads] or [0])
    packet_s = header.seconds(1)
    band = ", full band" if header.high_band else ""
    channels = "joint stereo" if header.joint_stereo else f"{header.channels} channel(s)"
    return [
        f"model {header.model}, {header.sample_rate} Hz{band}, {channels}, "
        f"source {header.source_rate} Hz, {seconds:.2f} s",
        f"{len(recording.payloads)} payloads of {1000 * packet_s:g} ms, {sizes.sum()} bytes, "
        f"largest {sizes.max()}",
        f"{sizes.mean() * 8 / packet_s / 1e3:.2f} kbit/s payload",
        "whole" if recording.damage is None else recording.damage,
    ]
