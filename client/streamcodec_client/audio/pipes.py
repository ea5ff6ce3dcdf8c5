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
from .wav import (
    FULL_SCALE,
    HEADER_LIMIT,
    IEEE_FLOAT,
    PCM,
    WavHeader,
    as_int16,
    is_wav,
    parse_header,
)

# the smallest that Linux allows: 128 ms at 16 kHz mono; the default of 64 KiB is 2 s of delay
PIPE_BYTES = 4096
STDOUT_LIMIT_MS = 100
OTHER_FORMATS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"caff": "CAF", b"FORM": "AIFF"}
PAUSE_MS = 100  # a writer that is later than this has paused: time goes on meanwhile


class StdinSource:
    """A Source of raw PCM. A live pipe sets the pace itself; a file is read no faster than real
    time. The pipe is the queue: it holds PIPE_BYTES, and its writer waits while it is full.

    A WAV of this rate and these channels is taken for what it is, without its header.
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
        self._begun, self._begins_at = False, 12  # in bytes: of raw PCM, or of a WAV's samples
        self._left: int | None = None  # bytes of samples; None: until the pipe ends
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
        while not self._begun:
            if not self._collect(self._begins_at, timeout_s):
                return None
            self._look_for_header()
        wanted = size * frame_bytes
        if not self._collect(wanted if self._left is None else min(wanted, self._left), timeout_s):
            return None
        whole = len(self._partial) // frame_bytes * frame_bytes
        if self._left is not None:
            self._left -= whole
            self.ended = self.ended or self._left < frame_bytes
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

    def _collect(self, wanted: int, timeout_s: float) -> bool:
        """Whether `wanted` bytes, or all that are left, have come."""
        while len(self._partial) < wanted and not self.ended:
            if not select.select([self._descriptor], [], [], timeout_s)[0]:
                return False
            piece = os.read(self._descriptor, wanted - len(self._partial))
            self.ended = not piece
            self._partial += piece
            self._shrunk = self._shrunk or shrink_pipe(self._descriptor)
        return True

    def _look_for_header(self) -> None:
        """Takes the header of a WAV off. Raises AudioError for what would be played as noise."""
        for magic, name in OTHER_FORMATS.items():
            if self._partial.startswith(magic):
                raise AudioError(
                    f"standard input is {name}: give raw PCM or WAV, or name the file in --source"
                )
        self._begun = not is_wav(self._partial)
        if self._begun:
            return
        try:
            header = parse_header(self._partial)
        except ValueError as error:
            raise AudioError(f"standard input is no whole WAV: {error}") from error
        if isinstance(header, WavHeader):
            self._check(header)
            self._begun, self._partial, self._left = True, b"", header.data_bytes
        elif self.ended or header > HEADER_LIMIT:
            raise AudioError("standard input is no whole WAV: it holds no samples")
        else:
            self._begins_at = header

    def _check(self, header: WavHeader) -> None:
        """Raises AudioError for a WAV of another format than was asked for."""
        if (header.encoding, header.bits) != (PCM, 16):
            names = {PCM: "PCM", IEEE_FLOAT: "float"}
            kind = names.get(header.encoding, f"encoding {header.encoding}")
            raise AudioError(
                f"standard input is a WAV of {header.bits}-bit {kind}: 16-bit PCM can be piped; "
                "or name the file in --source"
            )
        if (header.sample_rate, header.channels) != (self.sample_rate, self.channels):
            raise AudioError(
                f"standard input is a WAV of {header.sample_rate} Hz and {header.channels} "
                f"channel(s): give --rate {header.sample_rate} --channels {header.channels}"
            )


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
