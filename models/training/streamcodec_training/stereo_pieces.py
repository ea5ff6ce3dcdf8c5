"""Pieces of recordings in two channels, to fit joint stereo to. What was recorded in two is taken
as it is. Of speech there is hardly any: recordings of one channel are placed, in the middle, at a
side, in a room, or beside somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import fftconvolve
from tqdm import tqdm

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

from .corpus import audio_files

RECORDED_SHARE = 0.3  # of pieces that were recorded in stereo, where there are as many
ROOM_S, ROOM_SHARE = (0.2, 0.6), (0.02, 0.3)  # reverberation time; its amplitude beside the voice
FURTHEST_DB = 24.0  # a channel below the other


def stereo_pieces(
    folders: Iterable[Path],
    rate: int,
    count: int,
    seconds: float,
    rng: np.random.Generator,
    least_rate: int = 0,
) -> list[Pcm]:
    """-> about `count` pieces [T, 2] at `rate`, in Hz, of what was recorded at `least_rate` or
    more. Raises AudioError where there is none.
    """
    stereo, mono = _recordings(folders, rate, count, seconds, rng, least_rate)
    return _placed(stereo, mono, rate, count, rng)


def _recordings(
    folders: Iterable[Path],
    rate: int,
    count: int,
    seconds: float,
    rng: np.random.Generator,
    least_rate: int,
) -> tuple[list[Pcm], list[Pcm]]:
    """-> pieces of recordings of two channels [T, 2], and of one [T]."""
    files = [file for folder in folders for file in audio_files(folder)]
    stereo: list[Pcm] = []
    mono: list[Pcm] = []
    for index in tqdm(rng.permutation(len(files)), desc="reading", unit="file"):
        try:
            info = soundfile.info(os.fspath(files[index]))
            enough = len(mono) >= 2 * count and info.channels == 1
            if enough or info.samplerate < least_rate:
                continue
            pcm, native = soundfile.read(os.fspath(files[index]), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            tqdm.write(f"left out: {files[index]}: {error.error_string}")
            continue
        pcm = soxr.resample(pcm[:, :2], native, rate).astype(np.float32)
        size = round(seconds * rate)
        whole = [pcm[i : i + size] for i in range(0, len(pcm) - size + 1, size)]
        if pcm.shape[1] == 2:
            stereo += whole
        else:
            mono += [piece[:, 0] for piece in whole[:4]]  # of every voice a little
    if not stereo and not mono:
        raise AudioError(f"no recording of {seconds:g} s or more")
    return stereo, mono


def _placed(
    stereo: list[Pcm], mono: list[Pcm], rate: int, count: int, rng: np.random.Generator
) -> list[Pcm]:
    """In all ways that two channels can be alike."""
    recorded = len(stereo) if not mono else min(len(stereo), round(RECORDED_SHARE * count))
    chosen = [stereo[i] for i in rng.permutation(len(stereo))[:recorded]]
    for n in range(count - recorded if mono else 0):
        here, other = (mono[i] for i in rng.integers(len(mono), size=2))
        place = (_in_the_middle, _at_a_side, _in_a_room, _beside)[n % 4]
        chosen.append(place(here, other, rate, rng).clip(-1, 1))
    return chosen


def _in_the_middle(here: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    return np.stack([here, here], 1)


def _at_a_side(here: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    quieter = 10 ** (-rng.uniform(0, FURTHEST_DB) / 20)
    sides = np.array([1.0, quieter])
    placed: Pcm = here[:, None] * rng.permutation(sides).astype(np.float32)
    return placed


def _in_a_room(here: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    """With reverberation that is another one in each channel."""
    samples = len(here) // 2
    at = np.arange(samples) / rate
    decay = np.exp(-6.9 * at / rng.uniform(*ROOM_S))[:, None]
    tail = rng.standard_normal((samples, 2)) * decay
    tail /= np.sqrt(np.square(tail).sum(0))
    wet = np.stack([fftconvolve(here, tail[:, c])[: len(here)] for c in range(2)], 1)
    share = np.float32(rng.uniform(*ROOM_SHARE))
    placed: Pcm = (_at_a_side(here, other, rate, rng) + share * wet).astype(np.float32)
    return placed


def _beside(here: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    placed: Pcm = np.float32(0.5) * (
        _at_a_side(here, here, rate, rng) + _at_a_side(other, other, rate, rng)
    )
    return placed
