"""Raw PCM (signed 16 bit, little endian, mono) of a websocket as a Source, and out of a Sink."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamcodec.units import Pcm

from ..audio.paced import PacedSink, SampleWriter
from ..audio.pushed import PushedSource
from ..audio.wav import FULL_SCALE, SAMPLE_BYTES, as_int16
from ..clock import Clock

FRAME_MS = 20  # what a client receives at once
AHEAD_LIMIT_MS = 200  # by which a client may be ahead of real time
WAIT_LIMIT_MS = 400  # of what it sent, until it is read: as much as a frame may hold
PAUSE_MS = 200
# A client whose clock runs faster than ours would fall behind for ever.
SPEED = 1.001


class SocketSource(PushedSource):
    """A PushedSource of what a client sends, which may be AHEAD_LIMIT_MS ahead of real time."""

    def __init__(self, clock: Clock, sample_rate: int) -> None:
        super().__init__(
            clock,
            sample_rate,
            ahead_ms=AHEAD_LIMIT_MS,
            limit_ms=WAIT_LIMIT_MS,
            pause_ms=PAUSE_MS,
            speed=SPEED,
        )
        self._cut = b""  # of a sample that is cut

    def push_bytes(self, data: bytes) -> None:
        """Samples in pieces of any size; one that is cut goes on in the next piece."""
        data = self._cut + data
        whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
        self._cut = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32)
        self.push(samples[:, None] / np.float32(FULL_SCALE))


class FrameSink(PacedSink):
    """A PacedSink that wants two blocks at once, a frame: half as many waits, which cost as much as
    decoding where there are many clients.
    """

    def __init__(self, clock: Clock, writer: SampleWriter, ahead_ms: float) -> None:
        super().__init__(clock, writer, ahead_ms)
        self._second = False  # the first block of two was written last

    def wants_block(self, timeout_s: float) -> bool:
        return self._second or super().wants_block(timeout_s)

    def write(self, pcm: Pcm) -> int:
        """As Sink.write."""
        self._second = not self._second
        return super().write(pcm)


class FrameWriter:
    """A SampleWriter that hands on frames of FRAME_MS, from the decoder's thread."""

    channels = 1

    def __init__(self, sample_rate: int, deliver: Callable[[bytes], None]) -> None:
        self.sample_rate = sample_rate
        self._deliver = deliver
        self._size = FRAME_MS * sample_rate // 1000 * SAMPLE_BYTES
        self._partial = b""

    def write(self, pcm: Pcm) -> bool:
        """Never refuses: what is too much for the client, its queue drops."""
        self._partial += as_int16(pcm)
        while len(self._partial) >= self._size:
            self._deliver(self._partial[: self._size])
            self._partial = self._partial[self._size :]
        return True

    def close(self) -> None:
        """There is nothing to close."""
