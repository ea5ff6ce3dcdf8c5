"""`streamcodec encode | decode | info`: recordings through the codec, without a network."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from .options import bitrate_or_quality, codec_options, rate_options

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@rate_options
@click.option("--mono", is_flag=True, help="Average two channels into one.")
@codec_options
def encode(
    source: Path,
    target: Path,
    bitrate: float | None,
    quality: float | None,
    capped: bool,
    packet_ms: str,
    mono: bool,
    model: str | None,
    codec_device: str,
) -> None:
    """Encode SOURCE (WAV, FLAC, Ogg, ...) into TARGET (.sc)."""
    import streamcodec
    from streamcodec.coding.container import StreamHeader, write_container

    bitrate, quality = bitrate_or_quality(bitrate, quality)
    pcm, sample_rate = _read_audio(source)
    loaded = streamcodec.load_model(model, codec_device)
    encoder = streamcodec.StreamEncoder(
        loaded,
        bitrate_bps=bitrate,
        quality=quality,
        capped=capped,
        sample_rate=sample_rate,
        channels=pcm.shape[1],
        downmix=mono and pcm.shape[1] > 1,
        latents_per_payload=int(packet_ms) // 20,
    )
    payloads = streamcodec.encode(pcm, encoder)
    config = encoder.config
    header = StreamHeader(
        model=loaded.hash,
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
    rate = f"{sum(map(len, payloads)) * 8 / seconds / 1e3:.2f} kbit/s payload, " if seconds else ""
    click.echo(
        f"{target}: {seconds:.2f} s, {config.channels} channel(s), {rate}{size} bytes", err=True
    )


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@codec_options
def decode(source: Path, target: Path, model: str | None, codec_device: str) -> None:
    """Decode SOURCE (.sc) into TARGET (WAV, FLAC, Ogg, by its ending). Of a damaged file, what is
    whole.
    """
    import soundfile

    import streamcodec
    from streamcodec.coding.container import read_container
    from streamcodec.errors import AudioError, ModelError

    with source.open("rb") as file:
        recording = read_container(file)
    header = recording.header
    loaded = streamcodec.load_model(model, codec_device)
    if header.model != loaded.hash:
        raise ModelError(
            f"{source} was made with model {header.model}; this is {loaded.hash}: give the right one with --model"
        )
    config = loaded.stream_config(header.channels, header.latents_per_payload, header.base_level)
    decoder = streamcodec.StreamDecoder(loaded, config, sample_rate=header.source_rate)
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
            f"{source}: {len(damaged)} of {len(recording.payloads)} payloads are damaged and were concealed",
            err=True,
        )
    click.echo(f"{target}: {len(pcm) / header.source_rate:.2f} s", err=True)


@click.command()
@click.argument("source", default="")
def info(source: str) -> None:
    """Say what SOURCE is: an .sc file, a folder with a model, or the name of a shipped one
    (voice-16k where nothing is given).
    """
    path = Path(source)
    if not path.is_file():
        from streamcodec.config import CodecConfig
        from streamcodec_models.catalogue import describe, folder_of

        model = describe(folder_of(source or None))
        shape = model.config
        config = CodecConfig(shape.sample_rate, shape.hop, shape.overlap, shape.frames_per_packet)
        rates = ", ".join(f"{b / 1e3:.1f}" for b in model.level_bitrates_bps)
        click.echo(
            f"model {model.hash}: {config.sample_rate} Hz, {model.parameters / 1e6:.2f}M parameters"
        )
        click.echo(
            f"algorithmic latency {config.latency_ms:g} ms, packets of {config.packet_ms:g} ms"
        )
        click.echo(f"mean kbit/s by level: {rates}")
        return
    from streamcodec.coding.container import read_container

    with path.open("rb") as file:
        recording = read_container(file)
    header = recording.header
    sizes = np.array([len(p or b"") for p in recording.payloads] or [0])
    packet_s = header.seconds(1)
    click.echo(
        f"model {header.model}, {header.sample_rate} Hz, {header.channels} channel(s), source {header.source_rate} Hz"
    )
    click.echo(
        f"{len(recording.payloads)} payloads of {1000 * packet_s:g} ms, {sizes.sum()} bytes, largest {sizes.max()}"
    )
    click.echo(f"{sizes.mean() * 8 / packet_s / 1e3:.2f} kbit/s payload")
    click.echo("whole" if recording.damage is None else recording.damage)


def _read_audio(path: Path) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int]:
    import soundfile

    from streamcodec.errors import AudioError

    try:
        pcm, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} as audio: {error}") from error
    return pcm, sample_rate
