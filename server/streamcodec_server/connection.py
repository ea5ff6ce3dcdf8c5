"""A websocket connection of the relay, as an asyncio protocol without a task of its own. The
library `websockets` shakes hands, closes, and reads what is no plain message (see `websocket`);
frames to a member are written past it, as long as the kernel takes them. What waits for a client is
bounded, whatever the client does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol, cast

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from streamcodec.wire.session import CloseCode

from .addresses import network_of
from .buffers import keep_little
from .framing import BINARY, PING, PONG, TEXT, Framing
from .limits import FRAGMENTS
from .mailbox import HELD, Mailbox
from .members import Member
from .websocket import MOST_MESSAGE_BYTES, NOT_UTF8, Websocket, shake_hands

# What asyncio may hold for a client: answers to pings and the close frame, beyond those limits
MOST_UNSENT_BYTES = 32_768
MOST_HANDSHAKE_BYTES = 16_384
TLS_HANDSHAKE = b"\x16\x03"  # how a TLS client begins (RFC 8446, section 5.1)
PING_FRAME = bytes((PING, 0))
REQUEST_END = b"\r\n\r\n"
UNWANTED_S = 1.0  # for a request, to which one that is too many may be told so
READ_AT_ONCE = 8  # frames of one client before others have their turn


class Owner(Protocol):
    """What a connection tells the relay."""

    def clock(self) -> float: ...

    def connected(self, connection: Connection) -> bool:
        """False: it must be ended."""
        ...

    def shake_hands(self, connection: Connection) -> None:
        """Its request is whole. Calls `connection.shake_hands` when its turn has come."""
        ...

    def answer(
        self, connection: Connection, protocol: ServerProtocol, request: Request
    ) -> Response | None:
        """To a request over HTTP; None: it may become a websocket."""
        ...

    def received(self, connection: Connection, message: str | bytes) -> None:
        """A message came, before or after the connection's member has joined. Raises nothing."""
        ...

    def resumed(self, mailbox: Mailbox) -> None:
        """What waits there can be written."""
        ...

    def idle_frame(self, connection: Connection, what: str) -> None:
        """Pings, pongs or fragments came: one of them."""
        ...

    def silent(self, connection: Connection) -> None:
        """It has not become a member in time."""
        ...

    def dismissed(self, connection: Connection, code: CloseCode, reason: str) -> None: ...

    def ended(self, connection: Connection) -> None:
        """Its client sends nothing more. Calls `connection.abort` when its turn has come."""
        ...

    def disconnected(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Also its member's outlet.

    writable: what is written now leaves soon. blocked_ms: since when it does not, by the relay's
    clock. heard_ms: when anything last came from it. pinged_ms: when it was last asked for a sign
    of life. peer: the address that it comes from. address: of that network, or of the client that a
    proxy names. bearer: the token that its request names. body: of an answer over HTTP, behind what
    `shake_hands` writes; who sends it calls `end`. counted: among the connections of that address.
    member: once it has joined. closing: nothing more is to be sent or taken.
    """

    __slots__ = (
        "_asked",
        "_close_timeout_s",
        "_framing",
        "_is_open",
        "_is_tls",
        "_loop",
        "_owner",
        "_reading_later",
        "_request",
        "_timer",
        "_unwanted",
        "_websocket",
        "address",
        "bearer",
        "blocked_ms",
        "body",
        "closing",
        "counted",
        "descriptor",
        "heard_ms",
        "member",
        "peer",
        "pinged_ms",
        "transport",
        "writable",
    )

    def __init__(self, owner: Owner, hello_timeout_s: float, close_timeout_s: float) -> None:
        """hello_timeout_s: for the handshake and the first message. close_timeout_s: for the other
        end's answer to a close frame.
        """
        self._owner, self._close_timeout_s = owner, close_timeout_s
        self._loop = asyncio.get_running_loop()
        self._request = b""
        self._asked = self._is_open = self._is_tls = self._reading_later = self._unwanted = False
        self._framing = Framing(MOST_MESSAGE_BYTES)
        self._websocket: Websocket | None = None  # most connections need it only to close
        timer = self._loop.call_later(hello_timeout_s, self._too_late)
        self._timer: asyncio.TimerHandle | None = timer
        self.transport: asyncio.Transport | None = None
        self.writable = self.closing = self.counted = False
        self.descriptor = HELD
        self.member: Member | None = None
        self.blocked_ms: float | None = None
        self.heard_ms = self.pinged_ms = owner.clock()
        self.peer = self.address = self.bearer = ""
        self.body = b""

    @property
    def mailbox(self) -> Mailbox | None:
        """Its member's."""
        return None if self.member is None else self.member.mailbox

    @property
    def unread_bytes(self) -> int:
        """What it has sent and nobody has looked at."""
        return len(self._framing.waiting) + len(self._request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes
        self.transport = cast(asyncio.Transport, transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        descriptor = keep_little(self.transport, is_tls=self._is_tls)
        self.descriptor = HELD if self._is_tls else descriptor
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        self.address = network_of(self.peer)
        self.writable = True
        self._unwanted = not self._owner.connected(self)
        if self._unwanted:
            self._cut_off_later(UNWANTED_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything that refers back to it is let go: the garbage collector would stop the relay
        for a tenth of a second to find a few hundred connections that have ended.
        """
        self.writable, self.closing = False, True
        self._stop_timer()
        self._owner.disconnected(self)
        self.member = self.transport = None
        if self._websocket is not None:
            self._websocket.release()
            self._websocket = None

    def data_received(self, data: bytes) -> None:
        self.heard_ms = self._owner.clock()
        if self._is_open:
            self._framing.add(data)
            self._read_on()
        elif self.closing:
            return  # it goes on sending behind an answer that ends the connection
        elif self._asked:
            self._framing.add(data)
        else:
            self._read_request(data)

    def eof_received(self) -> bool:
        """-> whether it stays open for now. Closing the sockets of a thousand clients that have
        gone takes 20 ms, too: in turns, where that can be had.
        """
        if self._is_tls:
            return False
        self._owner.ended(self)
        return True

    def pause_writing(self) -> None:
        self.writable = False
        self.blocked_ms = self._owner.clock()
        if self.member is not None:
            self.member.mailbox.settle()

    def resume_writing(self) -> None:
        self.writable = not self.closing
        self.blocked_ms = None
        if self.member is not None:
            self.member.mailbox.settle()
            self._owner.resumed(self.member.mailbox)

    def shake_hands(self) -> None:
        """When the turn of its request has come."""
        request, self._request = self._request, b""
        if self.closing or self.transport is None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        written, self._is_open = shake_hands(
            request, lambda protocol, asked: self._owner.answer(self, protocol, asked)
        )
        self._write_all([data for data in written if data or not self.body])
        if self._is_open:
            self._read_on()
        else:
            self._stop_sending()
            if self.body:
                self._stop_timer()  # it takes as long as it takes

    def joined(self, member: Member) -> None:
        """It is no longer waited for."""
        self.member = member
        self._stop_timer()

    def ping(self) -> None:
        """Asks for a sign of life."""
        if self.writable:
            self.write(PING_FRAME)

    def write(self, frame: bytes) -> None:
        """A whole websocket frame."""
        if self.transport is not None and not self.closing:
            self.transport.write(frame)

    def close(self, code: int, reason: str, last: bytes = b"") -> None:
        """Says so, behind a `last` frame. Who reads nothing never sees it, and is cut off after a
        time-out.
        """
        if self.closing or self.transport is None:
            return
        if not self._is_open:
            self._turn_away("503 Service Unavailable", reason)
            return
        self.write(last)
        websocket = self._library()
        websocket.close(code, reason)
        self._write_all(websocket.data_to_send())
        self._stop_sending()

    def end(self, seconds: float) -> None:
        """All of its body is written: the client has so long to read it, and to close."""
        self._write_all((b"",))
        self._cut_off_later(seconds)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def dismiss(self, code: CloseCode, reason: str) -> None:
        self._owner.dismissed(self, code, reason)

    def _read_request(self, data: bytes) -> None:
        """Answers TLS at once, in plain HTTP. Otherwise it would wait for the end of a request
        line, and the client, which wrote wss:// for ws://, for an answer.
        """
        self._request += data
        if self._request.startswith(TLS_HANDSHAKE):
            self._turn_away("400 Bad Request", "this relay speaks plain ws://, not TLS")
        elif self._unwanted:
            self._turn_away("429 Too Many Requests", "too many connections of this address")
        elif len(self._request) > MOST_HANDSHAKE_BYTES:
            self.abort()
        elif REQUEST_END in self._request:
            head, end, rest = self._request.partition(REQUEST_END)
            self._request, self._asked = head + end, True
            self._framing.add(rest)
            assert self.transport is not None
            self.transport.pause_reading()  # until its turn, or it could fill our memory
            self._owner.shake_hands(self)

    def _read_on(self) -> None:
        """A few frames; the rest when others have had their turn."""
        if self._reading_later:
            return
        framing = self._framing
        for _ in range(READ_AT_ONCE):
            if self.transport is None or self.transport.is_closing():
                return
            if not framing.waiting or (found := framing.next()) is None:
                return
            kind, data = found
            if kind == BINARY:
                self._owner.received(self, data)
            else:
                self._take(kind, data)
        assert self.transport is not None
        self._reading_later = True
        self.transport.pause_reading()
        self._loop.call_soon(self._read_later)

    def _read_later(self) -> None:
        self._reading_later = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            self._read_on()

    def _take(self, kind: int, data: bytes) -> None:
        if kind == TEXT:
            try:
                message = data.decode()
            except UnicodeDecodeError:
                self.close(NOT_UTF8, "a text message must be UTF-8")
            else:
                self._owner.received(self, message)
        elif kind == PING:
            self.write(bytes((PONG, len(data))) + data)
            self._check_unsent()
            self._owner.idle_frame(self, "pings")
        elif kind == PONG:
            self._owner.idle_frame(self, "pongs")
        else:
            self._owner.idle_frame(self, FRAGMENTS)
            self._hand_over(data)

    def _hand_over(self, raw: bytes) -> None:
        """Frames that the library must read."""
        websocket = self._library()
        messages = websocket.receive(raw)
        self._write_all(websocket.data_to_send())
        self._check_unsent()
        if websocket.closing:
            self._stop_sending()
        for message in messages:
            self._owner.received(self, message)

    def _library(self) -> Websocket:
        if self._websocket is None:
            self._websocket = Websocket()
        return self._websocket

    def _check_unsent(self) -> None:
        """Ends who asks for more than it takes."""
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self.abort()

    def _write_all(self, written: Iterable[bytes]) -> None:
        """What the library has to say; an empty string ends the connection."""
        for data in written:
            if self.transport is None or self.transport.is_closing():
                return
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                try:
                    self.transport.write_eof()  # and what the other end still sends is read
                except OSError:  # it is gone already
                    self.abort()
            else:
                self.transport.close()

    def _turn_away(self, status: str, why: str) -> None:
        """Answers a request of which no more is read."""
        self.closing = True
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{why}\n".encode())
        self.transport.close()

    def _stop_sending(self) -> None:
        """Nothing may follow a close frame, or an answer that is no websocket's."""
        if self.closing:
            return
        self.closing, self.writable = True, False
        if self.member is not None:
            self.member.mailbox.close()
        self._cut_off_later(self._close_timeout_s)

    def _cut_off_later(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._is_open:
            self._owner.silent(self)
        else:
            self.abort()
