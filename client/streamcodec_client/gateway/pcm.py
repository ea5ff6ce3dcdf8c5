"""Raw PCM (signed 16 bit, little endian, mono) of a websocket as a Source, and out of a Sink."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from streamcodec.units import NS, Pcm

from ..audio.blocks import Block
from ..audio.paced import PacedSink, SampleWriter
from ..clock import Clock

FULL_SCALE = 32_768
SAMPLE_BYTES = 2
FRAME_MS = 20  # what a client receives, and what is encoded, at once
AHEAD_LIMIT_MS = 200  # by which a client may be ahead of real time, and how much waits then
PAUSE_MS = 200  # a client that is later than this has paused, which the encoder announces
# Read so much faster than real time: a client whose clock runs faster than ours (crystals differ by
# less than 200 ppm) would fall behind for ever.
SPEED = 1.001


class SocketSource:
    """A Source of what a client sends. The event loop pushes; the encoder's thread reads at once
    what has come, but no more than real time plus AHEAD_LIMIT_MS. Beyond that AHEAD_LIMIT_MS wait,
    and the oldest samples are lost.
    """

    channels = 1

    def __init__(self, clock: Clock, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting = bytearray()
        self._finished = False
        self._dropped = False  # samples that would have been before the first that waits
        self.dropped_samples = 0
        # Of the reader:
        self._position = 0
        self._start_ns: int | None = None  # when the first sample was captured
        self._paid_ns = 0  # until when real time is used up, less what a client may be ahead
        self._captured_ns = 0

    @property
    def ended(self) -> bool:
        """`finish` was called, and all was read."""
        return self._finished and len(self._waiting) < SAMPLE_BYTES

    def start(self) -> None:
        """Time begins with the first samples."""

    def push(self, data: bytes) -> None:
        """Samples in pieces of any size; one that is cut goes on in the next piece."""
        limit = AHEAD_LIMIT_MS * self.sample_rate // 1000 * SAMPLE_BYTES
        with self._changed:
            self._waiting += data
            surplus = (len(self._waiting) - limit) // SAMPLE_BYTES
            if surplus > 0:
                del self._waiting[: surplus * SAMPLE_BYTES]
                self.dropped_samples += surplus
                self._dropped = True
            if len(self._waiting) >= FRAME_MS * self.sample_rate // 1000 * SAMPLE_BYTES:
                self._changed.notify()

    def finish(self) -> None:
        """Nothing follows: the source ends when what waits was read."""
        with self._changed:
            self._finished = True
            self._changed.notify()

    def read(self, timeout_s: float) -> Block | None:
        size = FRAME_MS * self.sample_rate // 1000
        wait_ns = self._paid_ns - self._clock.now_ns()
        if wait_ns > 0:
            self._clock.sleep(min(wait_ns / NS, timeout_s))
            if wait_ns / NS > timeout_s:
                return None
        with self._changed:
            self._changed.wait_for(
                lambda: self._finished or len(self._waiting) >= size * SAMPLE_BYTES, timeout_s
            )
            whole = min(size, len(self._waiting) // SAMPLE_BYTES)
            if not whole or (whole < size and not self._finished):
                return None
            raw = bytes(self._waiting[: whole * SAMPLE_BYTES])
            del self._waiting[: whole * SAMPLE_BYTES]
            dropped, self._dropped = self._dropped, False
        return self._block(raw, dropped)

    def close(self) -> None:
        self.finish()

    def _block(self, raw: bytes, dropped: bool) -> Block:
        pcm = np.frombuffer(raw, "<i2").astype(np.float32)[:, None] / np.float32(FULL_SCALE)
        now_ns, length_ns = self._clock.now_ns(), len(pcm) * NS // self.sample_rate
        if self._start_ns is None:
            self._start_ns = self._captured_ns = now_ns - length_ns
        paused = now_ns - self._captured_ns - length_ns > PAUSE_MS * NS // 1000
        if paused or dropped:
            # Positions follow the clock: of a client that sends twice as fast as it should, half of
            # the samples have no place in time.
            elapsed_ns = now_ns - length_ns - self._start_ns
            self._position = max(self._position, elapsed_ns * self.sample_rate // NS)
        first, self._position = self._position, self._position + len(pcm)
        self._captured_ns = now_ns
        earliest_ns = now_ns - AHEAD_LIMIT_MS * NS // 1000
        self._paid_ns = max(self._paid_ns, earliest_ns) + round(length_ns / SPEED)
        return Block(pcm, first, now_ns, after_pause=paused)


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
        scaled = np.clip(np.rint(pcm * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
        self._partial += scaled.astype("<i2").tobytes()
        while len(self._partial) >= self._size:
            self._deliver(self._partial[: self._size])
            self._partial = self._partial[self._size :]
        return True

    def close(self) -> None:
        """There is nothing to close."""
