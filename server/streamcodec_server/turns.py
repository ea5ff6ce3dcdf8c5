"""What may wait a little, one call in each round of the event loop: when everybody comes or goes at
once, those who stay are still heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Calls in the order in which they were added."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._added = asyncio.Event()

    def add(self, call: Callable[[], None]) -> None:
        self._waiting.append(call)
        self._added.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._added.wait()
            self._added.clear()
            while self._waiting:
                # as asyncio does: what fails in it ends nothing but this call
                loop.call_soon(self._waiting.popleft())
                await asyncio.sleep(0)

    def finish(self) -> None:
        """Makes all calls that wait, now."""
        while self._waiting:
            self._waiting.popleft()()
