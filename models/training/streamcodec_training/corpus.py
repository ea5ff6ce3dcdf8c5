"""Any folder of audio as one memory-mapped array of PCM, and the transform that suits it."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

AUDIO_SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
FULL_SCALE = 32_767


def audio_files(folder: Path) -> list[Path]:
    """Every audio file below `folder`, sorted. Raises AudioError where there is none."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise AudioError(f"no audio below {folder}: looked for {', '.join(AUDIO_SUFFIXES)}")
    return files


def read_mono(path: Path, sample_rate: int) -> Pcm:
    """File -> [T] at `sample_rate` Hz, channels averaged, full scale 1. Raises AudioError."""
    try:
        pcm, native = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} as audio: {error}") from error
    mono: Pcm = soxr.resample(pcm.mean(1), native, sample_rate).astype(np.float32)
    return mono


def load_corpus(
    folder: Path, sample_rate: int, cache: Path, progress: bool = True
) -> NDArray[np.int16]:
    """All audio below `folder` end to end, [T] int16 at `sample_rate` Hz, memory-mapped from the
    folder `cache` so that several processes share one copy.

    The cache is keyed by the names, sizes and times of the files: a changed folder is read again.
    Files that cannot be read are named and left out, so that one bad recording does not stop a
    long run. Raises AudioError where none can be read.
    """
    files = audio_files(folder)
    stamps = [(str(f.relative_to(folder)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    key = hashlib.sha256(
        json.dumps([str(folder.resolve()), sample_rate, stamps]).encode()
    ).hexdigest()[:16]
    path = cache / f"pcm-{key}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)

        def read(file: Path) -> NDArray[np.int16] | AudioError:
            try:
                return (
                    (read_mono(file, sample_rate) * FULL_SCALE)
                    .clip(-FULL_SCALE, FULL_SCALE)
                    .astype(np.int16)
                )
            except AudioError as error:
                return error

        with ThreadPoolExecutor() as pool:
            results = list(
                tqdm(
                    pool.map(read, files),
                    total=len(files),
                    desc=f"reading {folder}",
                    unit="file",
                    disable=not progress,
                )
            )
        for result in results:
            if isinstance(result, AudioError):
                tqdm.write(f"left out: {result}")
        good = [r for r in results if not isinstance(r, AudioError)]
        if not good:
            raise AudioError(f"none of the {len(files)} files below {folder} could be read")
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")  # two runs may share a cache
        np.save(partial, np.concatenate(good))
        partial.rename(path)
    pcm: NDArray[np.int16] = np.load(path, mmap_mode="r")
    return pcm


def transform_start(
    speech: NDArray[np.int16], length: int, rng: np.random.Generator, count: int = 40_000
) -> tuple[Pcm, Pcm]:
    """Karhunen-Loeve basis [length, length] in rows and variances [length], strongest first, of
    `count` packets drawn from `speech` and scaled to unit power.
    """
    starts = rng.integers(0, len(speech) - length, count)
    packets = np.stack([speech[s : s + length] for s in starts]).astype(np.float32) / (
        FULL_SCALE + 1
    )
    power = np.sqrt(np.square(packets).mean(1))
    loud = power > min(3e-3, float(np.median(power)))
    packets = packets[loud] / power[loud, None]
    variance, vectors = np.linalg.eigh(packets.T @ packets / len(packets))
    order = np.argsort(-variance)
    return vectors[:, order].T.astype(np.float32), np.maximum(variance[order], 1e-6).astype(
        np.float32
    )
