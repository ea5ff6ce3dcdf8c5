"""The rows of the page of samples: one clip of each kind as it was, through our codec, and through
Opus at the rate that ours took.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from streamcodec.units import Pcm
from streamcodec.wire.redundancy import USUAL_COPY_DISTANCE

from . import loss
from .codecs import all_codecs
from .content import NOISE_SNR_DB, Clip, derived
from .formats import SAMPLE_RATE, Format
from .metrics import figures, needs_of
from .quality import aligned

SECONDS, STEREO_SECONDS = 5.0, 4.0
EDGE_S = 0.02  # fade at both ends of a clip: its cut would click
# Sounds are rounded to this: noise 89 dB below full scale, for a fifth less to download.
BITS = 14
LOST_SHARE, BURST_MS = 0.05, 60.0
NEAR = 0.01  # how far a rate may be from the one that it should equal
# Rate asked in bit/s -> PCM as decoded and bits of payload.
Code = Callable[[float], tuple[Pcm, int]]


@dataclasses.dataclass(frozen=True)
class Version:
    """A clip in one version. pcm [T] or [T, 2] at `sample_rate` Hz, as listeners get it; kbps:
    measured on this clip, and asked_kbps what the encoder was asked for; figures: metric -> value
    against the first version of the row. Only the original has none of these.
    """

    name: str
    pcm: Pcm
    sample_rate: int = SAMPLE_RATE
    kbps: float | None = None
    asked_kbps: float | None = None
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """Three versions of one clip: original, ours, Opus. listen: a line of what to listen for.
    credit: where the clip is from, and what else to know of it. lost: from when to when nothing
    arrived, in seconds.
    """

    name: str
    title: str
    listen: str
    credit: str
    versions: tuple[Version, ...]
    lost: tuple[tuple[float, float], ...] = ()

    @property
    def sample_rate(self) -> int:
        """Hz: that of all its versions."""
        return self.versions[0].sample_rate


@dataclasses.dataclass(frozen=True)
class Sources:
    """speech: at least one clip. Kinds whose source is None are left out. language: its name. All
    are at SAMPLE_RATE but for full_band and stereo, which are at full band, and music, which may
    be. All have one channel but for stereo.
    """

    speech: Sequence[Clip]
    language: str
    full_band: Clip | None
    noise: Clip | None
    foreign: Clip | None
    music: Clip | None
    stereo: Clip | None = None


def rounded(pcm: Pcm) -> Pcm:
    """To BITS, as FLAC holds it, within full scale."""
    scale = 2 ** (BITS - 1)
    whole: Pcm = (np.clip(np.round(pcm * scale), -scale, scale - 1) / scale).astype(np.float32)
    return whole


def flac(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> bytes:
    """PCM [T] or [T, 2] as FLAC, which spends nothing on the bits that `rounded` has cleared."""
    target = io.BytesIO()
    soundfile.write(target, rounded(pcm), sample_rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def short(clip: Clip, seconds: float = SECONDS) -> Clip:
    """The beginning of a clip, faded at both ends, rounded."""
    pcm = clip.pcm[: round(seconds * clip.sample_rate)].copy()
    ramp = np.linspace(0, 1, round(EDGE_S * clip.sample_rate), dtype=np.float32)
    ramp = ramp.reshape(-1, *[1] * (pcm.ndim - 1))
    pcm[: len(ramp)] *= ramp
    pcm[len(pcm) - len(ramp) :] *= ramp[::-1]
    return dataclasses.replace(clip, pcm=rounded(pcm))


def installed(metrics: Sequence[str]) -> list[str]:
    """Those of `metrics` whose packages are there."""
    return [m for m in metrics if all(map(importlib.util.find_spec, needs_of([m])))]


def matched(
    code: Code, wanted_bps: float, seconds: float, least_bps: float = 0.0
) -> tuple[float, Pcm, int]:
    """The rate to ask `code` for, at least `least_bps`, so that what it spends on a clip of so many
    seconds is nearest to `wanted_bps`; and what it makes of the clip then: PCM and bits.
    """
    asked, tried = max(least_bps, wanted_bps), []
    for _ in range(8):
        pcm, bits = code(asked)
        real = bits / seconds
        tried.append((abs(real / wanted_bps - 1), asked, pcm, bits))
        following = max(least_bps, asked * wanted_bps / real)
        if tried[-1][0] <= NEAR / 2 or following == asked:
            break
        asked = following
    _, asked, pcm, bits = min(tried, key=lambda t: t[0])
    return asked, pcm, bits


def lost_packets(samples: int, seed: int) -> loss.Lost:
    """A trace of bursts: the first from `seed` on that loses LOST_SHARE of a clip of so many
    samples within a tenth. A short clip's own share varies widely from trace to trace.
    """
    packets = -(-samples // loss.FRAME)
    while True:
        trace = loss.LossPlan([], LOST_SHARE, BURST_MS, [], seed).trace(samples, 0)
        if abs(trace[:packets].mean() / LOST_SHARE - 1) < 0.1:
            return trace
        seed += 1


def rows(sources: Sources, credit: Callable[[Clip], str], model: str | None) -> list[Row]:
    """A row of each kind that there is a source for."""
    clean, noisy, holed = (sources.speech[n % len(sources.speech)] for n in range(3))
    made = [
        _plain(
            "clean",
            "Clean speech, 6 kbit/s",
            "s, f and breath: Opus drops everything above 4 kHz, as a telephone does. streamcodec"
            " keeps the band, but as noise from 2 kHz on: is the voice hoarser than the original?",
            short(clean),
            credit(clean),
            6_000,
            model,
        )
    ]
    if sources.full_band is not None:
        made.append(
            _plain(
                "full-band",
                "A voice at full band, 12 kbit/s",
                "s, breath and the air of the room, which go on above 8 kHz. streamcodec has noise"
                " there that follows the original's levels, Opus has nothing at this rate: does it"
                " sound duller, or further away?",
                short(sources.full_band),
                credit(sources.full_band),
                12_000,
                model,
                metrics=("pesq", "visqol", "visqol-audio", "lsd-high"),
            )
        )
    if sources.noise is not None:
        mixed = derived([short(noisy)], ["noisy"], [sources.noise])[0]
        made.append(
            _plain(
                "noisy",
                f"Speech in noise ({NOISE_SNR_DB:g} dB below the voice), 6 kbit/s",
                "the voice apart from the noise, and the noise itself: does it still sound like the"
                " place that it is from?",
                short(mixed),
                f"{credit(noisy)}; noise: {credit(sources.noise)}",
                6_000,
                model,
            )
        )
    if sources.foreign is not None:
        made.append(
            _plain(
                "language",
                f"Another language ({sources.language}), 6 kbit/s",
                "sounds that English does not have, such as a rolled r, and the melody of the"
                " sentence.",
                short(sources.foreign),
                credit(sources.foreign),
                6_000,
                model,
            )
        )
    made.append(_with_loss(short(holed), credit(holed), model))
    if sources.music is not None:
        made.append(_music(short(sources.music), credit(sources.music), model))
    if sources.stereo is not None:
        made.append(
            _plain(
                "stereo",
                "Music in two channels at full band, 24 kbit/s asked for",
                "where each instrument is, and how wide it all is: does anything move, or come"
                " nearer to the middle? With headphones.",
                short(sources.stereo, STEREO_SECONDS),
                "Opus was told that this is music. Figures of one channel are means of both;"
                " spectrograms are of their mean. " + credit(sources.stereo),
                24_000,
                model,
                peer="opus-audio",
                metrics=("visqol-audio", "lsd-high", "stereo-level", "stereo-coherence"),
            )
        )
    made.append(
        _plain(
            "low",
            "Low rate: streamcodec at 3 kbit/s, Opus at its lowest",
            "every word, and whether it is still the same person. Not an equal pair: Opus cannot go"
            " below 6 kbit/s, twice what streamcodec takes here.",
            short(clean),
            f"The sentence of the first row. {credit(clean)}",
            3_000,
            model,
            opus_bps=6_000,
        )
    )
    return made


def _plain(
    name: str,
    title: str,
    listen: str,
    clip: Clip,
    credit: str,
    rate_bps: float,
    model: str | None,
    *,
    peer: str = "opus",
    metrics: Sequence[str] = ("pesq", "visqol"),
    opus_bps: float | None = None,
) -> Row:
    """Nothing is lost. `peer` of `all_codecs` is asked for `opus_bps`, or for what makes it equal
    to ours. Both code all of the band that the clip's rate holds.
    """
    codecs = all_codecs(model, Format(clip.sample_rate, clip.channels == 2))
    mine = codecs["streamcodec"].code(clip.pcm, rate_bps)
    bits = 8 * mine.payload_bytes

    def code(asked: float) -> tuple[Pcm, int]:
        coded = codecs[peer].code(clip.pcm, asked)
        return coded.pcm, 8 * coded.payload_bytes

    if opus_bps is None:
        wanted, least = bits / clip.seconds, codecs[peer].least_bps
        asked, other, other_bits = matched(code, wanted, clip.seconds, least)
    else:
        asked, (other, other_bits) = opus_bps, code(opus_bps)
    chosen = installed(metrics)
    versions = (
        Version("original", clip.pcm, clip.sample_rate),
        _version("streamcodec", clip, mine.pcm, bits, rate_bps, chosen),
        _version("Opus", clip, other, other_bits, asked, chosen),
    )
    return Row(name, title, listen, credit, versions)


def _music(clip: Clip, credit: str, model: str | None) -> Row:
    """At full band where the clip is."""
    wide = Format(clip.sample_rate).full_band
    rate_bps = 16_000 if wide else 12_000
    return _plain(
        "music",
        f"Music{' at full band' if wide else ''}, {rate_bps / 1000:g} kbit/s asked for",
        "held notes. Opus keeps more of the tones, where streamcodec has noise from 3 kHz on and"
        " takes more bits than it should.",
        clip,
        "Opus was told that this is music. PESQ is made for speech and misjudges music; ViSQOL's"
        f" audio mode is made for it. {credit}",
        rate_bps,
        model,
        peer="opus-audio",
        metrics=("pesq", "visqol-audio", *(["lsd-high"] if wide else [])),
    )


def _with_loss(clip: Clip, credit: str, model: str | None) -> Row:
    """Both lose the same packets. Ours is asked for what makes it 9 kbit/s with its copies."""
    pcm, samples = clip.pcm, len(clip.pcm)
    trace = lost_packets(samples, seed=0)
    mine = functools.partial(
        loss.recover, pcm, lost=trace, model=model, distance=USUAL_COPY_DISTANCE
    )
    asked, heard, bits = matched(mine, 9_000, clip.seconds)
    peer = functools.partial(loss.opus, pcm, lost=trace)
    least = all_codecs(model)["opus"].least_bps
    opus_asked, other, opus_bits = matched(peer, bits / clip.seconds, clip.seconds, least)
    chosen = installed(("pesq", "visqol"))
    holes = np.flatnonzero(trace[: -(-samples // loss.FRAME)])
    packet_s = loss.PACKET_MS / 1000
    share = 100 * len(holes) * loss.FRAME / samples
    return Row(
        "loss",
        f"Lost packets ({share:.1f} % in bursts), 9 kbit/s",
        "the places marked red: streamcodec plays coarse copies that later packets brought, Opus"
        " makes up what is missing.",
        f"The copies come {USUAL_COPY_DISTANCE} packets later, within the 9 kbit/s; listeners wait"
        f" {USUAL_COPY_DISTANCE * loss.PACKET_MS} ms longer for them. Opus conceals without a wait;"
        f" its in-band FEC is off. Both lose the same packets. {credit}",
        (
            Version("original", pcm),
            _version("streamcodec", clip, heard, bits, asked, chosen),
            _version("Opus", clip, other, opus_bits, opus_asked, chosen),
        ),
        tuple((float(n * packet_s), float((n + 1) * packet_s)) for n in holes),
    )


def _version(
    name: str, original: Clip, heard: Pcm, bits: int, asked_bps: float, metrics: Sequence[str]
) -> Version:
    """Aligned with the original and as long. Figures are of what listeners get: rounded."""
    rate = original.sample_rate
    moved = aligned(original.pcm, heard, rate)[1]
    missing = np.zeros((len(original.pcm) - len(moved), *moved.shape[1:]), np.float32)
    pcm = rounded(np.concatenate([moved, missing]))
    kbps = bits / original.seconds / 1000
    judged = figures(metrics, original.pcm, pcm, rate)
    shown = {metric: round(value, 2) for metric, value in judged.items()}
    return Version(name, pcm, rate, round(kbps, 2), round(asked_bps / 1000, 2), shown)


def read_credits(folder: Path) -> dict[str, tuple[str, str]]:
    """Stems of files -> their source, and a line of source, speaker and licence: those of the
    nearest manifest.csv in `folder` or above it that has these columns; none where there is none.
    """
    inside = folder.resolve()
    for home in (inside, *inside.parents):
        if not (home / "manifest.csv").is_file():
            continue
        with (home / "manifest.csv").open(newline="", encoding="utf-8") as opened:
            lines = csv.DictReader(opened)
            if {"path", "source", "speaker", "license"} <= set(lines.fieldnames or ()):
                return {
                    Path(line["path"]).stem: (
                        line["source"],
                        f"{line['source']}, {line['speaker']}, {line['license']}",
                    )
                    for line in lines
                }
    return {}
