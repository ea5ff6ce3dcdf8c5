"""Comfort noise: imitates a talker's background, in level and spectrum, while no packets come.

Digital silence in a pause sounds like a lost connection, and in a sentence like a fault. Source:
ITU-T G.711 appendix II and RFC 3389, whose noise has the background's spectral envelope. Theirs is
sent as parameters; ours is measured from the decoded sound.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..units import Pcm

WINDOW_S = 0.02
RECENT_FRAMES = 16  # of half-overlapping windows: the last 170 ms
LOUDEST_SHARE = 4.0  # times the median power: a frame above it is the end of a word
KEPT_S = 3.0
QUIETEST = 0.1  # share of the kept frames that is taken to lie between words
# Share of the loudest packet's power that the background may have: of a talker who has not paused
# yet even the quietest frames are speech.
BELOW_SPEECH = 0.003


class ComfortNoise:
    """`learn` from every decoded packet, `make` as much noise as is needed. One talker, C channels.
    Windows of WINDOW_S overlap by half.
    """

    def __init__(
        self, sample_rate: int, channels: int, rng: np.random.Generator | None = None
    ) -> None:
        self._hop = round(WINDOW_S * sample_rate / 2)
        self._window = np.sin(np.pi * (np.arange(2 * self._hop) + 0.5) / (2 * self._hop))[
            :, None
        ].astype(np.float32)
        self._rng = rng or np.random.default_rng()
        self._channels = channels
        self._kept = round(KEPT_S * sample_rate)
        self._heard: deque[Pcm] = deque()
        self._heard_samples = 0
        self._loudest = 0.0  # mean power of the loudest packet
        # Magnitudes [bins, C] by `among_speech`; empty until they are measured.
        self._background: dict[bool, NDArray[np.float32]] = {}
        self._tail = np.zeros((self._hop, channels), np.float32)
        self._made = np.zeros((0, channels), np.float32)

    def learn(self, pcm: Pcm, *, voice: bool = False) -> None:
        """pcm [T, C], full scale 1. `voice`: the talker's voice detector marked it as speech, so it
        is not background.
        """
        self._loudest = max(self._loudest, float(np.square(pcm).mean()))
        if voice:
            return
        # Measured only when noise is made: most packets are never followed by a pause or a loss.
        self._heard.append(pcm)
        self._heard_samples += len(pcm)
        while self._heard_samples - len(self._heard[0]) >= self._kept:
            self._heard_samples -= len(self._heard.popleft())
        self._background.clear()

    def make(self, samples: int, *, among_speech: bool = False) -> Pcm:
        """The next [samples, C]; zeros while too little was learnt. Without `among_speech` (in an
        announced pause) the last 170 ms that were learnt are the background; with it (after a loss
        in mid-sentence) the quietest frames of the last KEPT_S, which hold speech as well.
        """
        magnitude = self._magnitude(among_speech)
        while len(self._made) < samples:
            self._made = np.concatenate([self._made, self._frame(magnitude)])
        pcm, self._made = self._made[:samples], self._made[samples:]
        return pcm

    def reset(self) -> None:
        """Forgets the background."""
        self._heard.clear()
        self._heard_samples, self._loudest = 0, 0.0
        self._background.clear()
        self._made = self._made[:0]
        self._tail = np.zeros_like(self._tail)

    def _magnitude(self, among_speech: bool) -> NDArray[np.float32]:
        if among_speech not in self._background:
            self._background[among_speech] = self._measured(among_speech)
        return self._background[among_speech]

    def _measured(self, among_speech: bool) -> NDArray[np.float32]:
        """Magnitude spectrum of the background, [bins, C]."""
        if self._heard_samples < 2 * self._hop:
            return np.zeros((self._hop + 1, self._channels), np.float32)
        heard = np.concatenate(self._heard)
        if not among_speech:
            heard = heard[-(RECENT_FRAMES + 1) * self._hop :]
        frames = np.lib.stride_tricks.sliding_window_view(heard, 2 * self._hop, axis=0)[
            :: self._hop
        ].swapaxes(1, 2)
        power = np.abs(np.fft.rfft(frames * self._window, axis=1)) ** 2
        total = power.sum((1, 2))
        if among_speech:
            quiet = power[np.argsort(total)[: max(1, round(QUIETEST * len(total)))]].mean(0)
            # In noise of power p, each of the `hop` bins of rfft holds p times the sum of the
            # squared window, which is `hop`.
            power_of_quiet = float(quiet.sum()) / (self._channels * self._hop**2)
            quiet *= min(1.0, BELOW_SPEECH * self._loudest / max(power_of_quiet, 1e-20))
        else:
            quiet = power[total <= LOUDEST_SHARE * np.median(total) + 1e-20].mean(0)
        magnitude: NDArray[np.float32] = np.sqrt(quiet).astype(np.float32)
        return magnitude

    def _frame(self, magnitude: NDArray[np.float32]) -> Pcm:
        """The next hop of noise with this spectrum, [hop, C], by overlap-add. Real and imaginary
        part have a variance of one half each, so that E|X|^2 = 1; the squared windows of
        neighbouring frames add up to one.
        """
        shape = magnitude.shape
        noise = (
            self._rng.standard_normal(shape) + 1j * self._rng.standard_normal(shape)
        ) / np.sqrt(2)
        # sqrt(2) makes up for the power that the analysis window took.
        frame = (
            np.fft.irfft(noise * magnitude * np.sqrt(2), 2 * self._hop, axis=0).astype(np.float32)
            * self._window
        )
        out: Pcm = self._tail + frame[: self._hop]
        self._tail = frame[self._hop :]
        return out
