"""A relay in the test's process, and clients of it over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Packet, parse
from streamcodec.wire.session import SUBPROTOCOL, Hello, Role, StreamInfo, Welcome
from streamcodec.wire.short_headers import Restorer
from streamcodec_bench.load_clients import masked
from streamcodec_server.certificate import Certificate
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Member
from streamcodec_server.pages import Page
from streamcodec_server.proxies import Proxies
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig
from streamcodec_server.tokens import Keys

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000)
# Only so that a broken relay fails a test instead of hanging it; no test depends on its length.
PATIENCE_S = 20
NO_BUDGETS = {"packets_per_s": 1e9, "bytes_per_s": 1e9, "control_per_s": 1e9}


class ManualClock:
    """The relay's time in ms, moved by the test, and by `step_ms` whenever the relay reads it."""

    def __init__(self) -> None:
        self.now_ms = self.step_ms = 0.0

    def __call__(self) -> float:
        self.now_ms += self.step_ms
        return self.now_ms


@contextlib.asynccontextmanager
async def relay(
    limits: RoomLimits | None = None,
    *,
    hello_timeout_s: float = PATIENCE_S,
    close_timeout_s: float = 0.05,
    ping_interval_s: float = 3_600,
    origins: frozenset[str] = frozenset(),
    keys: Keys | None = None,
    certificate: Certificate | None = None,
    proxies: tuple[str, ...] = (),
    page: Page | None = None,
) -> AsyncIterator[tuple[Relay, ManualClock, str]]:
    """A relay whose keepalive never ends a connection: what a test sees ended, the relay ended."""
    clock = ManualClock()
    config = RelayConfig(
        port=0,
        limits=limits or RoomLimits(),
        hello_timeout_s=hello_timeout_s,
        close_timeout_s=close_timeout_s,
        ping_interval_s=ping_interval_s,
        origins=origins,
        keys=keys,
        certificate=certificate,
        proxies=Proxies(proxies),
        page=page,
    )
    running = Relay(config, clock)
    async with running.running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield running, clock, f"ws://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def member(url: str, hello: Hello) -> AsyncIterator[tuple[ClientConnection, Welcome]]:
    async with connect(
        url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
    ) as connection:
        await connection.send(serialize_message(hello))
        welcome = parse_message(str(await connection.recv()))
        assert isinstance(welcome, Welcome)
        yield connection, welcome


def listeners(running: Relay) -> list[Member]:
    return [m for room in running.rooms.rooms.values() for m in room.members if m.role.listens]


@contextlib.asynccontextmanager
async def plain_socket(url: str) -> AsyncIterator[socket.socket]:
    """A websocket whose handshake is done, and of which nothing more is read: a library would go on
    reading.
    """
    host, _, port = url.removeprefix("ws://").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as tcp:
        # Before it connects, or the receive window is large already.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        tcp.setblocking(False)
        await loop.sock_connect(tcp, (host, int(port)))
        request = (
            b"GET / HTTP/1.1",
            b"Host: x",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Protocol: streamcodec.v3",
        )
        await loop.sock_sendall(tcp, b"\r\n".join((*request, b"", b"")))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(tcp, 64)
        assert b" 101 " in answer
        yield tcp


@contextlib.asynccontextmanager
async def stuck_listener(running: Relay, url: str) -> AsyncIterator[socket.socket]:
    """Joins room a, and reads nothing."""
    async with plain_socket(url) as tcp:
        before = len(listeners(running))
        hello = serialize_message(Hello(Role.LISTEN, "a")).encode()
        await asyncio.get_running_loop().sock_sendall(tcp, masked(1, hello))
        async with asyncio.timeout(PATIENCE_S):
            while len(listeners(running)) == before:
                await asyncio.sleep(0.01)
        yield tcp


async def closing_code(connection: ClientConnection) -> tuple[int, str]:
    """How the relay ends a connection, whatever it says before."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code, closed.rcvd.reason


_restorers: weakref.WeakKeyDictionary[ClientConnection, Restorer] = weakref.WeakKeyDictionary()


async def next_media(connection: ClientConnection) -> Packet:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if isinstance(item := await connection.recv(), bytes):
                return parse(_restorers.setdefault(connection, Restorer()).restore(item))
