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
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from tqdm import tqdm

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.joint_stereo import ON_ITS_OWN, Follower, Reference
from streamcodec.coding.model import CodecModel, JointStereo, load_model
from streamcodec.coding.prices import bits_of
from streamcodec.coding.stream import StreamEncoder
from streamcodec.coding.symbols import symbols_of
from streamcodec.engines.api import Latents
from streamcodec.errors import AudioError
from streamcodec.tables import (
    FREQUENCY_BITS,
    GAIN_COUNT,
    GAIN_MIN,
    JOINT_GAINS,
    JOINT_LEVEL_STRAYS,
    JOINT_MAGNITUDES,
    EntropyTables,
    FollowTables,
    JointTables,
    integer_frequencies,
    level_frequencies,
)
from streamcodec.units import Pcm
from streamcodec_models.catalogue import JOINT_STEREO_FILE, describe, named_joint_tables

from .corpus import audio_files

CLASSES, FOLLOWING = 6, 3  # of which so many tell how the second channel differs from the first
BUCKETS = 12  # of scales, each with as many bits
PIECES, PIECE_S = 800, 2.0
RECORDED_SHARE = 0.3  # of pieces that were recorded in stereo, where there are as many
ROUNDS = 2  # rounding depends on the tables, the tables on the rounding
CLASS_ROUNDS = 8
SMOOTHING_SYMBOLS, SMOOTHING_GAINS, SMOOTHING_CLASSES = 30.0, 20.0, 20.0
LEAST_ALONE = 0.12  # of packets, because silent channels, which are told so, are not counted
ROOM_S, ROOM_SHARE = (0.2, 0.6), (0.02, 0.3)  # reverberation time; its amplitude beside the voice
FURTHEST_DB = 24.0  # a channel below the other


