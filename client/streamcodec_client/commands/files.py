"""`streamcodec encode | decode | info`: recordings through the codec, without a network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcodec.errors import ConfigError

from .grouping import grouped
from .options import CodecOptions, RateOptions, codec_options, rate_options

if TYPE_CHECKING:
    from .recordings import Conversion

EXISTING = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """How a folder is converted. jobs: processes; None: one for each core."""

    jobs: int | None
    force: bool


folder_options = grouped(
    "folder",
    FolderOptions,
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes for a folder.  [default: all cores]",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="In a folder, write files anew that are there; without it they are skipped, so that "
        "the same command goes on after an end. A single TARGET is always written anew.",
    ),
)


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@rate_options
@click.option("--mono", is_flag=True, help="Average two channels into one.")
@folder_options
@codec_options
def encode(
    source: Path,
    target: Path,
    rate: RateOptions,
    mono: bool,
    folder: FolderOptions,
    codec: CodecOptions,
) -> None:
    """Encode SOURCE (WAV, FLAC, Ogg, ...) into TARGET (.sc). Of a folder, all audio files in it and
    in the folders below, with the same names in folder TARGET.

    An input is never overwritten. One file that fails does not stop the others: it is named, and
    the exit status is 1.
    """
    from .folders import AUDIO_ENDINGS
    from .recordings import Encode

    _convert(source, target, Encode(rate, mono), AUDIO_ENDINGS, ".sc", folder, codec)


@click.command()
@click.argument("source", type=EXISTING)
@click.argument("target", type=OUTPUT)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["wav", "flac"]),
    help="Of files in a folder; that of a single file is told by its ending.  [default: wav]",
)
@folder_options
@codec_options
def decode(
    source: Path, target: Path, file_format: str | None, folder: FolderOptions, codec: CodecOptions
) -> None:
    """Decode SOURCE (.sc) into TARGET (WAV, FLAC, Ogg, by its ending). Of a folder, all .sc files
    in it and in the folders below, with the same names in folder TARGET. Of a damaged file, what
    can be read is decoded.

    An input is never overwritten. One file that fails does not stop the others: it is named, and
    the exit status is 1.
    """
    from .recordings import Decode

    if file_format is not None and not source.is_dir():
        raise click.UsageError("--format is for folders: the ending of TARGET says it for a file")
    _convert(source, target, Decode(), [".sc"], f".{file_format or 'wav'}", folder, codec)


@click.command()
@click.argument("source", default="")
def info(source: str) -> None:
    """Say what SOURCE is: an .sc file, a folder with a model, or the name of a shipped one
    (voice-16k where nothing is given).
    """
    from .recordings import described

    path = Path(source)
    for line in described(path) if path.is_file() else _model_lines(source or None):
        click.echo(line)


def _convert(
    source: Path,
    target: Path,
    conversion: Conversion,
    endings: frozenset[str] | list[str],
    new_ending: str,
    options: FolderOptions,
    codec: CodecOptions,
) -> None:
    """A file or a folder. Raises StreamcodecError; click.exceptions.Exit where a file of a folder
    failed.
    """
    import streamcodec

    from .folders import Outcome, convert_all, cores, find_jobs

    if not source.is_dir():
        if target.is_dir():
            raise ConfigError(f"{target} is a folder, and {source} a file: name a file to write")
        if target.exists() and target.samefile(source):
            raise ConfigError(f"{target} is the file that is read: name another one to write")
        model = streamcodec.load_model(codec.model, codec.codec_device, codec.engine)
        done = conversion(model, source, target)
        for line in (*done.warnings, done.summary):
            click.echo(line, err=True)
        return
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{source} is a folder, and {target} a file: name a folder to write into")
    outcome = Outcome()
    jobs = find_jobs(source, target, endings, new_ending, outcome, options.force)
    if jobs:
        convert_all(jobs, conversion, codec, options.jobs or cores(), outcome)
    for line in (*outcome.warnings, *outcome.failures):
        click.echo(line, err=True)
    skipped = f", {outcome.skipped} were there already (--force)" if outcome.skipped else ""
    failed = f", {len(outcome.failures)} failed" if outcome.failures else ""
    click.echo(f"{target}: {outcome.converted} written{skipped}{failed}", err=True)
    if outcome.failures:
        raise click.exceptions.Exit(1)


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
