"""What a jitter buffer takes and gives: the protocol of all playout buffers and its value types.
Sans-I/O: time is an argument.

Packets are received whenever the network delivers them, and one is polled per packet duration. The
sound sink polls whenever it needs one packet more, so a buffer has no clock of its own that could
drift against the sink's.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Protocol

from ..wire.packet import Flags
from ..wire.redundancy import Copy


class Arrival(enum.Enum):
    """What became of a packet that was received."""

    BUFFERED = "buffered"
    LATE = "late"  # its turn was over: it will not be played
    DUPLICATE = "duplicate"


@dataclasses.dataclass(frozen=True, slots=True)
class Play:
    """Decode and play this payload.

    sequence, capture_time: as on the wire, mod 2^32. waited_ms: from arrival to now. follows: the
    packet before it was the last to be played or concealed; where it was not, the decoder must be
    reset first. speed: 1.1 plays it in 1/1.1 of the time that it took to speak.
    """

    payload: bytes
    sequence: int
    flags: Flags
    waited_ms: float
    follows: bool
    speed: float = 1.0
    capture_time: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Conceal:
    """Packet `sequence` is due and has not arrived: play a substitute of one packet's length."""

    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutStatistics:
    """Counts of packets since the beginning, and delays in ms.

    Copies count as `recovered` and `played` only. For the packets themselves: received = played -
    recovered + late + duplicate + skipped + those that wait.
    """

    received: int
    played: int
    lost: int  # sequence numbers that never came
    late: int  # came after their turn
    duplicate: int
    skipped: int  # came in time and were dropped to keep the delay bounded
    concealed: int  # polls that were answered with Conceal
    underruns: int  # times that the buffer ran empty while playing
    restarts: int  # times that the sequence numbers began anew
    recovered: int  # played from a coarser copy that a later packet brought
    buffer_ms: float  # audio that waits
    delay_ms: float  # from arrival to poll, smoothed over 16 packets
    target_ms: float  # the delay that is aimed at now


class PlayoutBuffer(Protocol):
    """What a receiver needs of a jitter buffer. Not thread-safe: one thread receives and polls."""

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        """A packet arrived. `sequence` and `capture_time` as on the wire, mod 2^32."""
        ...

    def recover(self, copy: Copy, now_ms: float) -> bool:
        """A packet that was received before carried a coarser copy of an earlier one. True where
        the copy is kept: the packet itself has not come, and its turn is not over.
        """
        ...

    def poll(self, now_ms: float) -> Play | Conceal | None:
        """Audio needs one packet more; `now_ms` is when it will begin to be heard. None: nothing is
        due, play silence and ask again soon.
        """
        ...

    def end(self) -> None:
        """No more will come: what waits is still played, and nothing is concealed after it."""
        ...

    def resume(self) -> None:
        """Takes `end` back: more may come after all, as after a mute."""
        ...

    @property
    def drained(self) -> bool:
        """`end` was called, and everything that waited has been played."""
        ...

    def statistics(self) -> PlayoutStatistics: ...
