"""Any folder of audio as one memory-mapped array of PCM, and the transform that suits it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.errors import AudioError
from streamcodec.tables import GAIN_MIN, GAIN_STEPS_PER_OCTAVE
from streamcodec.terminal import fitted
from streamcodec.units import Pcm

from .files import written_whole

AUDIO_SUFFIXES = (
    *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"),
)
FULL_SCALE = 32_767
SILENCE = (FULL_SCALE + 1) * 2 ** (GAIN_MIN / GAIN_STEPS_PER_OCTAVE)
HIGHEST_PEAK = 100.0  # above it floating point was not scaled to 1, and all would be clipped
SCANNED_SAMPLES = 1 << 20


def audio_files(folder: Path) -> list[Path]:
    """Every name below `folder` that ends as audio does, sorted; some may lead to no audio. Names
    that begin with a dot are left out. Links to folders are followed, and each folder is searched
    once: a link to a parent does no harm. Raises AudioError where there is none.
    """
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def closed(error: OSError) -> None:
        files.append(Path(error.filename))  # so that it is named with what cannot be read

    for top, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        audio = (name for name in names if Path(name).suffix.lower() in AUDIO_SUFFIXES)
        files += [Path(top, name) for name in audio if not name.startswith(".")]
    if not files:
        raise AudioError(
            f"no audio below {printable(folder)}: looked for {', '.join(AUDIO_SUFFIXES)}"
        )
    return sorted(files)


def read_mono(path: Path, sample_rate: int) -> Pcm:
    """File -> [T] at `sample_rate` Hz, channels averaged, full scale 1, all of it finite. Raises
    AudioError naming the file.
    """
    name = f"cannot read {printable(path)} as audio"
    if not os.path.isfile(path):  # a pipe would be waited for
        raise AudioError(f"{name}: it is no file, or a link to nothing")
    # soundfile takes a name that is not UTF-8 as bytes only, and on Windows no bytes.
    raw = os.fspath(path) if os.name == "nt" else os.fsencode(path)
    try:
        pcm, native = soundfile.read(raw, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: {error.error_string}") from error
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{name}: {error}") from error
    if not len(pcm):
        raise AudioError(f"{name}: it holds no samples")
    if not np.isfinite(pcm).all():
        raise AudioError(f"{name}: it holds samples that are not finite (NaN or infinite)")
    if (peak := float(np.abs(pcm).max())) > HIGHEST_PEAK:
        raise AudioError(f"{name}: its samples reach {peak:.0f}, where full scale is 1")
    mono: Pcm = soxr.resample(pcm.mean(1), native, sample_rate).astype(np.float32)
    return mono


def printable(path: Path) -> str:
    """A name on one line of any terminal, also one that is not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def load_corpus(
    folder: Path, sample_rate: int, cache: Path, progress: bool = True
) -> NDArray[np.int16]:
    """All audio below `folder` end to end, [T] int16 at `sample_rate` Hz, memory-mapped from the
    folder `cache` so that several processes share one copy.

    The cache is keyed by the names, sizes and times of the files: a changed folder is read again.
    Files that cannot be read are named and left out, so that one bad recording does not stop a
    long run. Raises AudioError where none can be read or nothing is to be heard, OutputError.
    """
    files = audio_files(folder)
    stamps = [(str(f.relative_to(folder)), *_size_and_time(f)) for f in files]
    key = hashlib.sha256(
        json.dumps([str(folder.resolve()), sample_rate, stamps]).encode()
    ).hexdigest()[:16]
    path = cache / f"pcm-{key}.npy"
    pcm = _mapped(path)
    if pcm is None:
        _write_end_to_end(path, _read_all(folder, files, sample_rate, progress))
        pcm = _mapped(path)
        assert pcm is not None
    if not has_sound(pcm):
        raise AudioError(f"nothing but silence below {printable(folder)}")
    return pcm


