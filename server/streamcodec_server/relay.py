"""The relay's shell around Rooms: websockets, one writer task a connection, health, and an orderly
end. It never decodes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.errors import (
    ConfigError,
    MalformedMessage,
    MalformedPacket,
    UnsupportedHello,
    UnsupportedVersion,
)
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import HEADER_BYTES, check
from streamcodec.wire.session import (
    MAX_MESSAGE_BYTES,
    MAX_NAME_CHARACTERS,
    SUBPROTOCOL,
    CloseCode,
    Error,
    Hello,
)

from .rooms import MAX_CONTROL_BACKLOG, Member, Refused, RoomLimits, Rooms

# the kernel would otherwise take minutes of audio for a listener that reads nothing
SEND_BUFFER_BYTES = 8_192
WRITE_LIMIT_BYTES = 512  # and asyncio seconds: 32 KiB, its default, is 30 s of audio at 8 kbit/s
HELLO_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
MAX_REASON_BYTES = 120  # a close frame carries 123
MAX_ERROR_CHARACTERS = 500  # a list of rooms may be longer than a message


@dataclasses.dataclass(frozen=True)
class RelayConfig:
    """Where the relay listens (port 0: any free one) and what it takes. Raises ConfigError."""

    host: str = "127.0.0.1"
    port: int = 8765
    limits: RoomLimits = dataclasses.field(default_factory=RoomLimits)

    def __post_init__(self) -> None:
        if not self.host:  # asyncio would take it for every address
            raise ConfigError("host must not be empty: 0.0.0.0 listens on all addresses")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port must be 0 to 65535, got {self.port}")
        if not 20 <= self.limits.max_queue_ms <= 10_000:
            raise ConfigError(f"max queue must be 20 to 10000 ms, got {self.limits.max_queue_ms:g}")
        if not 1 <= self.limits.max_talkers <= MAX_CONTROL_BACKLOG // 2:
            # A joiner is told of each of them before it has read anything.
            raise ConfigError(
                f"max talkers must be 1 to {MAX_CONTROL_BACKLOG // 2}, got {self.limits.max_talkers}"
            )
        if self.limits.rooms is not None and not self.limits.rooms:
            raise ConfigError(
                "the list of rooms is empty: name one, or leave the list out and whoever comes first makes a room"
            )
        for room in self.limits.rooms or ():
            if len(room) > MAX_NAME_CHARACTERS or not room.isprintable():
                raise ConfigError(
                    f"rooms have names of at most {MAX_NAME_CHARACTERS} printable characters, got {room!r}"
                )


class Relay:
    """Carries rooms. `async with Relay(config).running() as server` accepts connections until the
    block ends.
    """

    def __init__(self, config: RelayConfig) -> None:
        self.config = config
        self.rooms = Rooms(config.limits)
        self._wakers: dict[Member, asyncio.Event] = {}
        self._connections: dict[Member, ServerConnection] = {}
        self._sent_away: dict[Member, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Raises ConfigError where the address cannot be had. At the end everybody is told to come
        back: 1012.
        """
        try:
            server = await serve(
                self._serve_connection,
                self.config.host,
                self.config.port,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                process_request=self._answer_http,
                # payloads are incompressible, and each connection would cost 50 KiB more
                compression=None,
                max_size=max(MAX_MESSAGE_BYTES, HEADER_BYTES + MAX_PAYLOAD_BYTES),
                write_limit=WRITE_LIMIT_BYTES,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=10,
                ping_timeout=20,
            )
        except OSError as error:
            # asyncio wraps the system's word in one of its own; the errors of name resolution have
            # negative numbers.
            why = (
                os.strerror(error.errno)
                if error.errno and error.errno > 0
                else error.strerror or str(error)
            )
            raise ConfigError(
                f"cannot listen on {self.config.host}:{self.config.port}: {why.lower()}"
            ) from error
        except UnicodeError as error:  # asyncio encodes a name before it asks for its address
            raise ConfigError(
                f"cannot listen on {self.config.host}:{self.config.port}: that is no host name"
            ) from error
        try:
            yield server
        finally:
            server.close(
                code=CloseCode.SERVICE_RESTART, reason="the relay is going down; come back soon"
            )
            cut = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._cut_connections)
            await server.wait_closed()
            cut.cancel()

    def _cut_connections(self) -> None:
        for connection in self._connections.values():
            connection.transport.abort()

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        """/healthz and /readyz for those who watch over the relay; everything else is meant to be a
        websocket.
        """
        path = request.path.partition("?")[0]
        if path in ("/healthz", "/readyz"):
            return connection.respond(http.HTTPStatus.OK, json.dumps(self.health()) + "\n")
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
        if SUBPROTOCOL not in (name.strip() for name in offered):
            return connection.respond(
                http.HTTPStatus.UPGRADE_REQUIRED,
                f"this relay speaks the websocket subprotocol {SUBPROTOCOL}\n",
            )
        return None

    def health(self) -> dict[str, object]:
        """What /healthz says."""
        rooms = self.rooms.rooms.values()
        return {
            "status": "ok",
            "rooms": len(rooms),
            "talkers": sum(len(room.talkers()) for room in rooms),
            "listeners": sum(room.listening for room in rooms),
            **dataclasses.asdict(self.rooms.counters),
        }

    async def _serve_connection(self, connection: ServerConnection) -> None:
        try:
            _shrink_buffers(connection)
            hello = await self._read_hello(connection)
            member, told = self.rooms.join(hello)
        except Refused as refused:
            await _turn_away(connection, refused.code, str(refused))
            return
        except ConnectionClosed:
            return
        self._wakers[member], self._connections[member] = asyncio.Event(), connection
        while self.rooms.replaced:
            if old := self._connections.get(self.rooms.replaced.pop()):
                old.transport.abort()  # its client has given it up: a close frame would find nobody
        self._wake(told)
        writer = asyncio.create_task(self._write(member, connection))
        try:
            await self._read(member, connection)
        except Refused as refused:
            writer.cancel()
            await _turn_away(connection, refused.code, str(refused))
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            del self._wakers[member], self._connections[member]
            self._sent_away.pop(member, None)
            self._wake(self.rooms.leave(member))

    async def _read_hello(self, connection: ServerConnection) -> Hello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await connection.recv()
        except TimeoutError:
            raise Refused(
                CloseCode.POLICY_VIOLATION, f"no hello within {HELLO_TIMEOUT_S:g} s"
            ) from None
        if not isinstance(first, str):
            raise Refused(CloseCode.MALFORMED, "the first message must be a hello, not media")
        try:
            hello = parse_message(first)
        except UnsupportedHello as error:
            raise Refused(CloseCode.VERSION, str(error)) from error
        except MalformedMessage as error:
            raise Refused(CloseCode.MALFORMED, str(error)) from error
        if not isinstance(hello, Hello):
            raise Refused(CloseCode.MALFORMED, "the first message must be a hello")
        return hello

    async def _read(self, member: Member, connection: ServerConnection) -> None:
        async for message in connection:
            if isinstance(message, bytes):
                self._relay(member, message)
                continue
            try:
                if (control := parse_message(message)) is not None:
                    self._wake(self.rooms.control(member, control, _now_ms()))
            except MalformedMessage as error:
                raise Refused(CloseCode.MALFORMED, str(error)) from error

    def _relay(self, member: Member, datagram: bytes) -> None:
        try:
            check(datagram)
            woken = self.rooms.publish(member, datagram, _now_ms())
        except UnsupportedVersion as error:
            raise Refused(CloseCode.VERSION, str(error)) from error
        except MalformedPacket as error:
            raise Refused(CloseCode.MALFORMED, str(error)) from error
        self._wake(woken)

    async def _write(self, member: Member, connection: ServerConnection) -> None:
        """Alone with one connection: a listener that reads nothing holds up this task and
        no other.
        """
        waker = self._wakers[member]
        with contextlib.suppress(ConnectionClosed):
            while True:
                await waker.wait()
                waker.clear()
                while (item := member.mailbox.take(_now_ms())) is not None:
                    await connection.send(item)

    def _wake(self, members: Iterable[Member]) -> None:
        for member in members:
            if waker := self._wakers.get(member):
                waker.set()
        while self.rooms.overflowed:
            member = self.rooms.overflowed.pop()
            # Media may go on overflowing its mailbox until it is gone: one task sees to that.
            if member not in self._sent_away and (connection := self._connections.get(member)):
                self._sent_away[member] = asyncio.create_task(_send_away(connection))


async def _send_away(connection: ServerConnection) -> None:
    """The close frame of one that reads nothing waits behind the rest; `close` would wait with it
    for as long.
    """
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close(CloseCode.TOO_SLOW, "this listener reads too slowly")
    except TimeoutError:
        connection.transport.abort()


async def _turn_away(connection: ServerConnection, code: CloseCode, message: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.send(serialize_message(Error(code, message[:MAX_ERROR_CHARACTERS])))
        await connection.close(code, message.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


def _shrink_buffers(connection: ServerConnection) -> None:
    plug = connection.transport.get_extra_info("socket")
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _now_ms() -> float:
    return time.monotonic() * 1000
