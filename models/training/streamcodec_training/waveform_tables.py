"""The tables of the waveform layer that ship: counted from what the layer sends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.loudness import Loudness
from streamcodec.coding.symbols import symbols_of
from streamcodec.engines.api import Engine, Latents
from streamcodec.tables import GAIN_MIN, EntropyTables, WaveformTables, integer_frequencies
from streamcodec.units import Pcm

ROUNDS = 2  # rounding depends on the tables, the tables on the rounding
SMOOTHING_SYMBOLS = 500.0
SMOOTHING_PACKETS = 20.0


def fit_waveform_tables(
    tables: EntropyTables, engine: Engine, clips: Sequence[Pcm]
) -> EntropyTables:
    """Frequencies of the layer from clips [1, T] of the sound that `engine` was trained on, T a
    multiple of its packet. All else in `tables` stays.
    """
    levels = range(engine.shape.base_levels, engine.shape.levels)
    for i in range(ROUNDS):
        bitstream = Bitstream(tables)
        layer = tables.waveform
        symbols = np.zeros(layer.frequencies.shape)
        coded = np.zeros(layer.coded_frequencies.shape)
        task = f"waveform tables: coding, {i + 1} of {ROUNDS}"
        for level in tqdm(levels, desc=task, unit="level"):
            for clip in clips:
                latents = _said(engine, bitstream, clip, level)
                assert latents.waveform is not None
                for p in np.flatnonzero(latents.gain_index[:, 0] != GAIN_MIN).tolist():
                    coded[level, int(latents.waveform.coded[p, 0])] += 1
                    if latents.waveform.coded[p, 0]:
                        loudness = int(latents.waveform.loudness[p, 0])
                        rows = bitstream.waveform.prices(latents, p, 0, loudness).rows
                        q = latents.waveform.q[p, 0, :, : latents.waveform.bins]
                        np.add.at(symbols, (rows, symbols_of(q)), 1)
        tables = dataclasses.replace(tables, waveform=_counted(tables, symbols, coded))
    return tables


def _said(engine: Engine, bitstream: Bitstream, clip: Pcm, level: int) -> Latents:
    """A clip as one payload."""
    means, _ = engine.encode(clip, level, engine.initial_encoder_state(1))
    latents = bitstream.quantise(means)
    residual, _ = engine.residual(means, latents, engine.initial_decoder_state(1))
    loudness = Loudness()
    for gain in means.gain_index[:, 0].tolist():
        loudness = loudness.followed(gain)
    return bitstream.waveform.quantise(latents, residual, np.array([loudness.named], np.int32))


def _counted(
    tables: EntropyTables, symbols: NDArray[np.float64], coded: NDArray[np.float64]
) -> WaveformTables:
    before = tables.waveform
    symbols[:, :-1] = (symbols[:, :-1] + symbols[:, -2::-1]) / 2  # signs mean nothing
    share = before.frequencies / before.frequencies.sum(1, keepdims=True)
    coded += SMOOTHING_PACKETS * (coded.sum(0) + 1) / (coded.sum(0) + 1).sum()
    return dataclasses.replace(
        before,
        frequencies=integer_frequencies(symbols + SMOOTHING_SYMBOLS * share),
        coded_frequencies=integer_frequencies(coded),
    )
