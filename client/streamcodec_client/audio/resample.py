"""Sample-rate conversion for live audio: each block comes out at once, with a fixed delay of 2 ms
(4 ms from or to 8 kHz).

libsoxr's stream collects samples and gives many at once: with its HQ setting and blocks of 10 ms,
up to 40 ms late from 44.1 to 16 kHz, and 115 ms from 8 to 16 (measured).
"""

from __future__ import annotations

import math

import numpy as np

from streamcodec.coding.pcm import clipped
from streamcodec.config import check_sample_rate
from streamcodec.units import Pcm

ZERO_CROSSINGS = 32  # half the kernel, in samples of the lower rate: the delay
KAISER_BETA = 7.0  # about 70 dB; the transition band is then 7 % of the lower rate
CUTOFF = 0.475  # of the lower rate: flat to 7 kHz and closed at 8.1 kHz for 16 kHz


class LiveResampler:
    """A polyphase windowed sinc over [T, C]: after t samples in, ceil(t * target / source) samples
    have come out.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        """Rates in Hz. Raises ConfigError for one outside 4 to 384 kHz."""
        for rate in (source_rate, target_rate):
            check_sample_rate(rate)
        common = math.gcd(source_rate, target_rate)
        self._up, self._down = target_rate // common, source_rate // common
        self._passes = source_rate == target_rate
        self.delay_s = 0.0 if self._passes else ZERO_CROSSINGS / min(source_rate, target_rate)
        self._bank = (
            np.zeros((1, 1), np.float32)
            if self._passes
            else _filter_bank(source_rate, target_rate, self._up)
        )
        self._history = np.zeros((channels, self._bank.shape[1] - 1), np.float32)
        # in steps of 1 / (source_rate * up) s, from the start of the next block
        self._next_output = 0

    def convert(self, pcm: Pcm) -> Pcm:
        """float32 [T, C] at the source rate -> [T', C] at the target rate. What the filter makes go
        beyond full scale is clipped.
        """
        if self._passes or not len(pcm):
            return pcm
        taps = self._bank.shape[1]
        steps = np.arange(self._next_output, len(pcm) * self._up, self._down)
        self._next_output += len(steps) * self._down - len(pcm) * self._up
        samples = np.concatenate([self._history, pcm.T], axis=1, dtype=np.float32)  # [C, T]
        self._history = samples[:, samples.shape[1] - (taps - 1) :]
        # A view of the samples up to each one; sliding_window_view takes as long as all the rest.
        channels, bytes_a_channel, size = len(samples), samples.strides[0], samples.itemsize
        windows: Pcm = np.ndarray(
            (channels, len(pcm), taps), np.float32, samples, strides=(bytes_a_channel, size, size)
        )
        chosen, weights = windows[:, steps // self._up], self._bank[steps % self._up]
        converted: Pcm = np.einsum("cnt,nt->cn", chosen, weights).T
        return clipped(converted, converted)


def _filter_bank(source_rate: int, target_rate: int, up: int) -> Pcm:
    """[phases, taps]: for an output at each fraction of an input sample, the weights of the last
    `taps` input samples, oldest first.
    """
    lower = min(source_rate, target_rate)
    half = ZERO_CROSSINGS * source_rate / lower  # in input samples
    taps = math.ceil(2 * half) + 1
    # Distance, in input samples, of each tap from the centre of the kernel, which lies `half`
    # behind the output's own time.
    distance = np.arange(taps)[None, :] - (taps - 1) - np.arange(up)[:, None] / up + half
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None))) / np.i0(
        KAISER_BETA
    )
    kernel = np.where(
        np.abs(distance) <= half, window * np.sinc(2 * CUTOFF * lower / source_rate * distance), 0
    )
    bank: Pcm = (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)
    return bank
