"""A page to listen to: clips of several kinds through our codec and Opus; and a listening test.
`python -m streamcodec_bench.samples --data DIR`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click

from streamcodec.errors import AudioError, ConfigError, StreamcodecError
from streamcodec.units import Pcm

from .codecs import LOW_PASS_HZ, OPUS_FRAME_MS, all_codecs, loaded, low_passed, opus_version
from .content import BelowBand, Clip, read_clip, read_clips
from .formats import FULL_BAND_RATE, SAMPLE_RATE, Format
from .listening_page import Condition, Trial, write_page
from .quality import aligned
from .sample_rows import BITS, SECONDS, STEREO_SECONDS, Sources, flac, read_credits, rows
from .samples_page import table, write_samples

TRIAL_SECONDS = 4.0
RATES_BPS = (3_000.0, 6_000.0, 12_000.0)
SPEAKERS = 3  # of the rows of the page
FULL_BAND = Format(FULL_BAND_RATE)
STEREO = Format(FULL_BAND_RATE, stereo=True)
PATH = click.Path(exists=True, path_type=Path)


class Variant(NamedTuple):
    """A clip in one condition of the listening test. file: its stem, without the clip's number."""

    file: str
    pcm: Pcm
    name: str
    kind: str
    kbps: float | None = None


def variants(clip: Clip, model: str | None) -> list[Variant]:
    """The original, its low-pass, ours at each rate, and Opus at each rate and twice each rate,
    where it goes so low.
    """
    codecs = all_codecs(model)
    anchor = f"low-pass {LOW_PASS_HZ / 1000:g} kHz"
    made = [
        Variant("original", clip.pcm, "reference", "reference"),
        Variant("low-pass", low_passed(clip.pcm, 0).pcm, anchor, "anchor"),
    ]
    wanted = [("streamcodec", rate) for rate in RATES_BPS]
    wanted += [
        ("opus", rate)
        for rate in sorted({f * r for r in RATES_BPS for f in (1, 2)})
        if rate >= codecs["opus"].least_bps
    ]
    for codec, rate in wanted:
        coded = codecs[codec].code(clip.pcm, rate)
        kbps = coded.payload_bytes * 8 / len(clip.pcm) * SAMPLE_RATE / 1000
        name = f"{codec}-{rate / 1000:g}k"
        pcm = aligned(clip.pcm, coded.pcm)[1]
        made.append(Variant(name, pcm, name, "codec", round(kbps, 2)))
    return made


