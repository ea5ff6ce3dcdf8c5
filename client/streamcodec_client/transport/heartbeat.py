"""Pings, because TCP waits for minutes before it gives up a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed


async def beat(connection: ClientConnection, interval_s: float, heard: Callable[[], None]) -> None:
    """Pings until the connection closes, and calls `heard` at each pong. While the socket is full,
    no ping is sent, so that no pong comes either.
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


async def pong_arrives(connection: ClientConnection) -> None:
    """Pings, and returns at the pong, which proves that both directions work. Receiving alone does
    not: after an outage each end of TCP retransmits by its own timer, and what we send may be stuck
    for a second after something has come. Never returns if the connection closes.
    """
    try:
        await (await connection.ping())
    except ConnectionClosed:
        await asyncio.Event().wait()
