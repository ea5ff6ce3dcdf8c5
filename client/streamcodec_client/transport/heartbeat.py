"""Whether the other end of a websocket is still there. TCP waits for minutes before it calls a path
dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

INTERVAL_S = 0.4


class Heartbeat:
    """Pings a connection and remembers when it was last heard. `now_s`: a monotonic clock."""

    def __init__(self, socket_: ClientConnection, now_s: Callable[[], float]) -> None:
        self._socket, self._now_s = socket_, now_s
        self._heard_s = now_s()
        self._pulse = asyncio.Event()

    def heard(self) -> None:
        """Something came."""
        self._heard_s = self._now_s()
        self._pulse.set()

    async def beat(self) -> None:
        """Pings until the connection closes, or this is cancelled. A full socket holds pings back:
        that is no sign of life.
        """
        while True:
            pong = asyncio.ensure_future(await self._socket.ping())
            pong.add_done_callback(self._answered)
            await asyncio.sleep(INTERVAL_S)

    async def silence(self, seconds: float) -> None:
        """Returns when nothing has come for so long."""
        while (left_s := self._heard_s + seconds - self._now_s()) > 0:
            await asyncio.sleep(left_s)

    async def sign_of_life(self) -> None:
        """Returns when something comes."""
        self._pulse.clear()
        await self._pulse.wait()

    async def answer(self) -> None:
        """Returns when what is sent from now on gets through: after an outage the way there may
        hang for a second after the way back has spoken, as each end of TCP repeats what it holds in
        its own time. Never, if the connection closes.
        """
        try:
            await (await self._socket.ping())
        except ConnectionClosed:
            await asyncio.Event().wait()

    def _answered(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self.heard()
