"""Comfort noise: the background of a talker who says nothing, in level and colour as it was last heard.

A line that goes dead between sentences sounds like a lost connection. Source: ITU-T G.711 appendix II and RFC 3389, whose noise
has the background's spectral envelope; ours is taken from what was decoded instead of from parameters of its own.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]
WINDOW_S = 0.02
LEARNT_FRAMES = 16  # half overlapping: the last 170 ms
LOUDEST_SHARE = 4.0  # of the median power: a frame above it is the end of a word


class ComfortNoise:
    """`learn` from everything that is played, `make` as much as is needed. One talker, C channels."""

    def __init__(self, sample_rate: int, channels: int, rng: np.random.Generator | None = None) -> None:
        self._hop = round(WINDOW_S * sample_rate / 2)
        self._window = np.sin(np.pi * (np.arange(2 * self._hop) + 0.5) / (2 * self._hop))[:, None].astype(np.float32)
        self._rng = rng or np.random.default_rng()
        self._channels = channels
        self._rest = np.zeros((0, channels), np.float32)  # learnt up to here
        self._spectra: deque[NDArray[np.float32]] = deque(maxlen=LEARNT_FRAMES)
        self._tail = np.zeros((self._hop, channels), np.float32)
        self._made = np.zeros((0, channels), np.float32)

    def learn(self, pcm: Pcm) -> None:
        """pcm [T, C], full scale 1."""
        waiting = np.concatenate([self._rest, pcm])
        size, last = 2 * self._hop, len(waiting) - LEARNT_FRAMES * self._hop
        start = max(0, last // self._hop * self._hop - self._hop)
        while start + size <= len(waiting):
            spectrum = np.fft.rfft(waiting[start : start + size] * self._window, axis=0)
            self._spectra.append((np.abs(spectrum) ** 2).astype(np.float32))
            start += self._hop
        self._rest = waiting[start:]

    def make(self, samples: int) -> Pcm:
        """The next [samples, C]; zeros where nothing was learnt."""
        magnitude = self._magnitude()
        while len(self._made) < samples:
            self._made = np.concatenate([self._made, self._frame(magnitude)])
        pcm, self._made = self._made[:samples], self._made[samples:]
        return pcm

    def reset(self) -> None:
        self._spectra.clear()
        self._rest, self._made = self._rest[:0], self._made[:0]
        self._tail = np.zeros_like(self._tail)

    def _magnitude(self) -> NDArray[np.float32]:
        if not self._spectra:
            return np.zeros((self._hop + 1, self._channels), np.float32)
        power = np.stack(self._spectra)
        total = power.sum((1, 2))
        background = power[total <= LOUDEST_SHARE * np.median(total) + 1e-20]
        magnitude: NDArray[np.float32] = np.sqrt(background.mean(0))
        return magnitude

    def _frame(self, magnitude: NDArray[np.float32]) -> Pcm:
        """One hop: normal noise has E|X|^2 = 1 with a variance of one half in each part, and the windows' squares add up to one."""
        shape = magnitude.shape
        noise = (self._rng.standard_normal(shape) + 1j * self._rng.standard_normal(shape)) / np.sqrt(2)
        # The analysis window took half of the power.
        frame = np.fft.irfft(noise * magnitude * np.sqrt(2), 2 * self._hop, axis=0).astype(np.float32) * self._window
        out: Pcm = self._tail + frame[: self._hop]
        self._tail = frame[self._hop :]
        return out
