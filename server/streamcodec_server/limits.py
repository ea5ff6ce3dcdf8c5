"""What members of a relay may do, and how long it remembers them."""

from __future__ import annotations

import dataclasses

from .addresses import AddressLimits

FRAGMENTS = "fragments"  # of messages: they spend the budget of packets


@dataclasses.dataclass(frozen=True)
class RoomLimits:
    """max_queue_ms: media that has waited longer, or that comes so much later than usual, is
    dropped. too_slow_ms: a listener that keeps losing media for so long is disconnected.
    max_talkers, max_listeners: of each room. rooms: names of the only rooms; None: the first member
    of a room creates it. packets_per_s, bytes_per_s, control_per_s: of each connection, on average;
    at once it may send so many seconds' worth. departed_s: for so long a stream can be resumed.
    sanction_s: for so long a moderator's word about somebody is remembered.
    """

    max_queue_ms: float = 400.0
    too_slow_ms: float = 10_000.0
    max_talkers: int = 32
    max_listeners: int = 10_000
    max_rooms: int = 1_000
    rooms: frozenset[str] | None = None
    addresses: AddressLimits = dataclasses.field(default_factory=AddressLimits)
    packets_per_s: float = 120.0
    bytes_per_s: float = 24_000.0
    control_per_s: float = 50.0
    burst_s: float = 3.0
    departed_s: float = 120.0
    sanction_s: float = 3_600.0
