"""The offset between the relay's clock and ours, and the round trip, as NTP measures them: we send
our time, the relay answers with both, and we note when the answer comes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

from streamcodec.wire.session import Message, Time, Welcome

from ..clock import Clock, milliseconds
from .api import Transport

FIRST_INTERVAL_S, FIRST_COUNT = 0.2, 5  # seconds between the first requests of a connection
INTERVAL_S = 1.0
# The sample with the shortest round trip is used: its two ways were the most alike.
KEPT_SAMPLES = 16


class ClockSync:
    """A TransportListener that asks the relay for the time while `run` runs. Event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=KEPT_SAMPLES)  # round trip, offset
        self.rtt_ms: float | None = None  # of the last answer
        self._wake = asyncio.Event()

    @property
    def offset_ms(self) -> float | None:
        """The relay's clock less ours, right to within half the round trip; None before the first
        answer.
        """
        samples = tuple(self._samples)  # the receiver's thread reads this, too
        return min(samples)[1] if samples else None

    async def run(self, transport: Transport) -> None:
        """Sends requests while there is a connection, until it is cancelled."""
        while True:
            for count in itertools.count():
                if transport.connection is None:
                    break
                await transport.send_message(Time(self._now_ms))
                await asyncio.sleep(FIRST_INTERVAL_S if count < FIRST_COUNT else INTERVAL_S)
            self._wake.clear()
            await self._wake.wait()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._wake.set()

    def disconnected(self, reason: str) -> None:
        self._samples.clear()  # the next may be another relay
        self.rtt_ms = None

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Media say nothing about the relay's clock."""

    def message(self, message: Message) -> None:
        if isinstance(message, Time):
            now_ms = self._now_ms
            rtt_ms = now_ms - message.sent_ms
            if rtt_ms >= 0:
                self.rtt_ms = rtt_ms
                self._samples.append((rtt_ms, message.relay_ms - message.sent_ms - rtt_ms / 2))

    @property
    def _now_ms(self) -> float:
        return milliseconds(self._clock.now_ns())
