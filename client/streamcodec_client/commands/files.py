"""`streamcodec encode | decode | info`: recordings through the codec, without a network."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from .options import CodecOptions, RateOptions, codec_options, rate_options

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@rate_options
@click.option("--mono", is_flag=True, help="Average two channels into one.")
@codec_options
def encode(source: Path, target: Path, rate: RateOptions, mono: bool, codec: CodecOptions) -> None:
    """Encode SOURCE (WAV, FLAC, Ogg, ...) into TARGET (.sc)."""
    import streamcodec
    from streamcodec.coding.container import StreamHeader, write_container

    pcm, sample_rate = _read_audio(source)
    model = streamcodec.load_model(codec.model, codec.codec_device, codec.engine)
    encoder = streamcodec.StreamEncoder(
        model,
        bitrate_bps=rate.bitrate_bps,
        quality=rate.quality,
        capped=rate.capped,
        sample_rate=sample_rate,
        channels=pcm.shape[1],
        downmix=mono and pcm.shape[1] > 1,
        latents_per_payload=rate.latents_per_payload,
    )
    payloads = streamcodec.encode(pcm, encoder)
    config = encoder.config
    header = StreamHeader(
        model=model.hash,
        sample_rate=config.sample_rate,
        packet_samples=config.packet_samples,
        source_rate=sample_rate,
        channels=config.channels,
        latents_per_payload=config.latents_per_payload,
        base_level=config.base_level,
        samples=len(pcm),
        payloads=len(payloads),
    )
    with target.open("wb") as file:
        size = write_container(file, header, payloads)
    seconds = len(pcm) / sample_rate
    spent = f"{sum(map(len, payloads)) * 8 / seconds / 1e3:.2f} kbit/s payload, " if seconds else ""
    click.echo(
        f"{target}: {seconds:.2f} s, {config.channels} channel(s), {spent}{size} bytes", err=True
    )


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@codec_options
def decode(source: Path, target: Path, codec: CodecOptions) -> None:
    """Decode SOURCE (.sc) into TARGET (WAV, FLAC, Ogg, by its ending). Of a damaged file, what
    can be read is decoded.
    """
    import soundfile

    import streamcodec
    from streamcodec.coding.container import read_container
    from streamcodec.errors import AudioError, ModelError

    with source.open("rb") as file:
        recording = read_container(file)
    header = recording.header
    model = streamcodec.load_model(codec.model, codec.codec_device, codec.engine)
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
    if recording.damage:
        click.echo(f"{source}: {recording.damage}", err=True)
    if damaged:
        click.echo(
            f"{source}: {len(damaged)} of {len(recording.payloads)} payloads are damaged "
            "and were concealed",
            err=True,
        )
    click.echo(f"{target}: {len(pcm) / header.source_rate:.2f} s", err=True)


@click.command()
@click.argument("source", default="")
def info(source: str) -> None:
    """Say what SOURCE is: an .sc file, a folder with a model, or the name of a shipped one
    (voice-16k where nothing is given).
    """
    lines = _file_lines(Path(source)) if Path(source).is_file() else _model_lines(source or None)
    for line in lines:
        click.echo(line)


def _model_lines(name: str | None) -> list[str]:
    from streamcodec.config import CodecConfig
    from streamcodec_models.catalogue import describe, folder_of

    model = describe(folder_of(name))
    shape = model.config
    config = CodecConfig(shape.sample_rate, shape.hop, shape.overlap, shape.frames_per_packet)
    rates = ", ".join(f"{b / 1e3:.1f}" for b in model.level_bitrates_bps)
    return [
        f"model {model.hash}: {config.sample_rate} Hz, {model.parameters / 1e6:.2f}M parameters",
        f"algorithmic latency {config.latency_ms:g} ms, packets of {config.packet_ms:g} ms",
        f"mean kbit/s by level: {rates}",
    ]


def _file_lines(path: Path) -> list[str]:
    from streamcodec.coding.container import read_container

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


def _read_audio(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples [T, C] and the sample rate in Hz. Raises AudioError."""
    import soundfile

    from streamcodec.errors import AudioError

    try:
        pcm, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} as audio: {error}") from error
    return pcm, sample_rate