def first_clips(
    files: Sequence[Path], sample_rate: int, shortest: int, longest: int, count: int, task: str
) -> list[Pcm]:
    """The beginnings of up to `count` of `files`, `shortest` to `longest` samples long; of a file
    that begins with nothing but silence, from where sound begins. Files that cannot be read are
    passed over, as `load_corpus` has named them, and so are shorter and silent ones. `task` says on
    the progress bar what they are read for.
    """

    def clips() -> Iterator[Pcm]:
        for file in files:
            with contextlib.suppress(AudioError):
                pcm = read_mono(file, sample_rate)
                heard = np.abs(pcm[:longest]).max(initial=0) * FULL_SCALE > SILENCE
                first = 0 if heard else int(np.argmax(np.abs(pcm) * FULL_SCALE > SILENCE))
                yield pcm[first : first + longest]

    good = (clip for clip in clips() if len(clip) >= shortest and has_sound(clip * FULL_SCALE))
    total = min(count, len(files))
    return list(tqdm(itertools.islice(good, count), desc=task, total=total, unit="clip"))


def has_sound(pcm: NDArray[Any]) -> bool:
    """Whether [T], with a full scale of FULL_SCALE, has a sample above what the codec takes for
    silence.
    """
    parts = (pcm[start : start + SCANNED_SAMPLES] for start in range(0, len(pcm), SCANNED_SAMPLES))
    return any(bool((np.abs(part) > SILENCE).any()) for part in parts)


def transform_start(
    speech: NDArray[np.int16], length: int, rng: np.random.Generator, count: int = 40_000
) -> tuple[Pcm, Pcm]:
    """Karhunen-Loeve basis [length, length] in rows and variances [length], strongest first, of
    `count` packets drawn from `speech` and scaled to unit power. Raises AudioError where none of
    them has sound.
    """
    starts = rng.integers(0, len(speech) - length, count)
    packets = np.stack([speech[s : s + length] for s in starts]).astype(np.float32) / (
        FULL_SCALE + 1
    )
    power = np.sqrt(np.square(packets).mean(1))
    loud = (power > 0) & (power >= min(3e-3, float(np.median(power))))
    if not loud.any():
        raise AudioError(
            f"next to nothing but silence: of {count} places drawn from the audio none has sound"
        )
    packets = packets[loud] / power[loud, None]
    variance, vectors = np.linalg.eigh(packets.T @ packets / len(packets))
    order = np.argsort(-variance)
    return vectors[:, order].T.astype(np.float32), np.maximum(variance[order], 1e-6).astype(
        np.float32
    )


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # a link to nothing
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _mapped(path: Path) -> NDArray[np.int16] | None:
    """The array in a file; None where there is none, or a damaged one."""
    try:
        pcm: NDArray[np.int16] = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return pcm


def _read_all(
    folder: Path, files: list[Path], sample_rate: int, progress: bool
) -> list[NDArray[np.int16]]:
    """Warns of what is left out. Raises AudioError where that is all."""

    def read(file: Path) -> NDArray[np.int16] | AudioError:
        try:
            scaled = read_mono(file, sample_rate) * FULL_SCALE
        except AudioError as error:
            return error
        return scaled.clip(-FULL_SCALE, FULL_SCALE).astype(np.int16)

    task = f"reading {printable(folder)}"
    with (
        ThreadPoolExecutor() as pool,
        tqdm(pool.map(read, files), task, len(files), unit="file", disable=not progress) as bar,
    ):
        results = list(bar)
    bad = [result for result in results if isinstance(result, AudioError)]
    for error in bad:
        tqdm.write(fitted(f"left out: {error}", sys.stderr), file=sys.stderr)
    if bad:
        count = f"left out {len(bad)} of {len(files)} files"
        tqdm.write(f"{count} below {printable(folder)}", file=sys.stderr)
    good = [result for result in results if not isinstance(result, AudioError)]
    if not good:
        raise AudioError(f"none of the {len(files)} files below {printable(folder)} could be read")
    return good


def _write_end_to_end(path: Path, parts: list[NDArray[np.int16]]) -> None:
    shape = (sum(len(part) for part in parts),)
    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
    with written_whole(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.astype("<i2", copy=False).data)
