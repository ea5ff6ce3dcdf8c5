"""A websocket connection of the relay: `websockets` shakes hands, reads and closes; frames to a
member are written past it, as long as the kernel takes them. What waits for a client is bounded,
whatever the client does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from streamcodec.wire.session import CloseCode

from .addresses import network_of
from .framing import Framing
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
REQUEST_END = b"\r\n\r\n"
READ_AT_ONCE = 8  # frames of one client before others have their turn


class Owner(Protocol):
    """What a connection tells the relay."""

    def connected(self, connection: Connection) -> bool:
        """False: it must be ended."""
        ...

    def disconnected(self, connection: Connection) -> None: ...

    def pinged(self, connection: Connection) -> None: ...

    def dismissed(self, connection: Connection, code: CloseCode, reason: str) -> None: ...

    def shake_hands(self, connection: Connection, data: bytes) -> None:
        """Calls `connection.feed(data)`, its request, when its turn has come."""
        ...

    def clock(self) -> float: ...


class Connection(ServerConnection):
    """Also its member's outlet.

    writable: what is written now leaves soon. blocked_ms: since when it does not, by the relay's
    clock. heard_ms: when anything last came from it. pinged_ms: when it was last asked for a sign
    of life. peer: the address that it comes from. address: of that network, or of the client that a
    proxy names. counted: among the connections of that address.
    """

    def __init__(
        self, owner: Owner, protocol: ServerProtocol, server: Server, *, close_timeout: float
    ) -> None:
        super().__init__(
            protocol,
            server,
            ping_interval=None,  # the relay asks all of them
            close_timeout=close_timeout,
            write_limit=WRITE_LIMIT_BYTES,
        )
        self._owner = owner
        self._received = 0  # bytes of the handshake
        self._request = b""
        self._asked = self._is_open = self._reading_later = False
        self._framing = Framing(most_bytes=self.protocol.max_message_size or 0)
        self._listener: Callable[[str | bytes], None] | None = None
        self._unwanted = False
        self.writable = False
        self.mailbox: Mailbox | None = None
        self.blocked_ms: float | None = None
        self.heard_ms = self.pinged_ms = owner.clock()
        self.peer = self.address = ""
        self.counted = False
        self.closing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        self.address = network_of(self.peer)
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
        if self._is_open:
            self._framing.add(data)
            self._read_on()
            return
        begun, self._received = self._received, self._received + len(data)
        if not begun and data.startswith(TLS_HANDSHAKE):
            self._turn_away("400 Bad Request", "this relay speaks plain ws://, not TLS")
        elif self._unwanted:
            self._turn_away("429 Too Many Requests", "too many connections of this address")
        elif self._received > MOST_HANDSHAKE_BYTES:
            self.abort()
        else:
            self._request += data
            head, end, rest = self._request.partition(REQUEST_END)
            if end and not self._asked:
                self._asked = True
                self._framing.add(rest)
                self._owner.shake_hands(self, head + end)
            elif self._asked:
                self._framing.add(data)

    def opened(self) -> None:
        """The handshake is done: from now on the client sends frames."""
        self._is_open, self._request = True, b""
        self._read_on()

    def listen(self, listener: Callable[[str | bytes], None]) -> None:
        """Plain messages go to `listener` from now on, which raises nothing, and no longer to the
        library's `recv`.
        """
        self._listener = listener

    def _read_on(self) -> None:
        """A few frames; the rest when others have had their turn."""
        if self._reading_later:
            return
        for _ in range(READ_AT_ONCE):
            if self.transport.is_closing() or (found := self._framing.next()) is None:
                return
            if found.message is None or self._listener is None:
                self._hand_over(found.raw)
                continue
            try:
                message = found.message.decode() if found.is_text else found.message
            except UnicodeDecodeError:
                self._hand_over(found.raw)
            else:
                self._listener(message)
        self._reading_later = True
        self.transport.pause_reading()
        self.loop.call_soon(self._read_later)

    def _read_later(self) -> None:
        self._reading_later = False
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._read_on()

    def _hand_over(self, raw: bytes) -> None:
        """Gives a frame to the library, which answers pings and closes."""
        super().data_received(raw)
        if self.transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self.abort()  # it asks for more than it takes

    def feed(self, data: bytes) -> None:
        """The request, when its turn has come."""
        super().data_received(data)

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

    def dismiss(self, code: CloseCode, reason: str) -> None:
        self._owner.dismissed(self, code, reason)
