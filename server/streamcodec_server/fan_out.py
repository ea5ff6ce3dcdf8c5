"""One packet to many sockets in one call of the C library (native/src/fan_out.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_void_p

from streamcodec.native.where import FILE

from .audience import Audience, FanOut
from .frames import head_bytes
from .mailbox import Counters
from .media import SHORT, WITH_COPY, Media

MOST_AT_ONCE = 256
KIND_BIT = 24  # of `taken`: from here on it says which frame was sent
TAKEN = (1 << KIND_BIT) - 1


class _Listeners(Structure):
    """ScListeners of native/src/streamcodec.h."""

    _fields_ = (
        ("sockets", c_void_p),
        ("copies", c_void_p),
        ("had", c_void_p),
        *((name, c_int32) for name in ("first", "beyond", "skip")),
    )


class _Frames(Structure):
    """ScFrames of native/src/streamcodec.h."""

    _fields_ = (
        ("serial", c_int64),
        ("distance", c_int32),
        *((name, c_char_p) for name in ("plain", "plain_short", "copied", "copied_short")),
        ("bytes", c_int32 * 4),
    )


class NativeFanOut:
    """A FanOut: while it sends, nothing else may."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._send = library.sc_fan_out
        places = c_int32 * MOST_AT_ONCE
        self._held, self._taken, self._sent = places(), places(), (c_int32 * 4)()
        self._send.restype = c_int
        self._send.argtypes = (
            *(POINTER(_Listeners), POINTER(_Frames)),
            *(places, places, c_int32 * 4),
        )
        self._listeners, self._frames = _Listeners(), _Frames()
        self._media: Media | None = None  # whose frames those are

    @property
    def works(self) -> bool:
        """Whether the library has it on this system."""
        nobody = _Listeners(), _Frames(), self._held, self._taken, self._sent
        return bool(self._send(*nobody) == 0)

    def __call__(
        self,
        audience: Audience,
        media: Media,
        first: int,
        beyond: int,
        skip: int,
        counters: Counters,
    ) -> Iterable[tuple[int, bytes]]:
        """As FanOut; MOST_AT_ONCE at most are sent to."""
        outgoing = media.outgoing
        if len(outgoing.had) < beyond:
            outgoing.reach(beyond)
        self._take(media, ended=outgoing.ended)
        listeners, sent = self._listeners, self._sent
        listeners.sockets = audience.sockets.buffer_info()[0]
        listeners.copies = audience.copies.buffer_info()[0]
        listeners.had = outgoing.had.buffer_info()[0]
        listeners.first, listeners.beyond, listeners.skip = first, beyond, skip
        sent[:] = [0, 0, 0, 0]
        waiting = self._send(listeners, self._frames, self._held, self._taken, sent)
        for frame, count in zip(media.frames, sent, strict=True):
            if count:
                counters.packets_out += count
                counters.bytes_out += count * (len(frame) - head_bytes(frame))
        if not waiting:
            return ()
        return [
            (self._held[n], _rest(media, taken) if (taken := self._taken[n]) else b"")
            for n in range(waiting)
        ]

    def _take(self, media: Media, *, ended: bool) -> None:
        """Frames for the call; those of a packet that goes to many are the same for all calls."""
        if self._media is media and not ended:
            return
        self._media, frames = media, self._frames
        frames.serial, frames.distance = media.serial, media.distance
        frames.plain, frames.plain_short, frames.copied, frames.copied_short = media.frames
        lengths = [len(frame) for frame in media.frames]
        if ended:
            lengths[SHORT] = lengths[WITH_COPY + SHORT] = 0
        frames.bytes[:] = lengths


def _rest(media: Media, taken: int) -> bytes:
    return media.frames[taken >> KIND_BIT][taken & TAKEN :]


def native_fan_out() -> FanOut | None:
    """None where the library was not built, or has no such call (Windows)."""
    try:
        library = ctypes.CDLL(str(FILE))
    except OSError:
        return None
    if not hasattr(library, "sc_fan_out"):
        return None
    made = NativeFanOut(library)
    return made if made.works else None
