"""Comfort noise: the background of a talker who says nothing, in level and colour as it was last heard.

A line that goes dead between sentences sounds like a lost connection. Source: ITU-T G.711 appendix II and RFC 3389, whose noise
has the background's spectral envelope; ours is taken from what was decoded instead of from parameters of its own.
"""

from __future__ import annotations

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
        self._heard = np.zeros((0, channels), np.float32)
        self._background: NDArray[np.float32] | None = (
            None  # magnitudes [bins, C] of what was heard; None where it has to be looked at
        )
        self._tail = np.zeros((self._hop, channels), np.float32)
        self._made = np.zeros((0, channels), np.float32)

    def learn(self, pcm: Pcm) -> None:
        """pcm [T, C], full scale 1."""
        # Only kept: most talkers never pause, and every packet of theirs comes this way.
        self._heard = np.concatenate([self._heard, pcm])[-(LEARNT_FRAMES + 1) * self._hop :]
        self._background = None

    def make(self, samples: int) -> Pcm:
        """The next [samples, C]; zeros where nothing was learnt."""
        magnitude = self._magnitude()
        while len(self._made) < samples:
            self._made = np.concatenate([self._made, self._frame(magnitude)])
        pcm, self._made = self._made[:samples], self._made[samples:]
        return pcm

    def reset(self) -> None:
        self._heard, self._made, self._background = self._heard[:0], self._made[:0], None
        self._tail = np.zeros_like(self._tail)

    def _magnitude(self) -> NDArray[np.float32]:
        if self._background is None:
            self._background = self._look()
        return self._background

    def _look(self) -> NDArray[np.float32]:
        if len(self._heard) < 2 * self._hop:
            return np.zeros((self._hop + 1, self._channels), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._heard, 2 * self._hop, axis=0)[:: self._hop].swapaxes(1, 2)
        power = np.abs(np.fft.rfft(frames * self._window, axis=1)) ** 2
        total = power.sum((1, 2))
        quiet = power[total <= LOUDEST_SHARE * np.median(total) + 1e-20]
        magnitude: NDArray[np.float32] = np.sqrt(quiet.mean(0)).astype(np.float32)
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
