"""Rooms that span relays over a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from relay_clients import INFO, PATIENCE_S, member, next_media, relay
from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import Hello, Mute, Role, StreamEnd, StreamStart
from streamcodec_server.nats_bus import nats_bus
from streamcodec_server.spans import spans

SERVER = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
    "nats-server"
)
pytestmark = pytest.mark.skipif(SERVER is None, reason="no nats-server here")


class Server:
    """A NATS server that can be ended and started again."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        assert SERVER is not None
        self._process = await asyncio.create_subprocess_exec(
            *(SERVER, "--addr", "127.0.0.1", "--port", str(self.port)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.kill()


async def message_of(connection: ClientConnection, kind: type) -> object:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = await connection.recv()
            if isinstance(said, str) and isinstance(message := parse_message(said), kind):
                return message


async def test_who_talks_at_one_relay_is_heard_at_the_other(server: Server) -> None:
    async with (
        relay() as (here, _, here_url),
        relay() as (there, _, there_url),
        spans(here, server.url),
        spans(there, server.url),
        member(here_url, Hello(Role.LISTEN, "a")) as (lis, _),
        member(there_url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
    ):
        start = await message_of(lis, StreamStart)
        assert isinstance(start, StreamStart)
        assert start.name == "Ada"
        for n in range(4):
            datagram = serialize(Packet(Flags.VOICE, 0, n, 320 * n, b"voice"))
            await ada.send(datagram)
        assert [(await next_media(lis)).sequence for _ in range(4)] == [0, 1, 2, 3]
        await ada.send(serialize_message(Mute(True)))
        assert await message_of(lis, Mute) == Mute(True, start.stream)
        await ada.close()
        assert await message_of(lis, StreamEnd) == StreamEnd(start.stream)


async def test_a_bus_that_dies_and_comes_back_brings_nothing_old(server: Server) -> None:
    async with (
        relay() as (here, here_clock, here_url),
        relay() as (there, there_clock, there_url),
        spans(here, server.url),
        spans(there, server.url),
        member(here_url, Hello(Role.LISTEN, "a")) as (lis, _),
        member(there_url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
    ):

        async def time_passes() -> None:  # heartbeats are by the relays' clocks
            while True:
                await asyncio.sleep(0.01)
                here_clock.now_ms += 10
                there_clock.now_ms += 10

        passing = asyncio.create_task(time_passes())
        await message_of(lis, StreamStart)
        await server.kill()
        assert isinstance(await message_of(lis, StreamEnd), StreamEnd)
        for n in range(10):
            captured = round(16 * there_clock.now_ms)
            await ada.send(serialize(Packet(Flags.VOICE, 0, n, captured, b"unheard")))
            await asyncio.sleep(0.02)
        await server.start()
        await message_of(lis, StreamStart)
        captured = round(16 * there_clock.now_ms)
        await ada.send(serialize(Packet(Flags.VOICE, 0, 10, captured, b"heard")))
        assert (await next_media(lis)).payload == b"heard"
        passing.cancel()


async def test_without_a_server_the_reason_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no message bus at nats://127\.0\.0\.1:1: "):
        async with nats_bus("nats://name:secret@127.0.0.1:1", lambda *_: None, print):
            pass
