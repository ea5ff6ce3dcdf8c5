"""The high band: what a full-band stream says of the sound above the core's own band, in two bytes
for each packet of each channel. Here in NumPy; `native_high_band` runs the same in C.

A packet is two segments of half its length, whose levels in a few bands are measured over slopes
that overlap the segments beside them, and told (`band_levels`). A decoder shapes steady noise by
them. No network is involved (decision
0025).

Shapes: T samples of a packet of one channel at the full rate, B bands, S segments.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..tables import (
    HIGH_BAND_FACTOR,
    HIGH_BAND_FFT,
    HIGH_BAND_SEGMENTS,
    HighBandTables,
)
from ..units import Pcm
from .band_levels import LevelQuantiser

Floats = NDArray[np.float32]
FAINTEST = 1e-10  # power of a band that counts as none: -100 dB
FADE_DB = 3.0  # a lost packet, as the core fades
# Logarithms of noise lie 2.5 dB below that of its mean power: a little fainter, it is nearer to
# most bins of the original (docs/model.md).
NOISE_DB = -1.5


class HighBand(Protocol):
    """Both ways for one packet of one channel. States are values: those handed in stay valid."""

    @property
    def packet(self) -> int:
        """T."""
        ...

    @property
    def lag(self) -> int:
        """How far `join` lags `split`, in samples at the full rate, the core's overlap included."""
        ...

    def initial_splitter(self) -> Any: ...

    def initial_joiner(self) -> Any: ...

    def split(self, pcm: Pcm, state: Any) -> tuple[Pcm, bytes, Any]:
        """pcm [T] -> the core's [T / HIGH_BAND_FACTOR], a description of the rest, new state."""
        ...

    def join(self, core: Pcm, told: bytes | None, lost: bool, state: Any) -> tuple[Pcm, Any]:
        """A packet as the core's decoder has made it -> pcm [T], new state. told: the description
        that came with it; without one the high band goes on, fading, where the packet was lost, and
        else falls silent.
        """
        ...


class Splitter(NamedTuple):
    """heard [lag]: the samples before the packet. offset [B]: mean of the levels told for the
    packet before, in dB above usual.
    """

    heard: Pcm
    offset: Floats


class Joiner(NamedTuple):
    """core: the samples before the packet, as many as the filter reaches back. power [B]: of the
    segment before. position: in the noise.
    """

    core: Pcm
    offset: Floats
    power: Floats
    position: int


