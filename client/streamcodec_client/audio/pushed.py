"""A source of what others hand over as it comes, rather than of a device or a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import Block

READ_MS = 20  # what is read at once: a packet
# Lateness that is forgotten, per time: clocks of others may be slower than ours, and slow is no
# pause. Crystals differ by less than 200 ppm.
DRIFT = 0.001


class PushedSource:
    """A Source of what is pushed, from any thread. The encoder's thread reads at once what has
    come, but no more than real time plus `ahead_ms`. Beyond that `limit_ms` wait, and the oldest
    samples are lost.
    """

    def __init__(
        self,
        clock: Clock,
        sample_rate: int,
        channels: int = 1,
        *,
        ahead_ms: float,
        limit_ms: float,
        pause_ms: float,
        speed: float = 1.0,
        taken: Callable[[], None] = lambda: None,
    ) -> None:
        """`pause_ms`: who is later than this has paused: time went on meanwhile. `speed`: how much
        faster than real time is read, for those whose clock may run faster than ours. `taken` is
        called whenever some of what waited is gone, in the encoder's thread or in that of `drop`.
        """
        self.sample_rate, self.channels = sample_rate, channels
        self._clock, self._taken = clock, taken
        self._ahead_ns, self._pause_ns = round(ahead_ms * NS / 1000), round(pause_ms * NS / 1000)
        self._speed = speed
        self._limit = round(limit_ms * sample_rate / 1000)
        self._changed = threading.Condition()
        self._pieces: deque[Pcm] = deque()
        self._waiting = 0  # samples in them
        self._asking = False  # the reader is back for more
        self._finished = False
        self._dropped = False  # samples that would have been before the first that waits
        self.dropped_samples = 0
        # Of the reader:
        self._position = 0
        self._start_ns: int | None = None  # when the first sample was captured
        self._paid_ns = 0  # until when real time is used up, less what may be ahead
        self._captured_ns = 0
        self._late_ns = 0.0  # by how much samples came later than in real time, since a pause

    @property
    def ended(self) -> bool:
        """`finish` was called, and all was read."""
        return self._finished and not self._waiting

    def has_room(self, samples: int) -> bool:
        """Whether so many more can wait, and none is lost."""
        return self._waiting + samples <= self._limit

    @property
    def idle(self) -> bool:
        """All that was pushed has been read, and whoever read it wants more."""
        return self._asking and not self._waiting

    def start(self) -> None:
        """Time begins with the first samples."""

    def push(self, pcm: Pcm) -> None:
        """float32 [T, C], any T."""
        with self._changed:
            self._pieces.append(pcm)
            self._waiting += len(pcm)
            if (surplus := self._waiting - self._limit) > 0:
                self._take(surplus)
                self.dropped_samples += surplus
                self._dropped = True
            if self._waiting >= self._size:
                self._changed.notify()

    def drop(self) -> None:
        """Forgets what waits."""
        with self._changed:
            self._dropped = self._dropped or self._waiting > 0
            self._take(self._waiting)
        self._taken()

    def finish(self) -> None:
        """Nothing follows: the source ends when what waits was read."""
        with self._changed:
            self._finished = True
            self._changed.notify()

    def read(self, timeout_s: float) -> Block | None:
        """As Source.read. Less than READ_MS only where nothing more came within the timeout."""
        self._asking = True
        wait_ns = self._paid_ns - self._clock.now_ns()
        if wait_ns > 0:
            self._clock.sleep(min(wait_ns / NS, timeout_s))
            if wait_ns / NS > timeout_s:
                return None
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._waiting >= self._size, timeout_s)
            if not self._waiting:
                return None
            self._asking = False
            pcm = self._take(min(self._size, self._waiting))
            dropped, self._dropped = self._dropped, False
        self._taken()
        return self._block(pcm, dropped)

    def close(self) -> None:
        """Ends the source."""
        self.finish()

    @property
    def _size(self) -> int:
        return READ_MS * self.sample_rate // 1000

    def _take(self, samples: int) -> Pcm:
        """The oldest samples, as many as that, which must wait."""
        self._waiting -= samples
        parts = [np.zeros((0, self.channels), np.float32)]
        while samples > 0:
            piece = self._pieces.popleft()
            if len(piece) > samples:
                self._pieces.appendleft(piece[samples:])
            parts.append(piece[:samples])
            samples -= len(parts[-1])
        return np.concatenate(parts)

    def _block(self, pcm: Pcm, dropped: bool) -> Block:
        now_ns, length_ns = self._clock.now_ns(), len(pcm) * NS // self.sample_rate
        if self._start_ns is None:
            self._start_ns = self._captured_ns = now_ns - length_ns
        since_ns = now_ns - self._captured_ns
        self._late_ns = max(0.0, self._late_ns + since_ns * (1 - DRIFT) - length_ns)
        paused = self._late_ns > self._pause_ns
        if paused or dropped:
            self._late_ns = 0.0
            # Positions follow the clock: of somebody who sends twice as fast as they should, half
            # of the samples have no place in time.
            elapsed_ns = now_ns - length_ns - self._start_ns
            self._position = max(self._position, elapsed_ns * self.sample_rate // NS)
        first, self._position = self._position, self._position + len(pcm)
        self._captured_ns = now_ns
        self._paid_ns = max(self._paid_ns, now_ns - self._ahead_ns) + round(length_ns / self._speed)
        return Block(pcm, first, now_ns, after_pause=paused)
