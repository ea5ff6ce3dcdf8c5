"""Blocks of PCM, and the protocols of the sources that they come from and the sinks they go to."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from streamcodec.units import Pcm

BLOCK_MS = 10  # what sources deliver and sinks take at once
# What a sink holds beyond the block being played, where nothing else is asked for: a thread that
# wakes late is late by less, and a packet is decoded meanwhile.
AHEAD_MS = 10.0
SOURCE_LAG_LIMIT_MS = 200  # a reader further behind loses the oldest samples, as with a real device


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Samples as they were captured. A position beyond the end of the last block: the samples
    between the two were lost, or the source had none (`after_pause`).
    """

    pcm: Pcm  # [T, C], full scale 1
    position: int  # of the first sample, in samples from the start of the source
    captured_ns: int  # monotonic time at which the last sample was captured
    after_pause: bool = False  # the source had nothing to capture before this block


class Source(Protocol):
    """Used by one thread, which reads until `ended`."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def ended(self) -> bool:
        """The last block was read."""
        ...

    def start(self) -> None: ...

    def read(self, timeout_s: float) -> Block | None:
        """The next block, as soon as it has been captured; None where that takes longer than the
        timeout.

        A reader that is more than SOURCE_LAG_LIMIT_MS behind loses the oldest samples. Raises
        AudioError when the device is gone.
        """
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Used by one thread, which writes a block whenever the sink wants one. A block that is late
    is replaced with silence.
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def underruns(self) -> int:
        """How often the sink had nothing to play, or lost what it was given."""
        ...

    def start(self) -> None: ...

    def wants_block(self, timeout_s: float) -> bool:
        """Waits until there is room for BLOCK_MS of audio; False where that takes longer than the
        timeout. Raises AudioError.
        """
        ...

    def write(self, pcm: Pcm) -> int:
        """float32 [T, C] of about BLOCK_MS -> the monotonic time (ns) at which its first sample is
        heard. Raises AudioError.
        """
        ...

    def close(self) -> None: ...


def with_channels(pcm: Pcm, channels: int) -> Pcm:
    """[T, C] -> [T, channels]: the mean where there are fewer, copies where there are more."""
    if pcm.shape[1] == channels:
        return pcm
    mono: Pcm = pcm.mean(1, keepdims=True, dtype=np.float32)
    return mono if channels == 1 else np.repeat(mono, channels, 1)


def block_samples(sample_rate: int) -> int:
    """Samples of a block of BLOCK_MS; at least one."""
    return max(1, sample_rate * BLOCK_MS // 1000)
