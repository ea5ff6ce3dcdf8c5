"""A model's tables as one piece of bytes, which native/src/tables.c reads where there is no Python:
in a browser.
"""

from __future__ import annotations

import struct

import numpy as np

from ..tables import BIT_WORTH, GAIN_MIN, LOUDNESS_COUNT, SYMBOL_LIMIT, EntropyTables
from .bitstream import ROUNDINGS
from .native_bitstream import WAVEFORM_INTEGERS
from .prices import Prices, bits_of
from .symbols import ESCAPE_BITS_MAX
from .waveform_prior import EIGHTHS


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
