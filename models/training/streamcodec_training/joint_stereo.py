"""Fits the tables of joint stereo (streamcodec.coding.joint_stereo): what the first channel's
integers say of those of the second, for some classes of how alike two channels are. Counting, in
rounds; minutes on one core.

Recordings of two channels are taken as they are. Of speech there are hardly any, so that recordings
of one channel are placed: in the middle, at a side, in a room, or beside somebody else.

Shapes: N packets, D latents, C classes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from tqdm import tqdm

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.joint_stereo import ON_ITS_OWN, FirstChannel, JointCoder
from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.symbols import symbols_of
from streamcodec.engines.api import Means
from streamcodec.errors import AudioError
from streamcodec.tables import (
    FREQUENCY_BITS,
    GAIN_COUNT,
    GAIN_MIN,
    JOINT_GAINS,
    JOINT_MAGNITUDES,
    EntropyTables,
    JointTables,
    integer_frequencies,
)
from streamcodec.units import Pcm
from streamcodec_models.catalogue import JOINT_STEREO_FILE, describe

from .corpus import audio_files

CLASSES, FOLLOWING = 6, 3  # of which so many tell how the second channel differs from the first
BUCKETS = 12  # of scales, each with as many bits
PIECES, PIECE_S = 800, 2.0
RECORDED_SHARE = 0.3  # of pieces that were recorded in stereo, where there are as many
ROUNDS = 2  # rounding depends on the tables, the tables on the rounding
CLASS_ROUNDS = 8
SMOOTHING_SYMBOLS, SMOOTHING_GAINS, SMOOTHING_CLASSES = 30.0, 20.0, 20.0
ROOM_S, ROOM_SHARE = (0.2, 0.6), (0.02, 0.3)  # reverberation time; its amplitude beside the voice
FURTHEST_DB = 24.0  # a channel below the other


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Packets with sound in both channels. gains [N, 2] in steps above silence, y [N, 2, D],
    rows [N, D] of the scales in the first channel, own_bits [N] of the second on its own.
    """

    gains: NDArray[np.int64]
    y: NDArray[np.int32]
    rows: NDArray[np.int32]
    own_bits: NDArray[np.float64]


def fit_joint_stereo(folders: Iterable[Path], model: Path, seed: int = 0) -> Path:
    """Writes JOINT_STEREO_FILE into the folder of `model`, fitted to recordings below `folders`.
    Raises AudioError where there are none, ModelError.
    """
    rng = np.random.default_rng(seed)
    loaded, entropy = load_model(model), describe(model).tables
    pieces = _placed(*_recordings(folders, loaded.config.sample_rate, rng), rng)
    means = [_means(loaded, piece, rng) for piece in tqdm(pieces, desc="coding", unit="piece")]
    bitstream, tables = Bitstream(entropy), None
    for round_ in range(ROUNDS):
        task = f"rounding, {round_ + 1} of {ROUNDS}"
        pairs = _pairs(bitstream, entropy, tqdm(means, desc=task, unit="piece"))
        tables = _counted(pairs, entropy)
        bitstream = Bitstream(entropy, tables)
    assert tables is not None
    path = model / JOINT_STEREO_FILE
    path.write_bytes(safetensors.numpy.save(dataclasses.asdict(tables)))
    return path