class NumpyHighBand:
    """As `HighBand`, for a core with packets and overlaps of so many of its samples.

    window: of a segment with its slopes. rise: share of a segment's power, as it begins. unit: of
    the spectra's power. noise [N, B].
    """

    def __init__(self, tables: HighBandTables, packet: int, overlap: int) -> None:
        """Raises ValueError for a core that the tables do not fit."""
        self.tables, taps = tables, len(tables.low_pass)
        self._segment = HIGH_BAND_FACTOR * packet // HIGH_BAND_SEGMENTS
        self._slope = self._segment // 2
        self.packet, self.lag = HIGH_BAND_FACTOR * packet, lag_of(tables, overlap)
        if self._segment + self._slope > HIGH_BAND_FFT or self.lag < taps - 1:
            raise ValueError(
                f"the high band's tables do not fit a core with packets of {packet} samples that "
                f"overlap by {overlap}"
            )
        self._quantiser = LevelQuantiser(tables)
        rise = np.sin(np.pi / 2 * (np.arange(self._slope) + 0.5) / self._slope)
        flat = np.ones(self._segment - self._slope)
        self.window = np.concatenate([rise, flat, rise[::-1]]).astype(np.float32)
        self.unit = float(np.square(self.window).sum()) * HIGH_BAND_FFT / 2  # of power
        self.rise = np.square(rise).astype(np.float32)
        self.noise = bands_of_noise(tables)

    def initial_splitter(self) -> Splitter:
        none = np.zeros(len(self.tables.mean), np.float32)
        return Splitter(np.zeros(self.lag, np.float32), none)

    def initial_joiner(self) -> Joiner:
        none = np.zeros(len(self.tables.mean), np.float32)
        before = (len(self.tables.low_pass) - 1) // HIGH_BAND_FACTOR
        return Joiner(np.zeros(before, np.float32), none, none, 0)

    def split(self, pcm: Pcm, state: Splitter) -> tuple[Pcm, bytes, Splitter]:
        """As `HighBand.split`."""
        heard = np.concatenate([state.heard, pcm])
        taps = self.tables.low_pass
        first = self.lag - len(taps) + HIGH_BAND_FACTOR
        core = np.convolve(heard, taps, "valid")[first::HIGH_BAND_FACTOR].astype(np.float32)
        before = state.offset[None]
        entries = self._quantiser.entries(self.levels(heard)[None], before)
        offset = self._quantiser.levels(entries, before)[0].mean(0)
        return core, bytes(entries[0].tolist()), Splitter(heard[len(pcm) :], offset)

    def join(self, core: Pcm, told: bytes | None, lost: bool, state: Joiner) -> tuple[Pcm, Joiner]:
        """As `HighBand.join`."""
        mean, (before, offset, power, position) = self.tables.mean, state
        if told is not None:
            levels = self._quantiser.levels([tuple(told)], offset[None])[0]
            offset = levels.mean(0)
            powers = np.power(10, (mean + levels) / 10)
        elif lost:
            faded = np.arange(1, HIGH_BAND_SEGMENTS + 1) * FADE_DB / HIGH_BAND_SEGMENTS
            powers = power * np.power(10, -faded[:, None] / 10)
            offset = offset - np.float32(FADE_DB)
        else:
            powers = np.zeros((HIGH_BAND_SEGMENTS, len(mean)))
        wide = self._raised(np.concatenate([before, core]), len(core))
        high = [wide[:0]]
        for segment in powers.astype(np.float32):
            amplitude = np.sqrt(np.repeat(segment[None], self._segment, 0))
            amplitude[: self._slope] = np.sqrt(power + (segment - power) * self.rise[:, None])
            at = (position + np.arange(self._segment)) % len(self.noise)
            high.append((amplitude * self.noise[at]).sum(1))
            position, power = (position + self._segment) % len(self.noise), segment
        after = Joiner(np.concatenate([before, core])[-len(before) :], offset, power, position)
        return wide + np.concatenate(high), after

    def levels(self, heard: Pcm) -> Floats:
        """A packet with the `lag` samples before it -> of each segment and band, in dB above usual,
        [S, B].
        """
        size = self._segment + self._slope
        frames = np.stack(
            [heard[s * self._segment :][:size] * self.window for s in range(HIGH_BAND_SEGMENTS)]
        )
        spectra = np.square(np.abs(np.fft.rfft(frames, HIGH_BAND_FFT)))
        sums = np.add.reduceat(spectra, self.tables.edges, 1)[:, :-1] / self.unit
        levels: Floats = (10 * np.log10(sums + FAINTEST)).astype(np.float32) - self.tables.mean
        return levels

    def _raised(self, core: Pcm, count: int) -> Pcm:
        """The core's samples, and those before them that the filter reaches -> its `count` last at
        the full rate.
        """
        spread = np.zeros(len(core) * HIGH_BAND_FACTOR, np.float32)
        spread[::HIGH_BAND_FACTOR] = core * HIGH_BAND_FACTOR
        wide = np.convolve(spread, self.tables.low_pass)[: len(spread)]
        return wide[-count * HIGH_BAND_FACTOR :].astype(np.float32)


def lag_of(tables: HighBandTables, overlap: int) -> int:
    """Of `HighBand`, where the core's overlap is so many of its samples: that overlap, and half of
    the filter twice. The core's samples are the last of every HIGH_BAND_FACTOR.
    """
    return HIGH_BAND_FACTOR * overlap + len(tables.low_pass) - HIGH_BAND_FACTOR


def bands_of_noise(tables: HighBandTables) -> Floats:
    """The noise in each band, at unit power and NOISE_DB, [N, B]. Bands meet in slopes that are as
    wide as a bin of the spectra that levels are measured in.
    """
    noise = tables.noise.astype(np.float64)
    at = np.fft.rfftfreq(len(noise)) * HIGH_BAND_FFT
    bands = []
    for low, high in zip(tables.edges, tables.edges[1:], strict=False):
        share = np.clip(at - low + 0.5, 0, 1) * np.clip(high - at + 0.5, 0, 1)
        band = np.fft.irfft(np.fft.rfft(noise) * np.sqrt(share), len(noise))
        bands.append(band / np.sqrt(np.square(band).mean()))
    made: Floats = (np.stack(bands, 1) * 10 ** (NOISE_DB / 20)).astype(np.float32)
    return made
