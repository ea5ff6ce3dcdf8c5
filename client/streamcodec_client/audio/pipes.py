"""Raw PCM (signed 16 bit, little endian, channels interleaved) from standard input and to standard
output.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys

import numpy as np

from streamcodec.errors import AudioError
from streamcodec.files import writing
from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import Block, block_samples
from .wav import FULL_SCALE, as_int16

# the smallest that Linux allows: 128 ms at 16 kHz mono; the default of 64 KiB is 2 s of delay
PIPE_BYTES = 4096
STDOUT_LIMIT_MS = 100
PAUSE_MS = 100  # a writer that is later than this has paused: time goes on meanwhile


class StdinSource:
    """A Source of raw PCM. A live pipe sets the pace itself; a file is read no faster than real
    time. The pipe is the queue: it holds PIPE_BYTES, and its writer waits while it is full.
    """

    def __init__(
        self, clock: Clock, sample_rate: int, channels: int, descriptor: int | None = None
    ) -> None:
        """`descriptor`: where to read; None: standard input."""
        self.sample_rate, self.channels = sample_rate, channels
        self.ended = False
        self._clock = clock
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._partial = b""
        self._position = 0
        self._not_before_ns = 0
        self._captured_ns: int | None = None  # when the last block was read
        # before the start: a writer may fill the pipe while a model is loaded
        self._shrunk = shrink_pipe(self._descriptor)

    def start(self) -> None:
        self._not_before_ns = self._clock.now_ns()

    def read(self, timeout_s: float) -> Block | None:
        size = block_samples(self.sample_rate)
        frame_bytes = 2 * self.channels
        wait_ns = self._not_before_ns + size * NS // self.sample_rate - self._clock.now_ns()
        if wait_ns > 0:
            self._clock.sleep(min(wait_ns / NS, timeout_s))
            if wait_ns / NS > timeout_s:
                return None
        while len(self._partial) < size * frame_bytes:
            if not select.select([self._descriptor], [], [], timeout_s)[0]:
                return None
            piece = os.read(self._descriptor, size * frame_bytes - len(self._partial))
            if not piece:
                self.ended = True
                break
            self._partial += piece
            self._shrunk = self._shrunk or shrink_pipe(self._descriptor)
        whole = len(self._partial) // frame_bytes * frame_bytes
        if not whole:
            return None
        samples = np.frombuffer(self._partial[:whole], "<i2").reshape(-1, self.channels)
        pcm = samples.astype(np.float32) / np.float32(FULL_SCALE)
        self._partial = b""
        now_ns = self._clock.now_ns()
        # After a pipe has run dry, what comes late is read at most one block faster than real time.
        self._not_before_ns = max(
            self._not_before_ns + len(pcm) * NS // self.sample_rate,
            now_ns - size * NS // self.sample_rate,
        )
        idle_ns = (
            0
            if self._captured_ns is None
            else now_ns - self._captured_ns - len(pcm) * NS // self.sample_rate
        )
        paused = idle_ns > PAUSE_MS * NS // 1000
        first = self._position + (idle_ns * self.sample_rate // NS if paused else 0)
        self._position, self._captured_ns = first + len(pcm), now_ns
        return Block(pcm, first, now_ns, after_pause=paused)

    def close(self) -> None:
        self.ended = True


class PipeWriter:
    """A SampleWriter of raw PCM. Nothing waits for the reader of the pipe: while it is
    STDOUT_LIMIT_MS behind, whole blocks are lost, newest first.
    """

    def __init__(self, sample_rate: int, channels: int, descriptor: int | None = None) -> None:
        """`descriptor`: where to write; None: standard output."""
        self.sample_rate, self.channels = sample_rate, channels
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor

    def write(self, pcm: Pcm) -> bool:
        """Raises AudioError where the reader has closed the pipe, or a file fills its disk."""
        raw = as_int16(pcm)
        limit_bytes = STDOUT_LIMIT_MS * self.sample_rate // 1000 * 2 * self.channels
        # A pipe that is ready for writing takes PIPE_BUF bytes at once (POSIX), and a block is no
        # longer than that up to 48 kHz stereo.
        if (
            unread_bytes(self._descriptor) > limit_bytes
            or not select.select([], [self._descriptor], [], 0)[1]
        ):
            return False
        while raw:
            with writing("/dev/stdout", AudioError):
                try:
                    raw = raw[os.write(self._descriptor, raw) :]
                except BrokenPipeError as error:
                    raise AudioError("standard output was closed by its reader") from error
        return True

    def close(self) -> None:
        """Standard output is not ours to close."""


def unread_bytes(descriptor: int) -> int:
    """How many bytes wait in a pipe; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    waiting = bytearray(4)
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    except OSError:
        return 0
    return (
        int.from_bytes(waiting, sys.byteorder) if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else 0
    )


def shrink_pipe(descriptor: int) -> bool:
    """Makes a pipe as small as possible, because what waits in it is delay. True once nothing is
    left to do; False while too much waits in it. Only Linux can do this, and only for pipes.
    """
    if sys.platform != "linux":
        return True
    import fcntl

    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return True
    size = PIPE_BYTES
    while size < fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
        except OSError as error:
            if error.errno != errno.EBUSY:
                return True
            size *= 2
    return size == PIPE_BYTES