def _recordings(
    folders: Iterable[Path], rate: int, rng: np.random.Generator
) -> tuple[list[Pcm], list[Pcm]]:
    """-> pieces of recordings of two channels [T, 2], and of one [T]. Raises AudioError."""
    files = [file for folder in folders for file in audio_files(folder)]
    stereo: list[Pcm] = []
    mono: list[Pcm] = []
    for index in tqdm(rng.permutation(len(files)), desc="reading", unit="file"):
        try:
            info = soundfile.info(os.fspath(files[index]))
            if len(mono) >= 2 * PIECES and info.channels == 1:
                continue
            pcm, native = soundfile.read(os.fspath(files[index]), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            tqdm.write(f"left out: {files[index]}: {error.error_string}")
            continue
        pcm = soxr.resample(pcm[:, :2], native, rate).astype(np.float32)
        size = round(PIECE_S * rate)
        whole = [pcm[i : i + size] for i in range(0, len(pcm) - size + 1, size)]
        if pcm.shape[1] == 2:
            stereo += whole
        else:
            mono += [piece[:, 0] for piece in whole[:4]]  # of every voice a little
    if not stereo and not mono:
        raise AudioError(f"no recording of {PIECE_S:g} s or more")
    return stereo, mono


def _placed(stereo: list[Pcm], mono: list[Pcm], rng: np.random.Generator) -> list[Pcm]:
    """-> about PIECES pieces [T, 2], in all ways that two channels can be alike."""
    count = len(stereo) if not mono else min(len(stereo), round(RECORDED_SHARE * PIECES))
    chosen = [stereo[i] for i in rng.permutation(len(stereo))[:count]]
    for n in range(PIECES - count if mono else 0):
        here, other = (mono[i] for i in rng.integers(len(mono), size=2))
        place = (_in_the_middle, _at_a_side, _in_a_room, _beside)[n % 4]
        chosen.append(place(here, other, rng).clip(-1, 1))
    return chosen


def _in_the_middle(here: Pcm, other: Pcm, rng: np.random.Generator) -> Pcm:
    return np.stack([here, here], 1)


def _at_a_side(here: Pcm, other: Pcm, rng: np.random.Generator) -> Pcm:
    quieter = 10 ** (-rng.uniform(0, FURTHEST_DB) / 20)
    sides = np.array([1.0, quieter])
    placed: Pcm = here[:, None] * rng.permutation(sides).astype(np.float32)
    return placed


def _in_a_room(here: Pcm, other: Pcm, rng: np.random.Generator) -> Pcm:
    """With reverberation that is another one in each channel."""
    samples = len(here) // 2
    at = np.arange(samples) / samples * PIECE_S / 2
    decay = np.exp(-6.9 * at / rng.uniform(*ROOM_S))[:, None]
    tail = rng.standard_normal((samples, 2)) * decay
    tail /= np.sqrt(np.square(tail).sum(0))
    wet = np.stack([fftconvolve(here, tail[:, c])[: len(here)] for c in range(2)], 1)
    share = np.float32(rng.uniform(*ROOM_SHARE))
    placed: Pcm = (_at_a_side(here, other, rng) + share * wet).astype(np.float32)
    return placed


def _beside(here: Pcm, other: Pcm, rng: np.random.Generator) -> Pcm:
    placed: Pcm = np.float32(0.5) * (_at_a_side(here, here, rng) + _at_a_side(other, other, rng))
    return placed


def _means(model: CodecModel, piece: Pcm, rng: np.random.Generator) -> list[Means]:
    """Of each packet, at a level that is drawn."""
    engine, size = model.engine, model.config.step_samples
    level = int(rng.integers(engine.shape.levels))
    state = engine.initial_encoder_state(2)
    means = []
    for begin in range(0, len(piece) - size + 1, size):
        made, state = engine.encode(piece[begin : begin + size].T, level, state)
        means.append(made)
    return means


def _pairs(bitstream: Bitstream, entropy: EntropyTables, pieces: Iterable[list[Means]]) -> Pairs:
    priced = Bitstream(entropy)
    gains, y, rows, own = [], [], [], []
    for means in _each(pieces):
        latents = bitstream.quantise(means)
        both, (first, second) = latents.y[0], (latents.gain_index[0] - GAIN_MIN).tolist()
        if not first or not second:
            continue
        gains.append((first, second))
        y.append(both)
        rows.append(entropy.scale_rows(means.level, priced.class_of(means.level, first, both[0])))
        own.append(priced.cheapest_class(means.level, second, both[1])[1])
    return Pairs(np.array(gains), np.stack(y), np.stack(rows), np.array(own))


def _each(pieces: Iterable[list[Means]]) -> Iterator[Means]:
    for piece in pieces:
        yield from piece


def _counted(pairs: Pairs, entropy: EntropyTables) -> JointTables:
    """Classes by the bits that packets take in them, as k-means does; the first by how alike their
    channels are.
    """
    buckets = _buckets(pairs, entropy)
    first, second = pairs.y[:, 0].astype(np.float64), pairs.y[:, 1].astype(np.float64)
    norm = np.sqrt(np.square(first).sum(1) * np.square(second).sum(1)) + 1e-9
    alike = (first * second).sum(1) / norm
    parts = np.quantile(alike, np.arange(1, CLASSES) / CLASSES)
    chosen = 1 + np.searchsorted(parts, alike)
    for _ in tqdm(range(CLASS_ROUNDS), desc="classes", unit="round"):
        tables = _tables_for(pairs, chosen, buckets, entropy)
        chosen = _classes(pairs, tables)
    return _tables_for(pairs, chosen, buckets, entropy)


def _buckets(pairs: Pairs, entropy: EntropyTables) -> NDArray[np.int32]:
    """[scales], so that the second channels' latents take as many bits in each."""
    share = entropy.frequencies / (1 << FREQUENCY_BITS)
    count = np.bincount(pairs.rows.ravel(), minlength=len(share))
    bits = np.cumsum(-(share * np.log2(share)).sum(1) * count)
    found = np.minimum(bits / bits[-1] * BUCKETS, BUCKETS - 1).astype(np.int32)
    buckets: NDArray[np.int32] = np.unique(found, return_inverse=True)[1].astype(np.int32)
    return buckets


def _tables_for(
    pairs: Pairs, chosen: NDArray[np.int64], buckets: NDArray[np.int32], entropy: EntropyTables
) -> JointTables:
    """chosen [N]: symbols of the classes."""
    count = int(buckets.max()) + 1
    follows = (np.arange(CLASSES) >= CLASSES - FOLLOWING).astype(np.int32)
    symbols = np.zeros((CLASSES, count, JOINT_MAGNITUDES, entropy.frequencies.shape[1]))
    gains = np.zeros((CLASSES, JOINT_GAINS))
    first, second = pairs.y[:, 0], pairs.y[:, 1]
    turned = np.where(first < 0, -1, 1)
    magnitudes = np.minimum(np.abs(first), JOINT_MAGNITUDES - 1)
    for c in range(CLASSES):
        mine = chosen == 1 + c
        told = symbols_of(((second - follows[c] * first) * turned)[mine])
        np.add.at(symbols[c], (buckets[pairs.rows[mine]], magnitudes[mine], told), 1)
        np.add.at(gains[c], pairs.gains[mine, 1] - pairs.gains[mine, 0] + GAIN_COUNT - 1, 1)
    for bucket in range(count):
        row = entropy.frequencies[buckets == bucket].mean(0)
        symbols[:, bucket] += SMOOTHING_SYMBOLS * row / row.sum()
    distance = np.abs(np.arange(JOINT_GAINS) - GAIN_COUNT + 1)
    near = 0.8**distance
    used = np.bincount(chosen, minlength=1 + CLASSES) + SMOOTHING_CLASSES
    return JointTables(
        buckets=buckets,
        follows=follows,
        class_frequencies=integer_frequencies(used[None].astype(np.float64)),
        gain_frequencies=integer_frequencies(gains + SMOOTHING_GAINS * near / near.sum()),
        frequencies=integer_frequencies(symbols),
    )


def _classes(pairs: Pairs, tables: JointTables) -> NDArray[np.int64]:
    """-> the symbol of the class that takes the fewest bits, of each packet [N]."""
    coder = JointCoder(tables)
    chosen = np.empty(len(pairs.y), np.int64)
    for n, (gains, y, rows) in enumerate(zip(pairs.gains, pairs.y, pairs.rows, strict=True)):
        bits = coder.bits(FirstChannel(int(gains[0]), y[0], rows), int(gains[1]), y[1])
        own = pairs.own_bits[n] + coder.own_bits
        chosen[n] = ON_ITS_OWN if own <= bits.min() else 1 + bits.argmin()
    return chosen
