"""A small websockets server in place of a relay, a forwarder that can hang between it and a client,
and a client that writes down what happens to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from fakes import WAIT_S, fake_info
from streamcodec.live.reconnect_events import Failed
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import (
    SUBPROTOCOL,
    Error,
    Hello,
    Message,
    Role,
    StreamStart,
    Welcome,
)
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.transport.opening import Opener, route_to, websocket_opener
from streamcodec_client.transport.relay import RelayTransport

HELLO = Hello(Role.TALK, "lobby", "anna", fake_info())
WELCOME = Welcome("session", "lobby", 1, (StreamStart(2, "bert", fake_info()),), 2, 0)


class StandInRelay:
    """Welcomes everybody unless told what to do instead; keeps what it receives."""

    def __init__(self, subprotocol: str | None = SUBPROTOCOL) -> None:
        self.port = 0
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.endings: asyncio.Queue[int] = asyncio.Queue()
        self.refusals: list[tuple[Error | None, int]] = []
        self.silences = 0  # how many of the next clients get no answer
        self.connection: ServerConnection | None = None
        self._subprotocols = [Subprotocol(subprotocol)] if subprotocol else None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self, **settings: Any) -> None:
        self._server = await serve(
            self._meet, "127.0.0.1", self.port, subprotocols=self._subprotocols, **settings
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def die(self) -> None:
        """As a killed process would: sockets are closed and nobody is told."""
        assert self._server is not None
        for connection in self._server.connections:
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def hello(self) -> Message:
        """The next frame that came, which must be a message."""
        frame = await self.received.get()
        assert isinstance(frame, str)
        return parse_message(frame)

    async def _meet(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # tests end connections in the middle of frames
            self.received.put_nowait(await connection.recv())
            if self.silences:
                self.silences -= 1
                await connection.wait_closed()
                return
            if self.refusals:
                message, code = self.refusals.pop(0)
                if message is not None:
                    await connection.send(serialize_message(message))
                await connection.close(code)
                return
            await connection.send(serialize_message(WELCOME))
            self.connection = connection
            async for frame in connection:
                self.received.put_nowait(frame)
            self.endings.put_nowait(connection.close_code or 0)


@contextlib.asynccontextmanager
async def standing_in(relay: StandInRelay, **settings: Any) -> AsyncIterator[StandInRelay]:
    await relay.start(**settings)
    try:
        yield relay
    finally:
        await relay.die()


class Forwarder:
    """Between client and relay. While it hangs, the connections it has pass nothing on; new ones
    are let through.
    """

    def __init__(self, relay: StandInRelay) -> None:
        self._relay = relay
        self._port = 0
        self._opened = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._hanging: set[int] = set()
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        self._hanging |= set(range(self._opened))

    def release(self) -> None:
        self._released.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._released.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._opened = self._opened, self._opened + 1
        there, back = await asyncio.open_connection("127.0.0.1", self._relay.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pipe(number, reader, back), self._pipe(number, there, writer))

    async def _pipe(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if number in self._hanging:
                    await self._released.wait()
                writer.write(data)
            writer.close()


class Diary:
    """A TransportListener that writes down what happens."""

    def __init__(self) -> None:
        self.entries: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.entries.put_nowait(("connected", connection))

    def disconnected(self, reason: str) -> None:
        self.entries.put_nowait(("disconnected", reason))

    def media(self, datagram: bytes, received_ns: int) -> None:
        self.entries.put_nowait(("media", datagram))

    def message(self, message: Message) -> None:
        self.entries.put_nowait(("message", message))

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(WAIT_S):
            return await self.entries.get()


class StoppableOpener:
    """Opens connections as the real opener does, until `stop`: attempts begun after that hang."""

    def __init__(self, url: str) -> None:
        self._open = websocket_opener(url, Timing(), route_to(url))
        self._stopped = False
        self.hanging = asyncio.Event()  # an attempt has begun in vain

    def stop(self) -> None:
        self._stopped = True

    async def __call__(self, reached: Callable[[], None]) -> ClientConnection | Failed:
        if self._stopped:
            self.hanging.set()
            await asyncio.Event().wait()
        return await self._open(reached)


class Client:
    """A transport that runs beside the test."""

    def __init__(
        self,
        url: str,
        *,
        first_connection_s: float = 10.0,
        timing: Timing | None = None,
        opener: Opener | None = None,
    ) -> None:
        self.diary = Diary()
        self.transport = RelayTransport(
            url,
            HELLO,
            [self.diary],
            MonotonicClock(),
            first_connection_s=first_connection_s,
            jitter=lambda: 0.0,
            timing=timing,
            opener=opener,
        )
        self.running = asyncio.ensure_future(self.transport.run())

    async def ends(self) -> None:
        """Waits until `run` returns, and raises what it raised."""
        async with asyncio.timeout(WAIT_S):
            await self.running

    async def leaves(self) -> None:
        self.transport.close()
        await self.ends()
