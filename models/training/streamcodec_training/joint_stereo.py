"""Fits the tables of joint stereo (streamcodec.coding.joint_stereo): what the first channel's
integers say of those of the second, for some classes of how alike two channels are. Counting, in
rounds; minutes on one core.

Shapes: N packets, D latents, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
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

from .stereo_pieces import stereo_pieces

CLASSES, FOLLOWING = 6, 3  # of which so many tell how the second channel differs from the first
BUCKETS = 12  # of scales, each with as many bits
PIECES, PIECE_S = 800, 2.0
ROUNDS = 2  # rounding depends on the tables, the tables on the rounding
CLASS_ROUNDS = 8
SMOOTHING_SYMBOLS, SMOOTHING_GAINS, SMOOTHING_CLASSES = 30.0, 20.0, 20.0
LEAST_ALONE = 0.12  # of packets, because silent channels, which are told so, are not counted


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
    pieces = stereo_pieces(folders, loaded.config.sample_rate, PIECES, PIECE_S, rng)
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
