"""`streamcodec encode | decode | info`: recordings through the codec, without a network."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcodec.errors import ConfigError
from streamcodec.terminal import fitted

from .grouping import grouped
from .options import CodecOptions, RateOptions, codec_options, rate_options

if TYPE_CHECKING:
    from .recordings import Conversion
    from .targets import Endings

FILES = click.argument(
    "files",
    metavar="SOURCE... [TARGET]",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True, path_type=Path),
)


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """How many files are converted. jobs: processes; None: one for each core."""

    out_dir: Path | None
    jobs: int | None
    force: bool


batch_options = grouped(
    "batch",
    BatchOptions,
    click.option(
        "--out-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write into this folder, under the names of the sources.  [default: beside them]",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes for several files.  [default: all cores]",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Write files anew that are there. Without it one is refused; of several they are "
        "skipped, so that the same command goes on after an end.",
    ),
)


@click.command()
@FILES
@rate_options
@click.option("--mono", is_flag=True, help="Average all channels into one.")
@batch_options
@codec_options
def encode(
    files: tuple[Path, ...],
    rate: RateOptions,
    mono: bool,
    batch: BatchOptions,
    codec: CodecOptions,
) -> None:
    """Encode SOURCE (WAV, FLAC, Ogg, ...) into TARGET, which ends in .sc; without one x.wav becomes
    x.sc. Several files, as of `encode *.wav`, become one .sc file each; of a folder all audio files
    in it and below are encoded, into folder TARGET under the same names. - is standard input or
    output.

    An input is never overwritten. One file of several that fails does not stop the others: it is
    named, and the exit status is 1.
    """
    from .recordings import Encode
    from .targets import AUDIO_ENDINGS, Endings

    _convert(
        files, Encode(rate, mono, codec.band), Endings(AUDIO_ENDINGS, (".sc",), ".sc"), batch, codec
    )


@click.command()
@FILES
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["wav", "flac", "ogg", "opus"]),
    help="Of files without a TARGET: its ending says it for a single one.  [default: wav]",
)
@batch_options
@codec_options
def decode(
    files: tuple[Path, ...], file_format: str | None, batch: BatchOptions, codec: CodecOptions
) -> None:
    """Decode SOURCE (.sc) into TARGET (WAV, FLAC, Ogg or Opus, by its ending); without one x.sc
    becomes x.wav. Several files become one each; of a folder all .sc files in it and below are
    decoded, into folder TARGET under the same names. - is standard input or output. Of a damaged
    file, what can be read is decoded.

    An input is never overwritten. One file of several that fails does not stop the others: it is
    named, and the exit status is 1.
    """
    from ..audio.files import WRITTEN_ENDINGS
    from .recordings import Decode
    from .targets import Endings

    if file_format is not None and len(files) == 2 and files[1].suffix.lower() in WRITTEN_ENDINGS:
        raise click.UsageError("--format is for files without a TARGET: its ending says it")
    ending = f".{file_format or 'wav'}"
    endings = Endings(frozenset({".sc"}), WRITTEN_ENDINGS, ending)
    _convert(files, Decode(ending, codec.band), endings, batch, codec)


@click.command()
@click.argument("source", default="")
def info(source: str) -> None:
    """Say what SOURCE is: an .sc file, a folder with a model, or the name of a shipped one
    (voice-16k where nothing is given). - is an .sc file on standard input.
    """
    from .recordings import described
    from .whole_files import input_name, is_stream, reading_whole

    path = Path(source)
    if path.suffix == ".sc" and not path.exists():
        raise ConfigError(f"no file {source}")
    if path.is_file() or is_stream(path):
        with reading_whole(path) as whole:
            lines = described(whole, input_name(path))
    else:
        lines = _model_lines(source or None)
    for line in lines:
        click.echo(line)


def _convert(
    files: tuple[Path, ...],
    conversion: Conversion,
    endings: Endings,
    options: BatchOptions,
    codec: CodecOptions,
) -> None:
    """Raises StreamcodecError, OSError; click.exceptions.Exit where one of several files failed."""
    from streamcodec.ending import signals_unwind

    from .folders import convert_all, convert_one, cores
    from .targets import planned
    from .whole_files import STANDARD

    plan = planned(files, options.out_dir, endings, codec, force=options.force)
    if plan.alone:
        (job,) = plan.jobs
        with signals_unwind(interrupt=True):
            outcome = convert_one(job, conversion, codec)
        target = "standard output" if job.target == STANDARD else job.target
        _tell(*outcome.warnings, f"{target}: {outcome.figures}")
        return
    with signals_unwind(interrupt=True):
        outcome = convert_all(plan, conversion, codec, options.jobs or cores())
    _tell(*outcome.warnings, *outcome.failures)
    skipped = f", {plan.skipped} were there already (--force)" if plan.skipped else ""
    failed = f", {len(outcome.failures)} failed" if outcome.failures else ""
    figures = f": {outcome.figures}" if outcome.converted else ""
    _tell(f"{outcome.converted} written{skipped}{failed}{figures}")
    if outcome.failures:
        raise click.exceptions.Exit(1)


def _tell(*lines: str) -> None:
    for line in lines:
        click.echo(fitted(line, sys.stderr), err=True)


def _model_lines(name: str | None) -> list[str]:
    from streamcodec.coding.high_band import lag_of
    from streamcodec.coding.stream import DESCRIPTION_BPS
    from streamcodec.config import CodecConfig
    from streamcodec.tables import HIGH_BAND_FACTOR
    from streamcodec_models.catalogue import describe, folder_of, high_band

    folder = folder_of(name)
    model = describe(folder)
    shape = model.config
    step = shape.hop * shape.frames_per_packet
    config = CodecConfig(shape.sample_rate, step, shape.overlap, step)
    rates = [f"{b / 1e3:.1f}" for b in model.level_bitrates_bps]
    base, layered = rates[: shape.base_levels], rates[shape.base_levels :]
    full_band = "no high band: its streams are wideband"
    if (found := high_band(folder)) is not None:
        tables, digest = found
        rate = config.sample_rate * HIGH_BAND_FACTOR
        latency_ms = config.packet_ms + 1_000 * lag_of(tables, config.overlap) / rate
        full_band = (
            f"high band {digest}: {rate} Hz, algorithmic latency {latency_ms:.1f} ms, "
            f"{DESCRIPTION_BPS / 1e3:g} kbit/s more"
        )
    return [
        f"model {model.hash}: {config.sample_rate} Hz, {model.parameters / 1e6:.2f}M parameters",
        f"algorithmic latency {config.latency_ms:g} ms, packets of {config.packet_ms:g} ms",
        full_band,
        f"mean kbit/s by level: {', '.join(base)}",
        f"with the waveform layer: {', '.join(layered)}",
    ]
