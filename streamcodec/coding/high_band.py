"""The high band: what a full-band stream says of the sound above the core's own band, in two bytes
for each packet of each channel; one is often enough for the second channel of joint stereo. Here in
NumPy; `native_high_band` runs the same in C.

A packet is two segments of half its length, whose levels in a few bands are measured over slopes
that overlap the segments beside them, and told (`band_levels`). A decoder shapes steady noise by
them. No network is involved (decision 0025).

Shapes: T samples of a packet of one channel at the full rate, B bands, S segments.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..tables import HIGH_BAND_FACTOR, HIGH_BAND_FFT, HIGH_BAND_SEGMENTS, HighBandTables
from ..units import Pcm
from .band_levels import UNREFINED, LevelQuantiser

Floats = NDArray[np.float32]
FAINTEST = 1e-10  # power of a band that counts as none: -100 dB
FADE_DB = 3.0  # a lost packet, as the core fades
# Logarithms of noise lie 2.5 dB below that of its mean power: a little fainter, it is nearer to
# most bins of the original (decision 0025).
NOISE_DB = -1.5


class Splitter(Protocol):
    """Of one channel, whose packets it gets in order, by one of its methods."""

    def split(self, pcm: Pcm, first: bytes | None = None) -> tuple[Pcm, bytes]:
        """pcm [T] -> the core's [T / HIGH_BAND_FACTOR], and a description of the rest. first: that
        of the first channel in joint stereo, for the second.
        """
        ...

    def lower(self, pcm: Pcm) -> Pcm:
        """The same without a description."""
        ...


class Joiner(Protocol):
    """Of one channel, whose packets it gets in order, lost ones, too."""

    def join(self, core: Pcm, told: bytes | None, lost: bool, first: bytes | None = None) -> Pcm:
        """A packet as the core's decoder has made it -> pcm [T]. told: the description that came
        with it; without one the high band goes on, fading, where the packet was lost, and else
        falls silent. first: as `Splitter.split` was given it.
        """
        ...


class HighBand(Protocol):
    """Both ways, for any number of streams and threads.

    packet: T. lag: how far joiners lag splitters, in samples at the full rate, the core's overlap
    included.
    """

    @property
    def packet(self) -> int: ...

    @property
    def lag(self) -> int: ...

    def splitter(self) -> Splitter: ...

    def joiner(self) -> Joiner: ...


class NumpyHighBand:
    """As `HighBand`, for a core with packets and overlaps of so many of its samples.

    segment: samples of one. window: of a segment with its slopes. rise: share of a segment's power,
    as it begins. unit: of the spectra's power. noise [N, B].
    """

    def __init__(self, tables: HighBandTables, packet: int, overlap: int) -> None:
        """Raises ValueError for a core that the tables do not fit."""
        self.tables, taps = tables, len(tables.low_pass)
        self.segment = HIGH_BAND_FACTOR * packet // HIGH_BAND_SEGMENTS
        slope = self.segment // 2
        self.packet, self.lag = HIGH_BAND_FACTOR * packet, lag_of(tables, overlap)
        if self.segment + slope > HIGH_BAND_FFT or self.lag < taps - 1:
            raise ValueError(
                f"the high band's tables do not fit a core with packets of {packet} samples that "
                f"overlap by {overlap}"
            )
        self.quantiser = LevelQuantiser(tables)
        rise = np.sin(np.pi / 2 * (np.arange(slope) + 0.5) / slope)
        flat = np.ones(self.segment - slope)
        self.window = np.concatenate([rise, flat, rise[::-1]]).astype(np.float32)
        self.unit = float(np.square(self.window).sum()) * HIGH_BAND_FFT / 2  # of power
        self.rise = np.square(rise).astype(np.float32)
        self.noise = bands_of_noise(tables)

    def splitter(self) -> Splitter:
        return _NumpySplitter(self)

    def joiner(self) -> Joiner:
        return _NumpyJoiner(self)

    def levels(self, heard: Pcm) -> Floats:
        """A packet with the `lag` samples before it -> of each segment and band, in dB above usual,
        [S, B].
        """
        size = len(self.window)
        frames = np.stack(
            [heard[s * self.segment :][:size] * self.window for s in range(HIGH_BAND_SEGMENTS)]
        )
        spectra = np.square(np.abs(np.fft.rfft(frames, HIGH_BAND_FFT)))
        sums = np.add.reduceat(spectra, self.tables.edges, 1)[:, :-1] / self.unit
        levels: Floats = (10 * np.log10(sums + FAINTEST)).astype(np.float32) - self.tables.mean
        return levels


class _NumpySplitter:
    """Keeps the `lag` samples before the packet, and the mean of the levels that were told for the
    one before, [1, B].
    """

    def __init__(self, band: NumpyHighBand) -> None:
        self._band = band
        self._heard = np.zeros(band.lag, np.float32)
        self._offset = np.zeros((1, len(band.tables.mean)), np.float32)

    def split(self, pcm: Pcm, first: bytes | None = None) -> tuple[Pcm, bytes]:
        """As `Splitter.split`."""
        heard = self._hear(pcm)
        levels, quantiser = self._band.levels(heard)[None], self._band.quantiser
        if first is None:
            told = bytes(quantiser.entries(levels, self._offset)[0].tolist())
        else:
            added = quantiser.added([tuple(first)])
            entry, refinement = quantiser.second_entries(levels, self._offset, added)[0].tolist()
            told = bytes([entry] if refinement == UNREFINED else [refinement, entry])
        self._offset = told_levels(quantiser, told, first, self._offset).mean(1)
        return self._lowered(heard), told

    def lower(self, pcm: Pcm) -> Pcm:
        """As `Splitter.lower`."""
        return self._lowered(self._hear(pcm))

    def _hear(self, pcm: Pcm) -> Pcm:
        """-> a packet with the `lag` samples before it."""
        heard = np.concatenate([self._heard, pcm])
        self._heard = heard[len(pcm) :]
        return heard

    def _lowered(self, heard: Pcm) -> Pcm:
        """A packet with the `lag` samples before it -> the core's."""
        taps = self._band.tables.low_pass
        first = self._band.lag - len(taps) + HIGH_BAND_FACTOR
        return np.convolve(heard, taps, "valid")[first::HIGH_BAND_FACTOR].astype(np.float32)


