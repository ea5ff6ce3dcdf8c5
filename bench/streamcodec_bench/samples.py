"""A page to listen to, with spectrograms: clips through our codec and Opus; and a listening test
over the same clips. `python -m streamcodec_bench.samples --data DIR`.
"""

from __future__ import annotations

import html
import sys
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import soundfile

from streamcodec.errors import ConfigError, StreamcodecError
from streamcodec.units import Pcm

from .codecs import LOW_PASS_HZ, SAMPLE_RATE, all_codecs, low_passed, opus_version
from .content import Clip, read_clips
from .listening_page import PAGE, Condition, Trial, write_page
from .quality import aligned

SECONDS = 4.0
RATES_BPS = (3_000.0, 6_000.0, 12_000.0)
STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;color:#1b1f24;
max-width:64rem;margin:2rem auto;padding:0 1rem}
figure{display:inline-block;width:19rem;margin:0 .8rem 1.4rem 0}
img{width:100%;display:block;border-radius:4px}
audio{width:100%;height:2rem}
figcaption{font-size:.85rem;color:#4b5563}
h2{font-size:1.05rem;margin:1.6rem 0 .6rem}"""


class Variant(NamedTuple):
    """A clip in one condition of the listening test. file: its stem, without the clip's number."""

    file: str
    caption: str
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
        Variant("original", "original", clip.pcm, "reference", "reference"),
        Variant("low-pass", anchor, low_passed(clip.pcm, 0).pcm, anchor, "anchor"),
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
        caption = f"{codec}, {kbps:.1f} kbit/s"
        pcm = aligned(clip.pcm, coded.pcm)[1]
        made.append(Variant(name, caption, pcm, name, "codec", round(kbps, 2)))
    return made


def draw_spectrogram(target: Path, pcm: Pcm) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(4, 1.6), dpi=80)
    axis = figure.add_axes((0, 0, 1, 1))
    with np.errstate(divide="ignore"):  # a bin of digital silence is minus infinity dB: black
        axis.specgram(
            pcm + 1e-7, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, vmin=-120, vmax=-40, cmap="magma"
        )
    axis.axis("off")
    figure.savefig(target)
    plt.close(figure)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of clips.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/samples"),
    show_default=True,
)
@click.option("--clips", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--licence",
    default="LibriSpeech, CC-BY-4.0",
    show_default=True,
    help="Where the clips come from, for the page.",
)
@click.option("--model", help="Name of a shipped model, or a folder with one.")
def samples(data: Path, out: Path, clips: int, licence: str, model: str | None) -> None:
    """Write a static page with players and spectrograms, and a listening test."""
    if out.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"--out {out} lies in --data {data}: clips could be overwritten")
    out.mkdir(parents=True, exist_ok=True)
    sections, trials = [], []
    for number, clip in enumerate(read_clips(data, clips), 1):
        figures, conditions = [], []
        short = Clip(clip.name, clip.content, clip.pcm[: round(SECONDS * SAMPLE_RATE)])
        for made in variants(short, model):
            name = f"{number}-{made.file}"
            soundfile.write(
                out / f"{name}.flac", np.clip(made.pcm, -1, 1), SAMPLE_RATE, subtype="PCM_16"
            )
            draw_spectrogram(out / f"{name}.png", made.pcm)
            caption = html.escape(made.caption)
            figures.append(
                f'<figure><img src="{name}.png" alt="spectrogram: {caption}">'
                f'<audio controls preload="none" src="{name}.flac"></audio>'
                f"<figcaption>{caption}</figcaption></figure>"
            )
            conditions.append(Condition(made.name, made.kind, f"{name}.flac", made.kbps))
        sections.append(f"<h2>Clip {number} ({html.escape(clip.name)})</h2>\n" + "\n".join(figures))
        trials.append(Trial(str(number), clip.name, f"{number}-original.flac", tuple(conditions)))
    write_page(out, trials, licence)
    page = (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>streamcodec: sound samples</title>\n<style>{STYLE}</style>\n"
        "<h1>Sound samples</h1>\n"
        f"<p>Unseen speakers, 16 kHz. {html.escape(licence)}. "
        f"Opus: {html.escape(opus_version())}, wideband, 20 ms, VBR, complexity 10. "
        f"Rates are those of the payload, measured on each clip. "
        f'<a href="{PAGE}">Listening test</a>: rate them blind.</p>\n'
        + "\n".join(sections)
        + "\n</html>\n"
    )
    (out / "index.html").write_text(page)
    click.echo(f"{out / 'index.html'}")


if __name__ == "__main__":
    try:
        samples.main(standalone_mode=False, prog_name="samples")
    except StreamcodecError as error:
        click.echo(f"samples: {error}", err=True)
        sys.exit(2)