class Pairs(NamedTuple):
    """Integers of packets with sound in both channels, by kind. first, second and rows [N, D]: of
    what may be told by the first channel; rows of the scales that it would be told with.
    own_bits [N]: what the second takes on its own. louder [N]: the symbol of its gain.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    rows: NDArray[np.int32]
    own_bits: NDArray[np.float64]
    louder: NDArray[np.int64]


Row = tuple[Any, ...]  # of Pairs


def fit_joint_stereo(folders: Iterable[Path], model: Path, seed: int = 0) -> Path:
    """Writes JOINT_STEREO_FILE into the folder of `model`, fitted to recordings below `folders`.
    Raises AudioError where there are none, ModelError.
    """
    rng = np.random.default_rng(seed)
    loaded, entropy = load_model(model), describe(model).tables
    pieces = _placed(*_recordings(folders, loaded.config.sample_rate, rng), rng)
    levels = rng.integers(len(entropy.level_scale), size=len(pieces)).tolist()
    loaded, tables = dataclasses.replace(loaded, joint=None), None
    for round_ in range(ROUNDS):
        task = f"coding, {round_ + 1} of {ROUNDS}"
        coded = tqdm(zip(pieces, levels, strict=True), task, len(pieces), unit="piece")
        sent = [latents for piece, level in coded for latents in _sent(loaded, piece, level)]
        tables = _fitted(sent, entropy)
        loaded = dataclasses.replace(loaded, joint=JointStereo(entropy, tables))
    assert tables is not None
    path = model / JOINT_STEREO_FILE
    path.write_bytes(safetensors.numpy.save(named_joint_tables(tables)))
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


def _sent(model: CodecModel, piece: Pcm, level: int) -> list[Latents]:
    """What payloads of one level say of a piece [T, 2]."""
    encoder = StreamEncoder(model, level=level, channels=2)
    bitstream = model.bitstream if model.joint is None else model.joint.bitstream
    return [bitstream.parse(payload, 1, 2, level) for payload in encoder.encode(piece)]


def _fitted(sent: list[Latents], entropy: EntropyTables) -> JointTables:
    bitstream, costs = Bitstream(entropy), bits_of(entropy.waveform.frequencies)
    latents, layers = [], []
    for packet in tqdm(sent, desc="prices", unit="packet"):
        gains = (packet.gain_index[0] - GAIN_MIN).tolist()
        if not all(gains):
            continue
        latents.append(_of_latents(packet, gains, bitstream, entropy))
        layer = packet.waveform
        if layer is not None and layer.coded[0].all():
            first, second = layer.q[0, :, :, : layer.bins].reshape(2, -1)
            prices = bitstream.waveform.prices(packet, 0, 1, int(layer.loudness[0, 1]))
            rows = prices.rows.ravel()
            layers.append((first, second, rows, costs[rows, symbols_of(second)].sum(), 0))
    if not latents or not layers:
        raise AudioError("no packet of these recordings has sound in both channels")
    told, of_gains = _follow_tables(_pairs(latents), entropy.frequencies)
    follows, _ = _follow_tables(_pairs(layers), entropy.waveform.frequencies)
    near = 0.8 ** np.abs(np.arange(JOINT_GAINS) - GAIN_COUNT + 1)
    gain_frequencies = integer_frequencies(of_gains + SMOOTHING_GAINS * near / near.sum())
    levels = level_frequencies(len(entropy.level_scale), JOINT_LEVEL_STRAYS)
    return JointTables(told, follows, gain_frequencies, levels)


def _of_latents(
    packet: Latents, gains: list[int], bitstream: Bitstream, entropy: EntropyTables
) -> Row:
    (first, second), level = packet.y[0], packet.level
    rows = entropy.scale_rows(level, bitstream.class_of(level, gains[0], first))
    own_bits = bitstream.cheapest_class(level, gains[1], second)[1]
    return first, second, rows, own_bits, gains[1] - gains[0] + GAIN_COUNT - 1


def _pairs(rows: list[Row]) -> Pairs:
    """Padded with zeros that are priced as certain: layers of some levels have fewer integers."""
    longest = max(len(row[0]) for row in rows)
    padded = [[np.pad(part, (0, longest - len(part))) for part in row[:3]] for row in rows]
    first, second, of_scales = (np.stack(parts) for parts in zip(*padded, strict=True))
    return Pairs(
        first, second, of_scales, *(np.array(x) for x in list(zip(*rows, strict=True))[3:])
    )


def _follow_tables(
    pairs: Pairs, scales: NDArray[np.int32]
) -> tuple[FollowTables, NDArray[np.float64]]:
    """-> tables, and how often each class has each gain, [C, JOINT_GAINS]. Classes by the bits that
    packets take in them, as k-means does; the first by how alike their channels are.
    """
    buckets = _buckets(pairs, scales)
    first, second = pairs.first.astype(np.float64), pairs.second.astype(np.float64)
    norm = np.sqrt(np.square(first).sum(1) * np.square(second).sum(1)) + 1e-9
    alike = (first * second).sum(1) / norm
    parts = np.quantile(alike, np.arange(1, CLASSES) / CLASSES)
    chosen = 1 + np.searchsorted(parts, alike)
    for _ in tqdm(range(CLASS_ROUNDS), desc="classes", unit="round"):
        tables = _counted(pairs, chosen, buckets, scales)
        chosen = _classes(pairs, tables)
    gains = np.zeros((1 + CLASSES, JOINT_GAINS))
    np.add.at(gains, (chosen, pairs.louder), 1)
    return _counted(pairs, chosen, buckets, scales), gains[1:]


def _buckets(pairs: Pairs, scales: NDArray[np.int32]) -> NDArray[np.int32]:
    """[scales], so that second channels take as many bits in each."""
    share = scales / (1 << FREQUENCY_BITS)
    count = np.bincount(pairs.rows.ravel(), minlength=len(share))
    bits = np.cumsum(-(share * np.log2(share)).sum(1) * count)
    found = np.minimum(bits / bits[-1] * BUCKETS, BUCKETS - 1).astype(np.int32)
    buckets: NDArray[np.int32] = np.unique(found, return_inverse=True)[1].astype(np.int32)
    return buckets


def _counted(
    pairs: Pairs,
    chosen: NDArray[np.int64],
    buckets: NDArray[np.int32],
    scales: NDArray[np.int32],
) -> FollowTables:
    """chosen [N]: symbols of the classes."""
    count = int(buckets.max()) + 1
    follows = (np.arange(CLASSES) >= CLASSES - FOLLOWING).astype(np.int32)
    symbols = np.zeros((CLASSES, count, JOINT_MAGNITUDES, scales.shape[1]))
    turned = np.where(pairs.first < 0, -1, 1)
    magnitudes = np.minimum(np.abs(pairs.first), JOINT_MAGNITUDES - 1)
    for c in range(CLASSES):
        mine = chosen == 1 + c
        told = symbols_of(((pairs.second - follows[c] * pairs.first) * turned)[mine])
        np.add.at(symbols[c], (buckets[pairs.rows[mine]], magnitudes[mine], told), 1)
    for bucket in range(count):
        row = scales[buckets == bucket].mean(0)
        symbols[:, bucket] += SMOOTHING_SYMBOLS * row / row.sum()
    used = np.bincount(chosen, minlength=1 + CLASSES) + SMOOTHING_CLASSES
    used[ON_ITS_OWN] = max(used[ON_ITS_OWN], LEAST_ALONE * used.sum())
    return FollowTables(
        buckets=buckets,
        follows=follows,
        class_frequencies=integer_frequencies(used[None].astype(np.float64)),
        frequencies=integer_frequencies(symbols),
    )


def _classes(pairs: Pairs, tables: FollowTables) -> NDArray[np.int64]:
    """-> the symbol of the class that takes the fewest bits, of each packet [N]."""
    follower = Follower(tables)
    chosen = np.empty(len(pairs.first), np.int64)
    for n, (first, second, rows, own_bits, _) in enumerate(zip(*pairs, strict=True)):
        bits = follower.bits(Reference(first, rows), second)
        own = own_bits + follower.own_bits
        chosen[n] = ON_ITS_OWN if own <= bits.min() else 1 + bits.argmin()
    return chosen
