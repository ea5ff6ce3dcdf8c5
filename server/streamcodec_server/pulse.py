"""How late an event loop comes to what is due."""

from __future__ import annotations

import asyncio
from collections import deque

from .histogram import Histogram

BEAT_S = 0.025
BEATS_KEPT = 400  # ten seconds


class Pulse:
    """late: of all beats."""

    def __init__(self) -> None:
        self.late = Histogram()
        self._recent: deque[float] = deque(maxlen=BEATS_KEPT)

    @property
    def most_ms(self) -> float:
        """Of the last ten seconds."""
        return max(self._recent, default=0.0)

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            late_ms = 1_000 * max(0.0, loop.time() - due)
            self._recent.append(late_ms)
            self.late.add(late_ms)
