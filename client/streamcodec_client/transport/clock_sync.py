"""Our clock against the relay's, and the round trip: NTP's four time stamps, three of them in one
message.
"""

from __future__ import annotations

import asyncio
from collections import deque

from streamcodec.wire.session import Message, Time, Welcome

from ..clock import Clock, milliseconds
from .api import Transport

FIRST_INTERVAL_S, FIRST_COUNT = 0.2, 5
INTERVAL_S = 1.0
KEPT = 16  # of these the quickest is believed: its two ways were the most alike


class ClockSync:
    """A TransportListener on the event loop; `run` asks the relay for the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=KEPT)  # round trip, offset
        self.rtt_ms: float | None = None  # the last one
        self._wake = asyncio.Event()

    @property
    def offset_ms(self) -> float | None:
        """The relay's clock less ours, right to within half the round trip; None while it has not
        answered.
        """
        return min(self._samples)[1] if self._samples else None

    async def run(self, transport: Transport) -> None:
        """Until it is cancelled."""
        while True:
            for count in range(1 << 62):
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
        """Says nothing of time."""

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
