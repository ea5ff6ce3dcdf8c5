"""Opens a websocket to a relay, and resets one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidMessage,
    InvalidStatus,
    NegotiationError,
    WebSocketException,
)
from websockets.typing import Subprotocol

from streamcodec.errors import ConnectionRefused
from streamcodec.live.reconnect_events import Failed
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.session import SUBPROTOCOL

from .failures import Progress, failure
from .proxy import Proxy, proxy_for
from .tls import speaks_tls, tls_context
from .url import check_url

# Media and most messages are far smaller; a welcome lists all talkers of a room.
MAX_MESSAGE_BYTES = 1 << 20
WRITE_LIMIT_BYTES = 256


@dataclass(frozen=True)
class Route:
    """How to get to a relay. tls: None for ws://."""

    proxy: Proxy | None
    tls: ssl.SSLContext | None


def route_to(url: str, ca: Path | None = None) -> Route:
    """`ca`: PEM file of the certificate authorities to trust instead of the system's. Raises
    ConfigError for a URL that names no relay, and where the environment's proxy or the certificates
    cannot be used.
    """
    check_url(url)
    return Route(proxy_for(url), tls_context(url, ca))


# Opens one connection; calls what it is given once TCP is through.
Opener = Callable[[Callable[[], None]], Awaitable[ClientConnection | Failed]]


def websocket_opener(url: str, timing: Timing, route: Route) -> Opener:
    """Opens connections to the relay at `url`."""
    proxy = route.proxy
    settings: dict[str, Any] = {} if route.tls is None else {"ssl": route.tls}
    asked_for_tls = route.tls is not None or proxy is not None  # or cannot be asked

    async def open_(reached: Callable[[], None]) -> ClientConnection | Failed:
        nonlocal asked_for_tls
        progress = Progress()

        def connection(*args: Any, **kwargs: Any) -> ClientConnection:
            progress.reached = True
            reached()  # TLS and HTTP follow
            return _Connection(progress, *args, **kwargs)

        try:
            opened = await connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,  # payloads are entropy-coded already
                proxy=None if proxy is None else proxy.url,
                max_size=MAX_MESSAGE_BYTES,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=timing.open_s,
                close_timeout=timing.close_s,
                ping_interval=None,  # see heartbeat.py
                create_connection=connection,  # type: ignore[arg-type]
                **settings,
            )
            if opened.subprotocol != SUBPROTOCOL:
                opened.transport.abort()
                raise NegotiationError("the server chose no subprotocol")
        except (OSError, TimeoutError, WebSocketException) as error:
            # What wants TLS closes, says so in HTTP/1.0, or answers 400 (nginx).
            odd = isinstance(error, InvalidMessage) or (
                isinstance(error, InvalidStatus) and error.response.status_code == 400
            )
            if odd and not asked_for_tls:
                asked_for_tls = True  # once: it costs a connection
                relay = urlsplit(url)
                if await speaks_tls(relay.hostname or "", relay.port or 80):
                    said = "the server speaks TLS: give a wss:// URL"
                    return Failed(said, ConnectionRefused(f"{url}: {said}"))
            return failure(error, url, progress, proxy)
        return opened

    return open_


class _Connection(ClientConnection):
    """Notes how far the handshake comes."""

    def __init__(self, progress: Progress, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._progress = progress

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._progress.encrypted = True
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._progress.first_bytes = self._progress.first_bytes or data
        super().data_received(data)
        if self.protocol.handshake_exc is not None:
            # `websockets` would wait until a server closes that has not answered in HTTP.
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        # Where TLS failed within a proxy's tunnel, the connection was never made, and `websockets`
        # (17) would raise AttributeError.
        if self._progress.encrypted:
            super().connection_lost(exc)


def drop(connection: ClientConnection) -> None:
    """Resets a connection and discards what the kernel has not delivered yet. After an orderly
    close TCP would go on retransmitting it, and seconds later the relay would receive an old hello,
    and listeners old audio.
    """
    _set_option(connection, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def limit_send_buffer(connection: ClientConnection, most_bytes: int) -> None:
    """How much the kernel takes before `send` waits."""
    _set_option(connection, socket.SO_SNDBUF, most_bytes)


def _set_option(connection: ClientConnection, option: int, value: int | bytes) -> None:
    raw = connection.transport.get_extra_info("socket")  # None where TLS has ended
    if raw is not None:
        with contextlib.suppress(OSError):  # it may have broken by itself
            raw.setsockopt(socket.SOL_SOCKET, option, value)


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
