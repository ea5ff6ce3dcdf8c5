"""Accepting connections in turns. Event loops accept all that wait at once; making a connection of
each takes 150 us, in which nobody is heard.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

OUT_OF_FILES_S = 0.5  # after which it tries again


class Accepting:
    """Stands for the asyncio.Server of a websockets Server."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        backlog: int,
        tls: ssl.SSLContext | None,
        tls_timeout_s: float,
    ) -> None:
        """sockets: that are bound. make_protocol: is called for each connection. tls: None for
        plain connections; tls_timeout_s: for its handshake. Raises OSError.
        """
        self._loop = asyncio.get_running_loop()
        self._make_protocol = make_protocol
        self._settings: dict[str, Any] = {}
        if tls is not None:
            self._settings = {"ssl": tls, "ssl_handshake_timeout": tls_timeout_s}
        self._opening: set[asyncio.Task[Any]] = set()
        self._sockets = list(sockets)
        for listening in self._sockets:
            listening.setblocking(False)
            listening.listen(backlog)
            self._loop.add_reader(listening.fileno(), self.accept, listening)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return tuple(self._sockets)

    def is_serving(self) -> bool:
        return bool(self._sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def accept(self, listening: socket.socket) -> None:
        """One of those that wait there; the loop comes back for the others, after what else is
        due.
        """
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no more files: whoever waits would wake the loop again and again
            self._loop.remove_reader(listening.fileno())
            self._loop.call_later(OUT_OF_FILES_S, self._resume, listening)
            return
        accepted.setblocking(False)
        opening = self._loop.create_task(self._open(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def close(self) -> None:
        """Accepts no more; what was accepted stays."""
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
            listening.close()
        self._sockets.clear()

    async def wait_closed(self) -> None:
        """As of asyncio's servers; whoever is still shaking hands of TLS is given up."""
        for opening in self._opening:
            opening.cancel()

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol, accepted, **self._settings
            )
        except OSError:  # it has gone, or its handshake of TLS failed: ssl.SSLError is one, too
            accepted.close()

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self.accept, listening)


async def accept_in_turns(
    where: dict[str, Any], make_protocol: Callable[[], asyncio.Protocol], **settings: Any
) -> Accepting:
    """where: as `listening_at` gives it. settings: of Accepting. Raises OSError."""
    return Accepting(await bound_sockets(**where), make_protocol, **settings)


async def bound_sockets(**where: Any) -> list[socket.socket]:
    """Bound as asyncio's create_server would bind them, and not listening. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, **where, start_serving=False)
    sockets = [socket.socket(fileno=os.dup(bound.fileno())) for bound in server.sockets]
    server.close()
    return sockets
