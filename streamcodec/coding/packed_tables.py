"""A model's tables as one piece of bytes, which native/src/tables.c reads: here and in browsers."""

from __future__ import annotations

import struct

import numpy as np

from ..tables import BIT_WORTH, GAIN_MIN, LOUDNESS_COUNT, SYMBOL_LIMIT, EntropyTables, JointTables
from .bitstream import ROUNDINGS
from .prices import Prices, bits_of
from .symbols import ESCAPE_BITS_MAX
from .waveform_prior import EIGHTHS

# Of WaveformTables, in the order of ScWaveformTables.
WAVEFORM_INTEGERS = (
    *("first_weight", "first_bias", "second_weight", "second_bias", "last_weight", "last_bias"),
    *("level_base", "level_step", "level_bins"),
    *("frequencies", "coded_frequencies", "loudness_frequencies"),
)


def packed_tables(tables: EntropyTables) -> bytes:
    """ScTables of native/src/streamcodec.h, little-endian: sizes (int32), then all that is float64,
    then all other integers (int32).
    """
    prices = Prices.of(tables)
    levels, classes, latent = prices.rows.shape
    scales, symbols = tables.frequencies.shape
    sizes = (levels, classes, latent, scales, tables.gain_frequencies.shape[1], symbols)
    layer = tables.waveform
    limits = (GAIN_MIN, SYMBOL_LIMIT, ESCAPE_BITS_MAX)
    of_layer = (*layer.shape, len(layer.first_weight), len(layer.frequencies), LOUDNESS_COUNT)
    head = struct.pack("<14i4d", *sizes, *limits, *of_layer, BIT_WORTH, *ROUNDINGS)
    costs = (prices.symbols, prices.classes, prices.gains, bits_of(layer.frequencies), EIGHTHS)
    integers = (
        prices.rows,
        tables.level_frequencies,
        tables.frequencies,
        tables.class_frequencies,
        tables.gain_frequencies,
        *(getattr(layer, name) for name in WAVEFORM_INTEGERS),
    )
    arrays = [np.ascontiguousarray(a, "<f8").tobytes() for a in costs]
    arrays += [np.ascontiguousarray(a, "<i4").tobytes() for a in integers]
    return head + b"".join(arrays)


def packed_joint_tables(tables: JointTables) -> bytes:
    """What native/src/joint.c reads: sizes (int32) of what tells latents, and of what tells the
    layer: scales, classes, buckets, magnitudes; then symbols, gains and levels. Behind them all
    that is float64, and all other integers (int32).
    """
    followers = (tables.latents, tables.waveform)
    sizes = [(len(f.buckets), *f.frequencies.shape[:3]) for f in followers]
    symbols, gains = tables.latents.frequencies.shape[3], tables.gain_frequencies.shape[1]
    levels = len(tables.level_frequencies)
    # A size of nothing at the end, so that what follows is aligned.
    head = struct.pack("<12i", *sizes[0], *sizes[1], symbols, gains, levels, 0)
    priced = [a for f in followers for a in (f.class_frequencies, f.frequencies)]
    priced.append(tables.gain_frequencies)
    arrays = [np.ascontiguousarray(bits_of(a), "<f8").tobytes() for a in priced]
    integers = [a for f in followers for a in (f.buckets, f.follows)]
    integers += [*priced, tables.level_frequencies]
    arrays += [np.ascontiguousarray(a, "<i4").tobytes() for a in integers]
    return head + b"".join(arrays)
