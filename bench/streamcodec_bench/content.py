"""The clips that codecs are compared on: those of a folder, and classes of content made from them.
Deterministic: the same clips give the same content each time.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from streamcodec.errors import AudioError, ConfigError
from streamcodec.units import Pcm

from .formats import MONO, SAMPLE_RATE, Format
from .placing import PLACES
from .speakers import Speakers

SUFFIXES = (".flac", ".ogg", ".opus", ".wav")
LEAST_SECONDS, MOST_SECONDS = 1.0, 15.0
LEVEL_CHANGE_DB = 20.0
NOISE_SNR_DB = 10.0
SYNTHETIC_SECONDS = 8.0
UNKNOWN = Speakers()
FORMANTS = ((700, 1.0), (1_150, 0.5), (2_700, 0.25), (3_400, 0.1))  # Hz and gain: an open "a"


@dataclasses.dataclass(frozen=True)
class Clip:
    """PCM [T] or [T, 2] at `sample_rate` Hz with a name and a class of content. speaker: empty
    where it is not known.
    """

    name: str
    content: str
    pcm: Pcm
    speaker: str = ""
    sample_rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.sample_rate

    @property
    def channels(self) -> int:
        return 1 if self.pcm.ndim == 1 else int(self.pcm.shape[1])


class BelowBand(AudioError):
    """A recording is at a rate that cannot hold the band of the format that is asked for."""


def read_clips(
    folder: Path, limit: int | None, speakers: Speakers = UNKNOWN, form: Format = MONO
) -> list[Clip]:
    """Every clip below `folder`, evenly chosen where there are more than `limit`; their class is
    the subfolder they lie in, or "clean". Raises AudioError, BelowBand.
    """
    files = _audio_below(folder)
    if not files:
        raise AudioError(f"no audio below {folder}: looked for {', '.join(SUFFIXES)}")
    clips = []
    for file in _evenly(files, limit):
        inside = file.relative_to(folder).parts
        voice = speakers.of(file, folder)
        clips += _read(file, inside[0] if len(inside) > 1 else "clean", voice.speaker, form)
    return _some(clips, folder)


def read_clip(path: Path, form: Format = MONO) -> Clip:
    """The clip in a file, or the first below a folder. Raises AudioError, BelowBand."""
    if path.is_dir():
        return read_clips(path, 1, form=form)[0]
    if path.suffix.lower() not in SUFFIXES:
        raise AudioError(f"{path} ends in none of {', '.join(SUFFIXES)}")
    return _some(_read(path, "clean", "", form), path)[0]


def read_sets(
    folder: Path,
    limit: int | None,
    speakers: Speakers,
    headline: Path,
    taken: Collection[str],
    form: Format = MONO,
) -> list[Clip]:
    """The sets in `folder`, each a class of its own: a subfolder with audio is one, and so is the
    audio in the folder itself. They are named after their folder, and after the language where
    `speakers` knows one; at most `limit` clips of each. What lies in `headline` is left out.

    Raises AudioError, and ConfigError for a name in `taken`.
    """
    sets: dict[Path, list[Path]] = {}
    for file in _audio_below(folder):
        if not file.resolve().is_relative_to(headline.resolve()):
            inside = file.relative_to(folder).parts
            sets.setdefault(folder / inside[0] if len(inside) > 1 else folder, []).append(file)
    if not sets:
        raise AudioError(
            f"no audio below {folder} beside {headline}: looked for {', '.join(SUFFIXES)}"
        )
    clips: list[Clip] = []
    for home, files in sets.items():
        languages = {speakers.of(file, folder).language for file in files}
        language = languages.pop() if len(languages) == 1 else ""
        name = home.resolve().name + (f" ({language})" if language else "")
        if name in taken:
            raise ConfigError(f"{home}: there is a class {name!r} already; rename the folder")
        chosen = _evenly(files, limit)
        read = [_read(f, name, speakers.of(f, folder).speaker, form) for f in chosen]
        clips += _some([clip for some in read for clip in some], home)
    return clips


def derived(clips: list[Clip], wanted: list[str], noise: list[Clip]) -> list[Clip]:
    """The clips of each class in `wanted`. Raises ConfigError for an unknown class, for noisy
    speech where there is no noise, and for classes made from clips that are not mono, or but for
    voices in two channels not at SAMPLE_RATE.
    """
    made_of_16_khz = set(wanted) - {"clean", *PLACES}
    if made_of_16_khz and any((c.sample_rate, c.channels) != (SAMPLE_RATE, 1) for c in clips):
        raise ConfigError(
            f"classes of content are made from mono at {SAMPLE_RATE} Hz: "
            f"other formats have clean alone, not {', '.join(wanted)}"
        )
    if set(wanted) & set(PLACES) and any(c.channels != 1 for c in clips):
        raise ConfigError("voices are placed in two channels from recordings of one")
    made: list[Clip] = []
    for content in wanted:
        if content == "clean":
            made += clips
        elif content in FROM_CLIP:
            change = FROM_CLIP[content]
            made += [
                dataclasses.replace(c, content=content, pcm=change(c.pcm, _rng(c.name, content)))
                for c in clips
            ]
        elif content in PLACES:
            place = PLACES[content]
            for a, b in zip(clips, clips[1:] + clips[:1], strict=True):
                other, rng = _fitted(b.pcm, len(a.pcm)), _rng(a.name, content)
                placed = _peak_limited(place(a.pcm, other, a.sample_rate, rng))
                made.append(dataclasses.replace(a, content=content, pcm=placed))
        elif content == "two talkers":
            pairs = zip(clips, clips[1:] + clips[:1], strict=True)
            made += [
                dataclasses.replace(
                    a, content=content, pcm=_peak_limited(a.pcm + _fitted(b.pcm, len(a.pcm)))
                )
                for a, b in pairs
            ]
        elif content == "noisy":
            if not noise:
                raise ConfigError("noisy speech needs a folder of noise: --noise DIR")
            made += [
                dataclasses.replace(
                    c, content=content, pcm=_with_noise(c.pcm, noise[i % len(noise)].pcm)
                )
                for i, c in enumerate(clips)
            ]
        elif content in SYNTHETIC:
            made.append(Clip(content, content, SYNTHETIC[content](_rng(content, content))))
        else:
            known = ", ".join(dict.fromkeys((*CLASSES, *STEREO_CLASSES)))
            raise ConfigError(f"no class of content {content!r}: {known}")
    return made


def _audio_below(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)


def _evenly(files: list[Path], limit: int | None) -> list[Path]:
    if limit is None or limit >= len(files):
        return files
    return [files[i * len(files) // limit] for i in range(limit)]


def _read(file: Path, content: str, speaker: str, form: Format) -> list[Clip]:
    """One clip, at most MOST_SECONDS of it; none where it is shorter than LEAST_SECONDS. Raises
    AudioError.
    """
    pcm, rate = soundfile.read(file, dtype="float32", always_2d=True)
    if rate < form.least_recorded_rate:
        raise BelowBand(
            f"{file} is at {rate} Hz: for a comparison at {form.sample_rate} Hz a recording needs "
            f"at least {form.least_recorded_rate}, else there is nothing to compare with"
        )
    source = pcm if form.stereo and pcm.shape[1] == 2 else pcm.mean(1)
    kept = soxr.resample(source, rate, form.sample_rate).astype(np.float32)
    kept = kept[: round(MOST_SECONDS * form.sample_rate)]
    clip = Clip(file.stem, content, kept, speaker, form.sample_rate)
    return [clip] if clip.seconds >= LEAST_SECONDS else []


def _some(clips: list[Clip], folder: Path) -> list[Clip]:
    """Raises AudioError where there are none."""
    if not clips:
        raise AudioError(f"every clip below {folder} is shorter than {LEAST_SECONDS:g} s")
    return clips


def _rng(name: str, content: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{name}/{content}".encode()))


def _peak_limited(pcm: Pcm) -> Pcm:
    return (pcm / max(1.0, float(np.abs(pcm).max()) / 0.99)).astype(np.float32)


def _fitted(pcm: Pcm, length: int) -> Pcm:
    return np.resize(pcm, length)


def _with_noise(pcm: Pcm, noise: Pcm) -> Pcm:
    fitted = _fitted(noise, len(pcm))
    scale = np.sqrt(np.mean(pcm**2) / (np.mean(fitted**2) + 1e-12) / 10 ** (NOISE_SNR_DB / 10))
    return _peak_limited(pcm + np.float32(scale) * fitted)


def _quiet(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    return pcm * np.float32(10 ** (-LEVEL_CHANGE_DB / 20))


def _loud(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """As loud as it gets without clipping, at most LEVEL_CHANGE_DB more."""
    room = 0.99 / max(1e-6, float(np.abs(pcm).max()))
    return pcm * np.float32(min(room, 10 ** (LEVEL_CHANGE_DB / 20)))


def _reverberant(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Exponentially decaying noise behind the direct sound, 0.5 s to -60 dB."""
    length = SAMPLE_RATE // 2
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= 0.5 / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = len(pcm) + length
    wet = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(tail, size), size)[: len(pcm)]
    return _peak_limited(wet.astype(np.float32))


