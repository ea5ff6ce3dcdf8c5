"""The websocket to the relay: says hello, keeps the connection alive, comes back when it breaks. It
keeps no media.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
)
from websockets.typing import Subprotocol

from streamcodec.errors import ConfigError, ConnectionRefused, MalformedMessage
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import (
    SUBPROTOCOL,
    CloseCode,
    Error,
    Hello,
    Message,
    Welcome,
)

from ..clock import Clock
from .attempts import STAGGER_S, drop, first_of
from .heartbeat import Heartbeat
from .url import check_url, is_loopback

# media and most messages stay far below; a welcome lists all talkers of a room
MAX_MESSAGE_BYTES = 1 << 20
# Behind a stalled link the kernel would take minutes of audio before a sender noticed (79,025
# packets of 50 B, measured).
SEND_BUFFER_BYTES = 8192
WRITE_LIMIT_BYTES = 256
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 5.0
# the longest in the first minute without a relay: somebody is waiting in mid-sentence
EAGER_BACKOFF_S, EAGER_S = 0.6, 60.0
STEADY_S = 5.0  # a connection that held for so long earns a quick reconnect
OPEN_TIMEOUT_S, CLOSE_TIMEOUT_S = 5.0, 1.0
# a relay that has let us in before does so at once, or the path has broken again
WELCOME_AGAIN_S = 1.5
# A connection that says nothing for SUSPECT_S gets a rival: after an outage TCP repeats what it
# holds only when its doubled time-out is over, and a new connection is there at once. After DEAD_S
# it is given up, rival or not.
SUSPECT_S, DEAD_S = 0.9, 4.5
# What the relay will say again however often it is asked. Any other end is worth another try.
FATAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, *range(4400, 4500)}) - {
    CloseCode.TOO_SLOW
}
FATAL_HTTP_STATUS = frozenset({400, 401, 403, 404, 405, 410, 426})

_SYSTEM_RANDOM = secrets.SystemRandom()


class TransportListener(Protocol):
    """Called on the event loop: must return at once."""

    def connected(self, welcome: Welcome, connection: int) -> None:
        """`connection` is 1 at first, and higher each time."""
        ...

    def disconnected(self, reason: str) -> None: ...

    def media(self, datagram: bytes, received_ns: int) -> None: ...

    def message(self, message: Message) -> None: ...


class Transport(Protocol):
    """What senders and receivers need of a connection. To be used on the event loop."""

    @property
    def connection(self) -> int | None:
        """Number of the connection that takes what is sent; None while there is none. Where a
        session goes on, it takes so before the relay has welcomed us again: that would be a round
        trip more of silence. May be read from any thread.
        """
        ...

    @property
    def tls(self) -> bool: ...

    async def send(self, datagram: bytes) -> bool:
        """Waits while the socket is full. False: there is no connection, or it broke; the datagram
        is gone.
        """
        ...

    async def send_message(self, message: Message) -> bool: ...


class RelayTransport:
    """`run` connects, and connects again with jittered back-off, until `close`."""

    def __init__(
        self,
        url: str,
        hello: Hello,
        listeners: Sequence[TransportListener],
        clock: Clock,
        *,
        first_connection_s: float = 10.0,
        jitter: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        """`first_connection_s`: how long to look for a relay that was never seen. Raises
        ConfigError for a URL that is none.
        """
        parts = urlsplit(check_url(url))
        self._url, self._hello, self._listeners, self._clock = url, hello, listeners, clock
        self._first_connection_s, self._jitter = first_connection_s, jitter
        self._proxy: Literal[True] | None = None if is_loopback(parts.hostname or "") else True
        self._closing = asyncio.Event()
        self._socket: ClientConnection | None = None
        # has said hello for a session that goes on, and not been welcomed yet
        self._resuming: ClientConnection | None = None
        self._successor: ClientConnection | None = None  # open, and has not said hello
        self._connections = self._welcomes = 0
        self._complaint = ""  # what the relay said before it closed
        self.tls = parts.scheme == "wss"

    @property
    def connection(self) -> int | None:
        return self._connections if (self._socket or self._resuming) is not None else None

    async def run(self) -> None:
        """Returns after `close`, or when the relay ends the session with 1000. Raises
        ConnectionRefused where trying again is useless, or no relay was there for
        `first_connection_s`.
        """
        connecting = asyncio.ensure_future(self._stay_connected())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({connecting, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() and self._socket is not None:
                await self._socket.close()
                await asyncio.wait({connecting}, timeout=CLOSE_TIMEOUT_S)
            if connecting.done():
                connecting.result()
        finally:
            for task in (connecting, closing):
                task.cancel()
            await asyncio.gather(connecting, closing, return_exceptions=True)
            if self._successor is not None:
                self._successor.transport.abort()

    def close(self) -> None:
        """`run` says goodbye with 1000 and returns."""
        self._closing.set()

    async def send(self, datagram: bytes) -> bool:
        return await self._write(datagram)

    async def send_message(self, message: Message) -> bool:
        return await self._write(serialize_message(message))

    async def _write(self, frame: bytes | str) -> bool:
        socket_ = self._socket or self._resuming
        if socket_ is None:
            return False
        try:
            await socket_.send(frame)
        except ConnectionClosed:
            return False
        return True

    async def _stay_connected(self) -> None:
        failures = 0
        began_ns = alone_since_ns = self._clock.now_ns()
        while not self._closing.is_set():
            attempt_ns, welcomes = self._clock.now_ns(), self._welcomes
            try:
                reason = await self._one_connection()
            except (OSError, TimeoutError, InvalidHandshake, InvalidProxy) as error:
                reason = _why_not(error, self._url)
            if reason is None:
                return
            now_ns = self._clock.now_ns()
            if self._welcomes != welcomes:
                alone_since_ns = now_ns
            if self._successor is not None:
                failures = 0
                continue
            if not self._welcomes and now_ns - began_ns >= self._first_connection_s * 1e9:
                what = (
                    f"not let in at {self._url}" if self._complaint else f"no relay at {self._url}"
                )
                raise ConnectionRefused(
                    f"{what}: {reason} (tried for {self._first_connection_s:g} s)"
                )
            lasted_s = (now_ns - attempt_ns) / 1e9
            failures = 0 if self._welcomes != welcomes and lasted_s >= STEADY_S else failures + 1
            most_s = LONGEST_BACKOFF_S
            if now_ns - alone_since_ns < EAGER_S * 1e9:
                # Attempts on a silent network have waited long enough, and are few; a relay that
                # refuses does so at once.
                most_s = FIRST_BACKOFF_S if lasted_s >= OPEN_TIMEOUT_S else EAGER_BACKOFF_S
            longest_s = min(most_s, FIRST_BACKOFF_S * 2 ** min(failures, 10))
            await asyncio.sleep(longest_s * (0.5 + 0.5 * self._jitter()))

    async def _one_connection(self) -> str | None:
        """-> why it ended; None where the relay has nothing more to say."""
        socket_, self._successor = self._successor or await first_of(self._open), None
        try:
            return await self._converse(socket_)
        finally:
            await socket_.close()  # of one that was dropped nothing is left to close

    async def _watch(self, socket_: ClientConnection, heartbeat: Heartbeat) -> None:
        """Ends a connection that has fallen silent, as soon as another has come about. One that
        speaks again before is kept, a talker's if it hears as well.
        """
        while True:
            await heartbeat.silence(SUSPECT_S)
            opening = asyncio.ensure_future(first_of(self._open))
            life = heartbeat.answer() if self._hello.role.talks else heartbeat.sign_of_life()
            ends = [asyncio.ensure_future(end) for end in (life, heartbeat.silence(DEAD_S))]
            alive, dead = ends
            try:
                await asyncio.wait({opening, *ends}, return_when=asyncio.FIRST_COMPLETED)
                opened = opening.done() and opening.exception() is None
                if dead.done() or (opened and not alive.done()):
                    self._successor = opening.result() if opened else None
                    drop(socket_)
                    return
            finally:
                for left in await _abandon(opening, *ends):
                    if isinstance(left, ClientConnection) and left is not self._successor:
                        left.transport.abort()
            await asyncio.sleep(STAGGER_S)  # a relay that refuses does so quickly

    async def _open(self, reached: Callable[[], None]) -> ClientConnection:
        def connection(*args: Any, **settings: Any) -> ClientConnection:
            reached()  # TCP is through; TLS and HTTP follow
            return ClientConnection(*args, **settings)

        try:
            return await connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,  # payloads are entropy-coded already
                proxy=self._proxy,
                max_size=MAX_MESSAGE_BYTES,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # see Heartbeat
                create_connection=connection,  # type: ignore[arg-type]
            )
        except InvalidURI as error:
            raise ConfigError(str(error)) from error

    async def _converse(self, socket_: ClientConnection) -> str | None:
        raw = socket_.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._complaint = ""
        reason: str | None = "the relay broke off"
        try:
            if socket_.subprotocol != SUBPROTOCOL:
                raise ConnectionRefused(f"{self._url} does not speak {SUBPROTOCOL}", 1002)
            await socket_.send(serialize_message(self._hello))
            if self._welcomes:
                self._connections += 1
                self._resuming = socket_
            async with asyncio.timeout(WELCOME_AGAIN_S if self._welcomes else OPEN_TIMEOUT_S):
                while self._socket is None:
                    self._expect_welcome(socket_, await socket_.recv())
            await self._listen(socket_)
        except TimeoutError:
            reason = "the relay accepted the connection and said nothing"
            drop(socket_)
        except ConnectionClosed as closed:
            reason = self._ending(closed)
        finally:
            self._resuming = None
            if self._socket is not None:
                self._socket = None
                ending = (
                    "we said goodbye"
                    if self._closing.is_set()
                    else reason or "the relay ended the session"
                )
                for listener in self._listeners:
                    listener.disconnected(ending)
        return reason

    async def _listen(self, socket_: ClientConnection) -> None:
        """Until the connection ends: raises ConnectionClosed."""
        heartbeat = Heartbeat(socket_, lambda: self._clock.now_ns() / 1e9)
        tasks = [
            asyncio.ensure_future(task)
            for task in (heartbeat.beat(), self._watch(socket_, heartbeat))
        ]
        try:
            while True:
                frame = await socket_.recv()
                heartbeat.heard()
                self._received(frame)
        finally:
            await _abandon(*tasks)

    def _expect_welcome(self, socket_: ClientConnection, frame: str | bytes) -> None:
        message = _parsed(frame)
        if isinstance(message, Error):
            self._complaint = message.message
        if not isinstance(message, Welcome):
            return
        self._connections += self._resuming is None
        self._welcomes += 1
        self._socket, self._resuming = socket_, None
        self._hello = dataclasses.replace(self._hello, resume=message.session)
        for listener in self._listeners:
            listener.connected(message, self._connections)

    def _received(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            received_ns = self._clock.now_ns()
            for listener in self._listeners:
                listener.media(frame, received_ns)
            return
        message = _parsed(frame)
        if isinstance(message, Error):
            self._complaint = message.message
        if message is not None:
            for listener in self._listeners:
                listener.message(message)

    def _ending(self, closed: ConnectionClosed) -> str | None:
        """None for a regular end; raises ConnectionRefused for a final one."""
        if closed.rcvd is None:
            return "the connection broke"
        said = self._complaint or closed.rcvd.reason
        if closed.rcvd.code in FATAL_CLOSE_CODES:
            raise ConnectionRefused(
                f"the relay refused: {said or 'no reason given'} ({closed.rcvd.code})",
                closed.rcvd.code,
            )
        if closed.rcvd.code == 1000:
            return None
        return f"the relay closed with {closed.rcvd.code}" + (f": {said}" if said else "")


async def _abandon(*tasks: asyncio.Future[Any]) -> list[Any]:
    """-> what those had come to that were done already, exceptions included."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _parsed(frame: str | bytes) -> Message | None:
    """None for what this version does not know, or cannot read: a newer relay may say more than we
    understand.
    """
    if isinstance(frame, bytes):
        return None
    try:
        return parse_message(frame)
    except MalformedMessage:
        return None


def _why_not(error: Exception, url: str) -> str:
    """One line about a connection that did not come about; raises ConnectionRefused where it never
    will.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        raise ConnectionRefused(
            f"{url}: the certificate is not trusted: {error.verify_message}"
        ) from error
    if isinstance(error, NegotiationError):
        raise ConnectionRefused(f"{url} does not speak {SUBPROTOCOL}", 1002) from error
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in FATAL_HTTP_STATUS:
            raise ConnectionRefused(
                f"{url} answers with HTTP {status}: is it a streamcodec relay?"
            ) from error
        return f"HTTP {status}"
    if isinstance(error, InvalidProxy):
        raise ConnectionRefused(str(error)) from error
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
