"""Pings, because TCP waits for minutes before it calls a path dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed


async def beat(connection: ClientConnection, interval_s: float, heard: Callable[[], None]) -> None:
    """Pings until the connection closes, and calls `heard` with each pong. A full socket holds the
    next ping back: that is no sign of life.
    """

    def ponged(pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            heard()

    try:
        while True:
            pong = asyncio.ensure_future(await connection.ping())
            pong.add_done_callback(ponged)
            await asyncio.sleep(interval_s)
    except ConnectionClosed:
        return


async def answer(connection: ClientConnection) -> None:
    """Returns when a ping of now has been answered, so that what is sent from now on gets through:
    after an outage the way there may hang for a second after the way back has spoken, as each end
    of TCP repeats what it holds in its own time. Never returns if the connection closes.
    """
    try:
        await (await connection.ping())
    except ConnectionClosed:
        await asyncio.Event().wait()
