"""Endless batches of augmented segments, drawn at random from an array of PCM."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamcodec.errors import AudioError
from streamcodec.units import Pcm

from .corpus import FULL_SCALE


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Probabilities of the alterations of a segment, and their ranges. The altered sound is also
    the target: the codec must transmit noise and reverberation, not remove them.
    """

    gain_db: tuple[float, float] = (-26.0, 8.0)
    noise: float = 0.12
    noise_snr_db: tuple[float, float] = (0.0, 30.0)
    talk_over: float = 0.03  # a second voice
    room: float = 0.06  # reverberation
    band_limit: float = 0.06
    band_limits_hz: tuple[float, ...] = (4_000.0, 6_000.0)
    clip: float = 0.03  # distortion by clipping
    pause: float = 0.04  # digital silence
    lost_items: float = 0.12  # segments with packet loss
    lost_packets: float = 0.15  # share of packets lost in them
    burst_packets: float = 2.5  # mean length of a burst


AUGMENTATION = Augmentation()
NO_AUGMENTATION = Augmentation((0.0, 0.0), 0, (0.0, 0.0), 0, 0, 0, (), 0, 0, 0, 0)


@dataclasses.dataclass
class SegmentSampler:
    """Endless batches of segments; the same seed gives the same batches. `segment` and `packet` are
    in samples. Raises AudioError where there is less audio than a segment.
    """

    speech: NDArray[np.int16]
    noise: NDArray[np.int16] | None
    sample_rate: int
    segment: int
    packet: int
    batch: int
    augmentation: Augmentation
    rng: np.random.Generator

    def __post_init__(self) -> None:
        if len(self.speech) <= self.segment:
            raise AudioError(
                f"need more than {self.segment / self.sample_rate:.2f} s of audio, "
                f"got {len(self.speech) / self.sample_rate:.2f} s"
            )
        if self.noise is not None and len(self.noise) <= self.segment:
            raise AudioError(f"need more than {self.segment / self.sample_rate:.2f} s of noise")

    def __iter__(self) -> Iterator[tuple[Pcm, NDArray[np.bool_]]]:
        """Yields segments [B, segment] and which packets are lost [B, segment / packet]."""
        while True:
            yield (
                np.stack([self._segment() for _ in range(self.batch)]),
                np.stack([self._lost() for _ in range(self.batch)]),
            )

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _draw(self, source: NDArray[np.int16]) -> Pcm:
        start = self.rng.integers(0, len(source) - self.segment)
        segment: Pcm = source[start : start + self.segment].astype(np.float32) / np.float32(
            FULL_SCALE + 1
        )
        return segment

    def _segment(self) -> Pcm:
        a = self.augmentation
        x = self._draw(self.speech)
        if self._chance(a.talk_over):
            x = x + self._draw(self.speech) * np.float32(self.rng.uniform(0.3, 1.0))
        if self._chance(a.room):
            x = self._reverberate(x)
        if self.noise is not None and self._chance(a.noise):
            x = self._add_noise(x, self._draw(self.noise))
        if a.band_limits_hz and self._chance(a.band_limit):
            x = self._low_pass(x, float(self.rng.choice(a.band_limits_hz)))
        if self._chance(a.pause):
            start = self.rng.integers(0, self.segment)
            x[start : start + self.rng.integers(0, self.segment)] = 0
        if self._chance(a.clip):
            x = np.clip(x * np.float32(self.rng.uniform(4, 12)), -0.9, 0.9)
        x = x * np.float32(10 ** (self.rng.uniform(*a.gain_db) / 20))
        return (x / max(1.0, float(np.abs(x).max()) / 0.99)).astype(np.float32)

    def _add_noise(self, x: Pcm, noise: Pcm) -> Pcm:
        snr = 10 ** (self.rng.uniform(*self.augmentation.noise_snr_db) / 20)
        return (
            x + noise * np.float32(_rms(x) / (_rms(noise) * snr + 1e-9))
            if _rms(noise) > 1e-5
            else x
        )

    def _reverberate(self, x: Pcm) -> Pcm:
        """A room as exponentially decaying noise behind the direct sound (Moorer 1979)."""
        seconds = self.rng.uniform(0.1, 0.5)
        length = int(seconds * self.sample_rate)
        tail = self.rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= self.rng.uniform(0.1, 0.6) / np.sqrt(np.square(tail).sum())
        tail[0] = 1.0
        size = 1 << (len(x) + length).bit_length()
        wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)
        return wet[: len(x)].astype(np.float32)

    def _low_pass(self, x: Pcm, cutoff_hz: float) -> Pcm:
        spectrum = np.fft.rfft(x)
        frequencies = np.linspace(0, self.sample_rate / 2, len(spectrum))
        spectrum *= 1 / (1 + np.exp((frequencies - cutoff_hz * 0.95) / (cutoff_hz * 0.01)))
        return np.fft.irfft(spectrum, len(x)).astype(np.float32)

    def _lost(self) -> NDArray[np.bool_]:
        """Bursts of lost packets from a Gilbert-Elliott model, [segment / packet]."""
        a = self.augmentation
        lost = np.zeros(self.segment // self.packet, bool)
        if not self._chance(a.lost_items):
            return lost
        leave = 1 / a.burst_packets
        enter = leave * a.lost_packets / (1 - a.lost_packets)
        bad = False
        for i in range(len(lost)):
            bad = self._chance(1 - leave if bad else enter)
            lost[i] = bad
        return lost


def _rms(x: Pcm) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