def read_full_band(path: Path) -> Clip | None:
    """What `read_clip` takes from `path`, at full band; None where it was recorded at less. Raises
    AudioError.
    """
    try:
        return read_clip(path, FULL_BAND)
    except BelowBand:
        return None


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of speech that was not trained on: three clips for the page, some for the test.",
)
@click.option(
    "--full-band",
    type=PATH,
    help=f"A clip, or a folder whose first is taken: a voice recorded at"
    f" {FULL_BAND.least_recorded_rate} Hz or more.",
)
@click.option("--noise", type=PATH, help="A clip, or a folder whose first is taken: noisy speech.")
@click.option("--foreign", type=PATH, help="The same, of speech in another language.")
@click.option("--language", default="another language", help="The name of that language.")
@click.option("--music", type=PATH, help="The same, of music.")
@click.option("--stereo", type=PATH, help="The same, in two channels at full band.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/samples"),
    show_default=True,
)
@click.option(
    "--clips", type=click.IntRange(min=1), default=3, show_default=True, help="Trials of the test."
)
@click.option(
    "--licence",
    default="LibriSpeech, CC-BY-4.0",
    show_default=True,
    help="Where clips come from that no manifest.csv names.",
)
@click.option(
    "--credit",
    "credits_",
    multiple=True,
    metavar="NAME=TEXT",
    help="Where a clip comes from, or all of a source; NAME as in manifest.csv. Repeatable.",
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def samples(
    data: Path,
    full_band: Path | None,
    noise: Path | None,
    foreign: Path | None,
    language: str,
    music: Path | None,
    stereo: Path | None,
    out: Path,
    clips: int,
    licence: str,
    credits_: tuple[str, ...],
    model: str | None,
) -> None:
    """Write a page with players and spectrograms, and a listening test; print the figures."""
    inputs = {
        "--data": data,
        "--full-band": full_band,
        "--noise": noise,
        "--foreign": foreign,
        "--music": music,
        "--stereo": stereo,
    }
    for option, path in inputs.items():
        folder = path if path is None or path.is_dir() else path.parent
        if folder is not None and out.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"--out {out} lies in {option} {path}: clips could be overwritten")
    given: dict[str, str] = {}
    for line in credits_:
        name, equals, text = line.partition("=")
        if not equals:
            raise ConfigError(f"--credit {line} has no =: NAME=TEXT")
        given[name] = text
    named = {
        stem: known
        for path in inputs.values()
        if path is not None
        for stem, known in read_credits(path if path.is_dir() else path.parent).items()
    }

    def credit(clip: Clip) -> str:
        source, line = named.get(clip.name, ("", licence))
        return f"{given.get(clip.name) or given.get(source) or line} ({clip.name})"

    wide = None if full_band is None else read_full_band(full_band)
    if full_band is not None and wide is None:
        raise AudioError(
            f"--full-band {full_band} has less than {FULL_BAND.least_recorded_rate} Hz: there is"
            " nothing above the core's band to listen to"
        )
    others = [None if path is None else read_clip(path) for path in (noise, foreign, music)]
    if music is not None and loaded(model).high_band is not None:
        others[2] = read_full_band(music) or others[2]
    both = None if stereo is None else read_clip(stereo, STEREO)
    if both is not None and both.channels != 2:
        raise AudioError(f"--stereo {stereo} has one channel: there is no stereo to listen to")
    noisy, other, song = others
    sources = Sources(read_clips(data, SPEAKERS), language, wide, noisy, other, song, both)
    for option, path in inputs.items():
        if path is None:
            click.echo(f"no {option}: no row of it", err=True)
    made = rows(sources, credit, model)
    out.mkdir(parents=True, exist_ok=True)
    trials = []
    for number, clip in enumerate(read_clips(data, clips), 1):
        conditions = []
        start = clip.pcm[: round(TRIAL_SECONDS * SAMPLE_RATE)]
        for variant in variants(Clip(clip.name, clip.content, start), model):
            name = f"{number}-{variant.file}.flac"
            (out / name).write_bytes(flac(variant.pcm))
            conditions.append(Condition(variant.name, variant.kind, name, variant.kbps))
        trials.append(Trial(str(number), clip.name, f"{number}-original.flac", tuple(conditions)))
    write_page(out, trials, licence)
    about = (
        "Speakers that were not trained on; English clips at"
        f" {SAMPLE_RATE / 1000:g} kHz are taken by their place in their folder, not by how they"
        f" sound. The first {SECONDS:g} s of each ({STEREO_SECONDS:g} of two channels), at"
        f" {SAMPLE_RATE / 1000:g} kHz, or {FULL_BAND_RATE / 1000:g} where a row says full band,"
        f" rounded to {BITS} bits. streamcodec: model {loaded(model).hash}. Opus:"
        f" {opus_version()}, as much of the band as it chooses, {OPUS_FRAME_MS} ms, VBR,"
        " complexity 10."
    )
    write_samples(out / "index.html", made, about, _command(inputs, click.get_current_context()))
    click.echo(f"{table(made)}\n{out / 'index.html'}")


def _command(inputs: dict[str, Path | None], context: click.Context) -> str:
    """What this run could be repeated with."""
    asked = context.params
    words = ["python", "-m", "streamcodec_bench.samples"]
    for option, path in inputs.items():
        words += [] if path is None else [option, str(path)]
    for option in ("language", "clips", "licence", "model"):
        source = context.get_parameter_source(option)
        if source is not None and source.name != "DEFAULT":
            words += [f"--{option}", str(asked[option])]
    for line in asked["credits_"]:
        words += ["--credit", line]
    return shlex.join(words)


if __name__ == "__main__":
    try:
        samples.main(standalone_mode=False, prog_name="samples")
    except StreamcodecError as error:
        click.echo(f"samples: {error}", err=True)
        sys.exit(2)
