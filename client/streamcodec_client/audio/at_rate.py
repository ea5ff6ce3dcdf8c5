"""Devices at a sample rate that they do not have: a call keeps its rate when its device changes."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from streamcodec.units import NS, Pcm

from .blocks import Block, Sink, Source
from .resample import LiveResampler


class Named(Protocol):
    """A device. name, index: as the system lists it."""

    @property
    def name(self) -> str: ...

    @property
    def index(self) -> int: ...


class DeviceSource(Source, Named, Protocol):
    """A microphone."""


class DeviceSink(Sink, Named, Protocol):
    """A loudspeaker."""


class SourceAtRate:
    """A DeviceSource at another rate than its device's."""

    def __init__(self, source: DeviceSource, sample_rate: int) -> None:
        self.sample_rate, self.channels = sample_rate, source.channels
        self.name, self.index = source.name, source.index
        self._source = source
        self._resampler = LiveResampler(source.sample_rate, sample_rate, source.channels)
        self._taken = self._given = 0  # positions, of the device and by our rate

    @property
    def ended(self) -> bool:
        return self._source.ended

    def start(self) -> None:
        self._source.start()

    def read(self, timeout_s: float) -> Block | None:
        """As Source.read."""
        block = self._source.read(timeout_s)
        if block is None:
            return None
        lost = block.position - self._taken
        self._taken = block.position + len(block.pcm)
        pcm = self._resampler.convert(block.pcm)
        # Counted and not computed from the device's position: blocks come out longer and shorter.
        first = self._given + lost * self.sample_rate // self._source.sample_rate
        self._given = first + len(pcm)
        captured_ns = block.captured_ns - round(self._resampler.delay_s * NS)
        return dataclasses.replace(block, pcm=pcm, position=first, captured_ns=captured_ns)

    def close(self) -> None:
        self._source.close()


class SinkAtRate:
    """A DeviceSink at another rate than its device's."""

    def __init__(self, sink: DeviceSink, sample_rate: int) -> None:
        self.sample_rate, self.channels = sample_rate, sink.channels
        self.name, self.index = sink.name, sink.index
        self._sink = sink
        self._resampler = LiveResampler(sample_rate, sink.sample_rate, sink.channels)

    @property
    def underruns(self) -> int:
        return self._sink.underruns

    def start(self) -> None:
        self._sink.start()

    def wants_block(self, timeout_s: float) -> bool:
        return self._sink.wants_block(timeout_s)

    def write(self, pcm: Pcm) -> int:
        """As Sink.write."""
        heard_ns = self._sink.write(self._resampler.convert(pcm))
        return heard_ns + round(self._resampler.delay_s * NS)

    def close(self) -> None:
        self._sink.close()
