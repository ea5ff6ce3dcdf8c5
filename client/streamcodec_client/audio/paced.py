"""Sources and sinks that have no device behind them and keep time by the monotonic clock exactly as
a device would.
"""

from __future__ import annotations

import numpy as np

from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import BLOCK_MS, OUTPUT_LEAD_MS, SOURCE_LAG_LIMIT_MS, Block, block_samples

TONE_HZ, TONE_AMPLITUDE = 440.0, 0.25


class PacedSource:
    """Delivers a block when its last sample would have been captured. Subclasses say what the
    samples are.
    """

    def __init__(self, clock: Clock, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.ended = False
        self._clock = clock
        self._position = 0
        self._start_ns = 0

    def start(self) -> None:
        self._start_ns = self._clock.now_ns()

    def read(self, timeout_s: float) -> Block | None:
        size = block_samples(self.sample_rate)
        wait_ns = self._time_of(self._position + size) - self._clock.now_ns()
        if wait_ns > 0:
            self._clock.sleep(min(wait_ns / NS, timeout_s))
            if wait_ns / NS > timeout_s:
                return None
        elif -wait_ns > SOURCE_LAG_LIMIT_MS * NS // 1000:
            lost = -wait_ns * self.sample_rate // NS
            self._skip(lost)
            self._position += lost
        pcm = self._take(size)
        if len(pcm) < size:
            self.ended = True
        if not len(pcm):
            return None
        first, self._position = self._position, self._position + len(pcm)
        return Block(pcm, first, self._time_of(self._position))

    def close(self) -> None:
        self.ended = True

    def _time_of(self, position: int) -> int:
        return self._start_ns + position * NS // self.sample_rate

    def _take(self, samples: int) -> Pcm:
        """The next samples [T, C]; fewer only at the end."""
        raise NotImplementedError

    def _skip(self, samples: int) -> None:
        raise NotImplementedError


class ToneSource(PacedSource):
    """A sine without end, the same in all channels."""

    def _take(self, samples: int) -> Pcm:
        phase = (
            2
            * np.pi
            * TONE_HZ
            / self.sample_rate
            * np.arange(self._position, self._position + samples)
        )
        wave = (TONE_AMPLITUDE * np.sin(phase)).astype(np.float32)
        return np.repeat(wave[:, None], self.channels, 1)

    def _skip(self, samples: int) -> None:
        """The phase follows from the position."""


class PacedSink:
    """A device that is not there: it plays from its first write on, without a pause, and puts
    silence where nothing came in time.

    Subclasses say where the samples go.
    """

    def __init__(self, clock: Clock, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.underruns = 0
        self._clock = clock
        self._written = 0
        self._start_ns: int | None = None

    def start(self) -> None:
        """The timeline begins with the first write: sample 0 is the first one that was given."""

    def wants_block(self, timeout_s: float) -> bool:
        wait_s = self._held_ns / NS - (OUTPUT_LEAD_MS - BLOCK_MS) / 1000
        if wait_s > 0:
            self._clock.sleep(min(wait_s, timeout_s))
        return wait_s <= timeout_s

    def write(self, pcm: Pcm) -> int:
        if self._start_ns is None:
            self._start_ns = self._clock.now_ns() + (OUTPUT_LEAD_MS - BLOCK_MS) * NS // 1000
        missed = -self._held_ns * self.sample_rate // NS
        if missed > 0:
            self.underruns += 1
            self._put_silence(missed)
            self._written += missed
        played_ns = self._start_ns + self._written * NS // self.sample_rate
        self._put(pcm)
        self._written += len(pcm)
        return played_ns

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def _held_ns(self) -> int:
        """What was written and is not played yet; below 0 while there is nothing to play."""
        if self._start_ns is None:
            return 0
        return self._start_ns + self._written * NS // self.sample_rate - self._clock.now_ns()

    def _put(self, pcm: Pcm) -> None:
        raise NotImplementedError

    def _put_silence(self, samples: int) -> None:
        """Block by block: a process that was suspended for an hour must not ask for an hour of
        zeros at once.
        """
        while samples > 0:
            piece = min(samples, block_samples(self.sample_rate))
            self._put(np.zeros((piece, self.channels), np.float32))
            samples -= piece


class NullSink(PacedSink):
    """Decodes at the pace of a device and plays nothing."""

    def _put(self, pcm: Pcm) -> None:
        """Nowhere."""