def _scaled(pcm: NDArray[np.float64]) -> Pcm:
    scaled: Pcm = (0.3 * pcm / np.abs(pcm).max()).astype(np.float32)
    return scaled


def _time() -> NDArray[np.float64]:
    return np.arange(round(SYNTHETIC_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def _music(rng: np.random.Generator) -> Pcm:
    """Four-part chords of decaying partials, a new one each half second."""
    t, out = _time(), np.zeros(round(SYNTHETIC_SECONDS * SAMPLE_RATE))
    for start in np.arange(0, SYNTHETIC_SECONDS, 0.5):
        root = 110 * 2 ** (rng.integers(0, 12) / 12)
        since = np.clip(t - start, 0, None)
        envelope = (t >= start) * np.minimum(1, since / 0.01) * np.exp(-3 * since)
        for ratio in (1, 5 / 4, 3 / 2, 2):
            for partial in range(1, 9):
                out += envelope * np.sin(2 * np.pi * root * ratio * partial * since) / partial**1.5
    return _scaled(out)


def _singing(rng: np.random.Generator) -> Pcm:
    """A vowel-like voice that holds notes with vibrato and glides between them."""
    t = _time()
    notes = 196 * 2 ** (np.array([0, 2, 4, 5, 7, 5, 4, 2, 0]) / 12)
    melody = np.interp(t, np.linspace(0, SYNTHETIC_SECONDS, len(notes)), notes) * (
        1 + 0.01 * np.sin(2 * np.pi * 5.5 * t)
    )
    phase = 2 * np.pi * np.cumsum(melody) / SAMPLE_RATE
    out = np.zeros(len(t))
    for partial in range(1, 30):
        frequency = partial * melody
        formants = sum(gain / (1 + ((frequency - centre) / 90) ** 2) for centre, gain in FORMANTS)
        out += (frequency < 7_500) * formants * np.sin(partial * phase)
    return _scaled(out)


def _silence(rng: np.random.Generator) -> Pcm:
    return np.zeros(len(_time()), np.float32)


def _clicks(rng: np.random.Generator) -> Pcm:
    """A click of one sample four times a second."""
    pcm = np.zeros(len(_time()), np.float32)
    pcm[1000 :: SAMPLE_RATE // 4] = 0.7
    return pcm


FROM_CLIP: dict[str, Callable[[Pcm, np.random.Generator], Pcm]] = {
    "reverberant": _reverberant,
    "loud": _loud,
    "quiet": _quiet,
}
SYNTHETIC: dict[str, Callable[[np.random.Generator], Pcm]] = {
    "music": _music,
    "singing": _singing,
    "silence": _silence,
    "clicks": _clicks,
}
CLASSES = ("clean", *FROM_CLIP, "two talkers", "noisy", *SYNTHETIC)
STEREO_CLASSES = ("clean", *PLACES)
