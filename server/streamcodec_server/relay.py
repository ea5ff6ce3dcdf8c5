"""The relay: websockets around Rooms, one writer task for each connection, health checks, and an
orderly shutdown. It never decodes audio.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable

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
from streamcodec.listening import check_address, listening_at
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

from .mailbox import MAX_CONTROL_BACKLOG
from .members import Member
from .rooms import Refused, RoomLimits, Rooms

# With its default buffers the kernel would hold minutes of audio for a listener that reads nothing,
# and asyncio's default of 32 KiB another 30 s at 8 kbit/s.
SEND_BUFFER_BYTES = 8_192
WRITE_LIMIT_BYTES = 512
TLS_HANDSHAKE = b"\x16\x03"  # how a TLS client begins (RFC 8446, section 5.1)
MAX_REASON_BYTES = 120  # a close frame has room for 123
MAX_ERROR_CHARACTERS = 500  # an error that lists all rooms could be longer than a message may be


def monotonic_ms() -> float:
    """The machine's monotonic clock."""
    return time.monotonic() * 1000


@dataclasses.dataclass(frozen=True)
class RelayConfig:
    """Where the relay listens (port 0: any free one), what it accepts, and how long it waits: for a
    hello, for a connection to close, between pings, and for the answer to a ping. Raises
    ConfigError.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    limits: RoomLimits = dataclasses.field(default_factory=RoomLimits)
    hello_timeout_s: float = 5.0
    close_timeout_s: float = 2.0
    ping_interval_s: float = 10.0
    ping_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        check_address(self.host, self.port)
        for name in ("hello_timeout_s", "close_timeout_s", "ping_interval_s", "ping_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name):g}")
        if not 20 <= self.limits.max_queue_ms <= 10_000:
            raise ConfigError(f"max queue must be 20 to 10000 ms, got {self.limits.max_queue_ms:g}")
        # A new member is sent a message or two about each talker before it can read any.
        most_talkers = MAX_CONTROL_BACKLOG // 2
        if not 1 <= self.limits.max_talkers <= most_talkers:
            raise ConfigError(
                f"max talkers must be 1 to {most_talkers}, got {self.limits.max_talkers}"
            )
        if self.limits.rooms is not None and not self.limits.rooms:
            raise ConfigError(
                "the list of rooms is empty: name at least one, or leave the list out, so that "
                "the first member of a room creates it"
            )
        for room in self.limits.rooms or ():
            if len(room) > MAX_NAME_CHARACTERS or not room.isprintable():
                raise ConfigError(
                    f"names of rooms have at most {MAX_NAME_CHARACTERS} printable characters, "
                    f"got {room!r}"
                )


@dataclasses.dataclass(eq=False)
class _Link:
    """A member's connection. `mail`: set when its mailbox holds something new. `closing`: the task
    that disconnects a member that reads too slowly.
    """

    connection: ServerConnection
    mail: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    closing: asyncio.Task[None] | None = None


class _Connection(ServerConnection):
    """Answers TLS at once, in plain HTTP: otherwise it would wait for the end of a request line,
    and the client, which wrote wss:// for ws://, for an answer.
    """

    _begun = False

    def data_received(self, data: bytes) -> None:
        begun, self._begun = self._begun, True
        if not begun and data.startswith(TLS_HANDSHAKE):
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
                b"this relay speaks plain ws://, not TLS\n"
            )
            self.transport.close()
        else:
            super().data_received(data)


class Relay:
    """Connects websockets to Rooms. `async with Relay(config).running() as server` accepts
    connections until the block ends.
    """

    def __init__(self, config: RelayConfig, clock: Callable[[], float] = monotonic_ms) -> None:
        """`clock`: time in ms from any origin, never going backwards."""
        self.config, self.clock = config, clock
        self.rooms = Rooms(config.limits)
        self._links: dict[Member, _Link] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Raises ConfigError if the address cannot be used. When the block ends, all connections
        are closed with 1012, which asks clients to come back.
        """
        server = await self._listen()
        try:
            yield server
        finally:
            server.close(
                code=CloseCode.SERVICE_RESTART, reason="the relay is going down; come back soon"
            )
            loop = asyncio.get_running_loop()
            cut = loop.call_later(self.config.close_timeout_s, self._abort_connections)
            await server.wait_closed()
            cut.cancel()

    def health(self) -> dict[str, object]:
        """What /healthz answers."""
        rooms = self.rooms.rooms.values()
        return {
            "status": "ok",
            "rooms": len(rooms),
            "talkers": sum(len(room.talkers) for room in rooms),
            "listeners": sum(room.listening for room in rooms),
            **dataclasses.asdict(self.rooms.counters),
        }

    async def _listen(self) -> Server:
        with listening_at(self.config.host, self.config.port) as where:
            return await serve(
                self._serve_connection,
                **where,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                process_request=self._answer_http,
                # Payloads are incompressible, and compression takes 50 KiB for each connection.
                compression=None,
                create_connection=_Connection,
                max_size=max(MAX_MESSAGE_BYTES, HEADER_BYTES + MAX_PAYLOAD_BYTES),
                write_limit=WRITE_LIMIT_BYTES,
                close_timeout=self.config.close_timeout_s,
                ping_interval=self.config.ping_interval_s,
                ping_timeout=self.config.ping_timeout_s,
            )

    def _abort_connections(self) -> None:
        for link in self._links.values():
            link.connection.transport.abort()

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers /healthz and /readyz, and refuses websockets of another subprotocol."""
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

    async def _serve_connection(self, connection: ServerConnection) -> None:
        try:
            _shrink_buffers(connection)
            hello = await self._read_hello(connection)
            member, told = self.rooms.join(hello)
        except Refused as refused:
            await _refuse(connection, refused)
            return
        except ConnectionClosed:
            return
        link = self._links[member] = _Link(connection)
        while self.rooms.replaced:
            if old := self._links.get(self.rooms.replaced.pop()):
                # Its client no longer reads from it: a close handshake would get no answer.
                old.connection.transport.abort()
        self._wake(told)
        writer = asyncio.create_task(self._write(member, link))
        try:
            await self._read(member, connection)
        except Refused as refused:
            writer.cancel()
            await _refuse(connection, refused)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            del self._links[member]
            self._wake(self.rooms.leave(member))

    async def _read_hello(self, connection: ServerConnection) -> Hello:
        timeout_s = self.config.hello_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                first = await connection.recv()
        except TimeoutError:
            raise Refused(CloseCode.POLICY_VIOLATION, f"no hello within {timeout_s:g} s") from None
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
        async for frame in connection:
            try:
                if isinstance(frame, bytes):
                    check(frame)
                    self._wake(self.rooms.publish(member, frame, self.clock()))
                elif (message := parse_message(frame)) is not None:
                    self._wake(self.rooms.control(member, message, self.clock()))
            except UnsupportedVersion as error:
                raise Refused(CloseCode.VERSION, str(error)) from error
            except (MalformedPacket, MalformedMessage) as error:
                raise Refused(CloseCode.MALFORMED, str(error)) from error

    async def _write(self, member: Member, link: _Link) -> None:
        """A task of its own for each connection, so that a listener that reads nothing blocks no
        other.
        """
        with contextlib.suppress(ConnectionClosed):
            while True:
                await link.mail.wait()
                link.mail.clear()
                while (item := member.mailbox.take(self.clock())) is not None:
                    await link.connection.send(item)

    def _wake(self, members: Iterable[Member]) -> None:
        for member in members:
            if link := self._links.get(member):
                link.mail.set()
        while self.rooms.overflowed:
            # A member's mailbox may overflow again before its connection is closed.
            link = self._links.get(self.rooms.overflowed.pop())
            if link is not None and link.closing is None:
                link.closing = asyncio.create_task(self._close_too_slow(link.connection))

    async def _close_too_slow(self, connection: ServerConnection) -> None:
        """`close` waits until the close frame is written, behind all that the other end does not
        read: after a time-out the connection is aborted.
        """
        try:
            async with asyncio.timeout(self.config.close_timeout_s):
                await connection.close(CloseCode.TOO_SLOW, "this listener reads too slowly")
        except TimeoutError:
            connection.transport.abort()


async def _refuse(connection: ServerConnection, refused: Refused) -> None:
    message = str(refused)
    with contextlib.suppress(ConnectionClosed):
        error = Error(refused.code, message[:MAX_ERROR_CHARACTERS])
        await connection.send(serialize_message(error))
        reason = message.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        await connection.close(refused.code, reason)


def _shrink_buffers(connection: ServerConnection) -> None:
    tcp = connection.transport.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
