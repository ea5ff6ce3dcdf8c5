"""A websocket connection of the relay: `websockets` shakes hands, reads and closes; frames to a
member are written past it, as long as the kernel takes them. What waits for a client is bounded,
whatever the client does.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from .addresses import network_of
from .mailbox import Mailbox

# With its default buffers the kernel would hold minutes of audio for a listener that reads nothing,
# and asyncio's default of 32 KiB another 30 s at 8 kbit/s.
SEND_BUFFER_BYTES = 8_192
WRITE_LIMIT_BYTES = 512
# What asyncio may hold for a client: answers to pings and the close frame, beyond WRITE_LIMIT_BYTES
MOST_UNSENT_BYTES = 32_768
MOST_HANDSHAKE_BYTES = 16_384
TLS_HANDSHAKE = b"\x16\x03"  # how a TLS client begins (RFC 8446, section 5.1)
PING = b"\x89\x00"


class Owner(Protocol):
    """What a connection tells the relay."""

    def connected(self, connection: Connection) -> bool:
        """False: it must be ended."""
        ...

    def disconnected(self, connection: Connection) -> None: ...

    def pinged(self, connection: Connection) -> None: ...

    def shake_hands(self, connection: Connection, data: bytes) -> None:
        """Calls `connection.feed(data)` when its turn has come, after what came before."""
        ...

    def clock(self) -> float: ...


class Connection(ServerConnection):
    """Also its member's outlet.

    writable: what is written now leaves soon. blocked_ms: since when it does not, by the relay's
    clock. heard_ms: when anything last came from it. pinged_ms: when it was last asked for a sign
    of life. address: of the network that it comes from.
    """

    def __init__(self, owner: Owner, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._owner = owner
        self._received = 0  # bytes of the handshake
        self.queued = 0  # pieces that wait for their turn at the owner's
        self._unwanted = False
        self.writable = False
        self.mailbox: Mailbox | None = None
        self.blocked_ms: float | None = None
        self.heard_ms = self.pinged_ms = owner.clock()
        self.address = ""
        self.closing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = network_of(peer[0]) if peer else ""
        tcp = transport.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.writable = True
        self._unwanted = not self._owner.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable = False
        super().connection_lost(exc)
        self._owner.disconnected(self)

    def data_received(self, data: bytes) -> None:
        """Answers TLS at once, in plain HTTP. Otherwise it would wait for the end of a request
        line, and the client, which wrote wss:// for ws://, for an answer.
        """
        self.heard_ms = self._owner.clock()
        if self.protocol.state is State.CONNECTING:
            begun, self._received = self._received, self._received + len(data)
            if not begun and data.startswith(TLS_HANDSHAKE):
                self._turn_away("400 Bad Request", "this relay speaks plain ws://, not TLS")
                return
            if self._unwanted:
                self._turn_away("429 Too Many Requests", "too many connections of this address")
                return
            if self._received > MOST_HANDSHAKE_BYTES:
                self.abort()
                return
        if self.queued or self.protocol.state is State.CONNECTING:
            self._owner.shake_hands(self, data)
        else:
            self.feed(data)

    def feed(self, data: bytes) -> None:
        """Takes what was received."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self.abort()  # it asks for more than it takes

    def _turn_away(self, status: str, why: str) -> None:
        """Answers a request of which no more is read."""
        self.transport.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{why}\n".encode())
        self.transport.close()

    def process_event(self, event: Any) -> None:
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self._owner.pinged(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.writable = False
        self.blocked_ms = self._owner.clock()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writable = True
        self.blocked_ms = None
        if self.mailbox is not None:
            self.mailbox.flush(self._owner.clock())

    def write(self, frame: bytes) -> None:
        """A whole websocket frame."""
        if self.protocol.state is State.OPEN:  # behind a close frame nothing may follow
            self.transport.write(frame)

    def abort(self) -> None:
        self.transport.abort()


def connections_of(owner: Owner) -> type[Connection]:
    """For `websockets.serve(create_connection=)`, which wants a class."""

    class Owned(Connection):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(owner, *args, **settings)

    return Owned
