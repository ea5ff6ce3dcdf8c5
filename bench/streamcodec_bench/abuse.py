"""What hostile or broken clients do to a relay, for `streamcodec loadtest --abuse`."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import socket

from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import Mute, Role

from .load_clients import (
    PING,
    TEXT,
    Client,
    Load,
    Talker,
    Tally,
    address_of,
    hello,
    joined,
    masked,
)

CROWD = 100  # listeners of the room where there is abuse


class Abuser:
    """A process of its own, beside the one whose clients are counted."""

    def __init__(self, url: str, kind: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_run, args=(url, kind), daemon=True)
        self._process.start()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _run(url: str, kind: str) -> None:
    # It is not to be the one that delays those who are counted, beside it on their core.
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(5)
    asyncio.run(_abuse(url, kind))


async def _abuse(url: str, kind: str) -> None:
    """Until it is killed, in a room of CROWD listeners of its own."""
    crowd = Load(listeners=CROWD)
    async with joined(url, crowd, Tally(), "crowd") as (talkers, _):
        while True:
            await {
                "mutes": _mutes,
                "pings": _pings,
                "flood": _flood,
                "rooms": _new_rooms,
                "halves": _half_requests,
                "reconnects": _reconnects,
            }[kind](url, talkers[0])


async def _mutes(url: str, talker: Client) -> None:
    """257 messages in one write."""
    if talker.transport is not None:
        talker.transport.write(masked(TEXT, serialize_message(Mute(True)).encode()) * 257)
    await asyncio.sleep(0.2)


async def _pings(url: str, talker: Client) -> None:
    """Asks for answers, and reads none."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(address_of(url)) as tcp, contextlib.suppress(OSError):
        tcp.setblocking(False)
        client = Client(hello(Role.LISTEN, "pings", "P"), Tally(), lambda: None)
        greeting = _Written()
        client.connection_made(greeting)
        await loop.sock_sendall(tcp, greeting.data)
        for _ in range(2_000):
            await loop.sock_sendall(tcp, masked(PING, bytes(125)) * 16)
            await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def _flood(url: str, talker: Client) -> None:
    """2,000 tiny packets a second to the crowd, of a talker that comes back when it is thrown
    out.
    """
    async with joined(url, Load(talkers=1, listeners=1), Tally(), "crowd") as (talkers, _):
        sender = Talker(talkers[0], 8, 0.5, asyncio.get_running_loop().time())
        while talkers[0].transport is not None:
            await asyncio.sleep(0.05)
        sender.stop()


async def _new_rooms(url: str, talker: Client) -> None:
    """500 rooms of two, that open and close."""
    async with joined(url, Load(rooms=500, listeners=1), Tally(), "squat"):
        await asyncio.sleep(0.5)


async def _half_requests(url: str, talker: Client) -> None:
    """Connections that begin a request and never end it."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(200):
            tcp = open_ones.enter_context(socket.create_connection(address_of(url)))
            with contextlib.suppress(OSError):
                tcp.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 4_000)
            await asyncio.sleep(0.002)
        await asyncio.sleep(1)


async def _reconnects(url: str, talker: Client) -> None:
    """500 clients at once, again and again."""
    async with joined(url, Load(listeners=499), Tally(), "storm"):
        await asyncio.sleep(0.2)


class _Written(asyncio.Transport):
    """Keeps what a client would write."""

    data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)
