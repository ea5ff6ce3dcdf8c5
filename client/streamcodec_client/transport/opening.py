"""Opens a websocket to a relay, says why that failed, and resets one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
)
from websockets.typing import Subprotocol

from streamcodec.errors import ConfigError, ConnectionRefused
from streamcodec.live.reconnect_events import Failed
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.session import SUBPROTOCOL

from .url import is_loopback

# Media and most messages are far smaller; a welcome lists all talkers of a room.
MAX_MESSAGE_BYTES = 1 << 20
WRITE_LIMIT_BYTES = 256
FATAL_HTTP_STATUS = frozenset({400, 401, 403, 404, 405, 410, 426})

# What opening may raise for reasons that lie outside this program.
OpeningError = OSError | TimeoutError | InvalidHandshake | InvalidProxy
# Opens one connection; calls what it is given once TCP is through.
Opener = Callable[[Callable[[], None]], Awaitable[ClientConnection]]


def websocket_opener(url: str, timing: Timing) -> Opener:
    """Opens connections to the relay at `url`. The opener raises OpeningError, and ConfigError for
    a URL that `websockets` cannot read.
    """
    loopback = is_loopback(urlsplit(url).hostname or "")
    proxy: Literal[True] | None = None if loopback else True  # True: the environment's proxy

    async def open_(reached: Callable[[], None]) -> ClientConnection:
        def connection(*args: Any, **settings: Any) -> ClientConnection:
            reached()  # TLS and HTTP follow
            return ClientConnection(*args, **settings)

        try:
            opened = await connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,  # payloads are entropy-coded already
                proxy=proxy,
                max_size=MAX_MESSAGE_BYTES,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=timing.open_s,
                close_timeout=timing.close_s,
                ping_interval=None,  # see heartbeat.py
                create_connection=connection,  # type: ignore[arg-type]
            )
        except InvalidURI as error:
            raise ConfigError(str(error)) from error
        if opened.subprotocol != SUBPROTOCOL:
            await opened.close()
            raise NegotiationError("the server chose no subprotocol")
        return opened

    return open_


def failure(error: OpeningError, url: str) -> Failed:
    """One line about a connection that did not come about."""
    match error:
        case ssl.SSLCertVerificationError():
            said = f"{url}: the certificate is not trusted: {error.verify_message}"
            return _final(error, said)
        case NegotiationError():
            return _final(error, f"{url} does not speak {SUBPROTOCOL}", 1002)
        case InvalidStatus():
            status = error.response.status_code
            if status in FATAL_HTTP_STATUS:
                said = f"{url} answers with HTTP {status}: is it a streamcodec relay?"
                return _final(error, said)
            return Failed(f"HTTP {status}")
        case InvalidProxy():
            return _final(error, str(error))
        case TimeoutError():
            return Failed("no answer")
        case ConnectionRefusedError():
            return Failed("connection refused")
    return Failed(str(error) or type(error).__name__)


def _final(error: Exception, said: str, close_code: int | None = None) -> Failed:
    refusal = ConnectionRefused(said, close_code)
    refusal.__cause__ = error
    return Failed(said, refusal)


def drop(connection: ClientConnection) -> None:
    """Resets a connection and discards what the kernel has not delivered yet. After an orderly
    close TCP would go on retransmitting it, and seconds later the relay would receive an old hello,
    and listeners old audio.
    """
    with contextlib.suppress(OSError):  # it may have broken by itself
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def abandon(attempt: asyncio.Task[ClientConnection | Failed]) -> None:
    """Cancels an attempt and closes what it may have opened all the same. Nothing is awaited: a
    cancellation that came in between would lose the open connection.
    """
    attempt.add_done_callback(_discard)
    attempt.cancel()


def _discard(attempt: asyncio.Task[ClientConnection | Failed]) -> None:
    if attempt.cancelled() or attempt.exception() is not None:
        return
    result = attempt.result()
    if not isinstance(result, Failed):
        result.transport.abort()
