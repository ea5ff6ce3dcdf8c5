"""One recording through the codec: audio file to .sc file, and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

import streamcodec
from streamcodec.coding.container import StreamHeader, read_container, write_container
from streamcodec.coding.model import CodecModel
from streamcodec.errors import AudioError, ModelError

from .options import RateOptions

READ_SAMPLES = 1 << 16  # read and encoded at once: an hour of audio need not fit into memory


@dataclasses.dataclass(frozen=True)
class Done:
    """What was written, in one line; and what was wrong with the source, a line each."""

    summary: str
    warnings: tuple[str, ...] = ()


class Conversion(Protocol):
    """From a file to a file. Can be pickled: other processes run it, too."""

    def __call__(self, model: CodecModel, source: Path, target: Path) -> Done:
        """Raises StreamcodecError, OSError."""
        ...


@dataclasses.dataclass(frozen=True)
class Encode:
    """Audio that libsndfile reads -> .sc. mono: average two channels into one."""

    rate: RateOptions
    mono: bool

    def __call__(self, model: CodecModel, source: Path, target: Path) -> Done:
        """Raises AudioError for a source that is no audio, ConfigError for a rate that the model
        does not have, OSError.
        """
        import soundfile

        try:
            audio = soundfile.SoundFile(source)
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"cannot read {source} as audio: {error}") from error
        with audio:
            encoder = streamcodec.StreamEncoder(
                model,
                bitrate_bps=self.rate.bitrate_bps,
                quality=self.rate.quality,
                capped=self.rate.capped,
                sample_rate=audio.samplerate,
                channels=audio.channels,
                downmix=self.mono and audio.channels > 1,
                latents_per_payload=self.rate.latents_per_payload,
            )
            payloads: list[bytes] = []
            samples = 0
            try:
                while len(pcm := audio.read(READ_SAMPLES, dtype="float32", always_2d=True)):
                    samples += len(pcm)
                    payloads += encoder.encode(pcm)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"cannot read {source} as audio: {error}") from error
            payloads += encoder.flush()
        config = encoder.config
        header = StreamHeader(
            model=model.hash,
            sample_rate=config.sample_rate,
            packet_samples=config.packet_samples,
            source_rate=audio.samplerate,
            channels=config.channels,
            latents_per_payload=config.latents_per_payload,
            base_level=config.base_level,
            samples=samples,
            payloads=len(payloads),
        )
        with target.open("wb") as file:
            size = write_container(file, header, payloads)
        seconds = samples / audio.samplerate
        spent = (
            f"{sum(map(len, payloads)) * 8 / seconds / 1e3:.2f} kbit/s payload, " if seconds else ""
        )
        return Done(f"{target}: {seconds:.2f} s, {config.channels} channel(s), {spent}{size} bytes")


@dataclasses.dataclass(frozen=True)
class Decode:
    """.sc -> WAV, FLAC, Ogg, by the target's ending. Of a damaged file, what can be read."""

    def __call__(self, model: CodecModel, source: Path, target: Path) -> Done:
        """Raises ContainerError for a source that is no .sc file, ModelError for one of another
        model, AudioError for a target that cannot be written, OSError.
        """
        import soundfile

        with source.open("rb") as file:
            recording = read_container(file)
        header = recording.header
        if header.model != model.hash:
            raise ModelError(
                f"{source} was made with model {header.model}; this is {model.hash}: "
                "give the right one with --model"
            )
        config = model.stream_config(header.channels, header.latents_per_payload, header.base_level)
        decoder = streamcodec.StreamDecoder(model, config, sample_rate=header.source_rate)
        damaged: list[str] = []
        pcm = streamcodec.decode(
            recording.payloads,
            decoder,
            header.samples,
            on_damaged=lambda error: damaged.append(str(error)),
        )
        try:
            soundfile.write(target, pcm, header.source_rate)
        except (soundfile.LibsndfileError, TypeError, ValueError, OSError) as error:
            raise AudioError(f"cannot write {target}: {error}") from error
        warnings = [f"{source}: {recording.damage}"] if recording.damage else []
        if damaged:
            warnings.append(
                f"{source}: {len(damaged)} of {len(recording.payloads)} payloads are damaged "
                "and were concealed"
            )
        return Done(f"{target}: {len(pcm) / header.source_rate:.2f} s", tuple(warnings))


def described(path: Path) -> list[str]:
    """What an .sc file holds, in lines. Raises ContainerError, OSError."""
    with path.open("rb") as file:
        recording = read_container(file)
    header = recording.header
    sizes = np.array([len(p or b"") for p in recording.payloads] or [0])
    packet_s = header.seconds(1)
    return [
        f"model {header.model}, {header.sample_rate} Hz, {header.channels} channel(s), "
        f"source {header.source_rate} Hz",
        f"{len(recording.payloads)} payloads of {1000 * packet_s:g} ms, {sizes.sum()} bytes, "
        f"largest {sizes.max()}",
        f"{sizes.mean() * 8 / packet_s / 1e3:.2f} kbit/s payload",
        "whole" if recording.damage is None else recording.damage,
    ]