class _NumpyJoiner:
    """Keeps the samples of the core that the filter reaches back to, the offset as a splitter does,
    powers [B] of the segment before, and the position in the noise.
    """

    def __init__(self, band: NumpyHighBand) -> None:
        self._band, bands = band, len(band.tables.mean)
        self._before = np.zeros(len(band.tables.low_pass) // HIGH_BAND_FACTOR, np.float32)
        self._offset = np.zeros((1, bands), np.float32)
        self._power, self._position = np.zeros(bands, np.float32), 0

    def join(self, core: Pcm, told: bytes | None, lost: bool, first: bytes | None = None) -> Pcm:
        """As `Joiner.join`."""
        heard = np.concatenate([self._before, core])
        self._before = heard[len(core) :]
        spread = np.zeros(len(heard) * HIGH_BAND_FACTOR, np.float32)
        spread[::HIGH_BAND_FACTOR] = heard * HIGH_BAND_FACTOR
        size = len(core) * HIGH_BAND_FACTOR
        pcm = np.convolve(spread, self._band.tables.low_pass)[len(spread) - size : len(spread)]
        segments = [self._noise(power) for power in self._powers(told, lost, first)]
        return (pcm + np.concatenate(segments)).astype(np.float32)

    def _powers(self, told: bytes | None, lost: bool, first: bytes | None) -> Floats:
        """-> of each segment and band, [S, B]."""
        band = self._band
        if told is not None:
            levels = told_levels(band.quantiser, told, first, self._offset)
            self._offset = levels.mean(1)
            powers: Floats = np.power(10, (band.tables.mean + levels[0]) / 10)
        elif lost:
            self._offset = self._offset - np.float32(FADE_DB)
            faded = np.arange(1, HIGH_BAND_SEGMENTS + 1, dtype=np.float32) / HIGH_BAND_SEGMENTS
            powers = self._power * np.power(10, -FADE_DB * faded[:, None] / 10)
        else:
            powers = np.zeros((HIGH_BAND_SEGMENTS, len(self._power)), np.float32)
        return powers

    def _noise(self, power: Floats) -> Floats:
        """Of a segment, whose power it reaches behind its slope."""
        band = self._band
        powers = np.repeat(power[None], band.segment, 0)
        powers[: len(band.rise)] = self._power + (power - self._power) * band.rise[:, None]
        at = (self._position + np.arange(band.segment)) % len(band.noise)
        self._power, self._position = power, (self._position + band.segment) % len(band.noise)
        noise: Floats = (np.sqrt(powers) * band.noise[at]).sum(1)
        return noise


def told_levels(
    quantiser: LevelQuantiser, told: bytes, first: bytes | None, offset: Floats
) -> Floats:
    """-> [1, S, B]. offset [1, B]; told and first: as splitters have them."""
    if first is None:
        return quantiser.levels([tuple(told)], offset)
    refinement = UNREFINED if len(told) == 1 else told[0]
    added = quantiser.added([tuple(first)])
    return quantiser.second_levels([(told[-1], refinement)], offset, added)


def lag_of(tables: HighBandTables, overlap: int) -> int:
    """Of `HighBand`, where the core's overlap is so many of its samples: that overlap, and half of
    the filter twice. The core's samples are the last of every HIGH_BAND_FACTOR.
    """
    return HIGH_BAND_FACTOR * overlap + len(tables.low_pass) - HIGH_BAND_FACTOR


def bands_of_noise(tables: HighBandTables) -> Floats:
    """The noise in each band, at unit power and NOISE_DB, [N, B]. Bands meet in slopes that are as
    wide as a bin of the spectra that levels are measured in.
    """
    count = len(tables.noise)
    spectrum, at = np.fft.rfft(tables.noise), np.fft.rfftfreq(count) * HIGH_BAND_FFT
    bands = []
    for low, high in zip(tables.edges, tables.edges[1:], strict=False):
        share = np.clip(at - low + 0.5, 0, 1) * np.clip(high - at + 0.5, 0, 1)
        band = np.fft.irfft(spectrum * np.sqrt(share), count)
        bands.append(band / np.sqrt(np.square(band).mean()))
    made: Floats = (np.stack(bands, 1) * 10 ** (NOISE_DB / 20)).astype(np.float32)
    return made
