"""Sources and sinks without a device behind them. They keep the pace of the monotonic clock, as a
device would keep its own.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import AHEAD_MS, SOURCE_LAG_LIMIT_MS, Block, block_samples

TONE_HZ, TONE_AMPLITUDE = 440.0, 0.25


class SampleReader(Protocol):
    """Samples in order, as fast as they are asked for."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    def read(self, samples: int) -> Pcm:
        """The next samples, float32 [T, C]; fewer than asked for only at the end. Raises
        AudioError.
        """
        ...

    def skip(self, samples: int) -> None:
        """Leaves out the next samples."""
        ...

    def close(self) -> None: ...


class SampleWriter(Protocol):
    """Takes samples in order, as fast as they come."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    def write(self, pcm: Pcm) -> bool:
        """float32 [T, C]. False: there was no room for them, and they are lost. Raises
        AudioError.
        """
        ...

    def close(self) -> None: ...


class PacedSource:
    """A Source that delivers a block of a SampleReader when its last sample would have been
    captured.
    """

    def __init__(self, clock: Clock, reader: SampleReader) -> None:
        self.sample_rate, self.channels = reader.sample_rate, reader.channels
        self.ended = False
        self._clock, self._reader = clock, reader
        self._position = 0
        self._start_ns = 0

    def start(self) -> None:
        """The capture of sample 0 begins now."""
        self._start_ns = self._clock.now_ns()

    def read(self, timeout_s: float) -> Block | None:
        """As Source.read."""
        size = block_samples(self.sample_rate)
        wait_ns = self._captured_ns(self._position + size) - self._clock.now_ns()
        if wait_ns > 0:
            self._clock.sleep(min(wait_ns / NS, timeout_s))
            if wait_ns / NS > timeout_s:
                return None
        elif -wait_ns > SOURCE_LAG_LIMIT_MS * NS // 1000:
            lost = -wait_ns * self.sample_rate // NS
            self._reader.skip(lost)
            self._position += lost
        pcm = self._reader.read(size)
        if len(pcm) < size:
            self.ended = True
        if not len(pcm):
            return None
        first, self._position = self._position, self._position + len(pcm)
        return Block(pcm, first, self._captured_ns(self._position))

    def close(self) -> None:
        """Ends the source."""
        self.ended = True
        self._reader.close()

    def _captured_ns(self, position: int) -> int:
        return self._start_ns + position * NS // self.sample_rate


class PacedSink:
    """A Sink that plays into a SampleWriter from its first write on, without a pause: silence where
    nothing was written in time. Sample n is heard n / sample_rate s after the first.
    """

    def __init__(self, clock: Clock, writer: SampleWriter, ahead_ms: float = AHEAD_MS) -> None:
        """`ahead_ms`: held beyond the block being played."""
        self._ahead_ns = round(ahead_ms * NS / 1000)
        self.sample_rate, self.channels = writer.sample_rate, writer.channels
        self.underruns = 0
        self._clock, self._writer = clock, writer
        self._written = 0
        self._start_ns: int | None = None

    def start(self) -> None:
        """Time begins with the first write."""

    def wants_block(self, timeout_s: float) -> bool:
        """As Sink.wants_block."""
        wait_s = (self._held_ns - self._ahead_ns) / NS
        if wait_s > 0:
            self._clock.sleep(min(wait_s, timeout_s))
        return wait_s <= timeout_s

    def write(self, pcm: Pcm) -> int:
        """As Sink.write."""
        if self._start_ns is None:
            self._start_ns = self._clock.now_ns() + self._ahead_ns
        missed = -self._held_ns * self.sample_rate // NS
        if missed > 0:
            self.underruns += 1
            self._write_silence(missed)
            self._written += missed
        heard_ns = self._start_ns + self._written * NS // self.sample_rate
        self._give(pcm)
        self._written += len(pcm)
        return heard_ns

    def close(self) -> None:
        """Ends the file or pipe."""
        self._writer.close()

    @property
    def _held_ns(self) -> int:
        """How much was written and is not played yet; below 0 while there is nothing to play."""
        if self._start_ns is None:
            return 0
        return self._start_ns + self._written * NS // self.sample_rate - self._clock.now_ns()

    def _give(self, pcm: Pcm) -> None:
        if not self._writer.write(pcm):
            self.underruns += 1

    def _write_silence(self, samples: int) -> None:
        """Block by block: after an hour in which the process was suspended, an hour of zeros would
        not fit into memory.
        """
        while samples > 0:
            piece = min(samples, block_samples(self.sample_rate))
            self._give(np.zeros((piece, self.channels), np.float32))
            samples -= piece


class Tone:
    """A SampleReader: a sine without end, the same in all channels."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self._position = 0

    def read(self, samples: int) -> Pcm:
        at = np.arange(self._position, self._position + samples)
        self._position += samples
        wave = TONE_AMPLITUDE * np.sin(2 * np.pi * TONE_HZ / self.sample_rate * at)
        return np.repeat(wave.astype(np.float32)[:, None], self.channels, 1)

    def skip(self, samples: int) -> None:
        self._position += samples

    def close(self) -> None:
        """There is nothing to close."""


@dataclasses.dataclass(frozen=True)
class Discard:
    """A SampleWriter that plays nothing."""

    sample_rate: int
    channels: int

    def write(self, pcm: Pcm) -> bool:
        """Drops the samples."""
        return True

    def close(self) -> None:
        """There is nothing to close."""
