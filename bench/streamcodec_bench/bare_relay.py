"""What a core can carry at all: the least that passes frames on, as a peer for `streamcodec
loadtest`. It checks nothing, forgets nobody, and waits for nobody: no relay.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from typing import cast

import click

from streamcodec.wire.session import SUBPROTOCOL
from streamcodec_server.frames import frame_of
from streamcodec_server.framing import BINARY, TEXT, Framing

from .load_clients import event_loop

KEY = re.compile(rb"Sec-WebSocket-Key: (\S+)", re.IGNORECASE)
ROOM = re.compile(rb'"room": ?"([^"]*)"')
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
rooms: dict[bytes, list[asyncio.Transport]] = {}


class Bare(asyncio.Protocol):
    """One client."""

    def __init__(self) -> None:
        self._framing = Framing(65_536)
        self._request: bytes | None = b""
        self._room: list[asyncio.Transport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes
        self._transport = cast(asyncio.Transport, transport)
        tcp = transport.get_extra_info("socket")
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport in self._room:
            self._room.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._request is not None:
            head, end, data = (self._request + data).partition(b"\r\n\r\n")
            self._request = None if end else head
            if not end:
                return
            self._shake_hands(head)
        self._framing.add(data)
        while (found := self._framing.next()) is not None:
            if found.kind == BINARY:
                frame = frame_of(found.data)
                for listener in self._room:
                    listener.write(frame)
            elif found.kind == TEXT:
                self._join(found.data)

    def _shake_hands(self, head: bytes) -> None:
        key = KEY.search(head)
        accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + MAGIC).digest())  # noqa: S324
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def _join(self, hello: bytes) -> None:
        found = ROOM.search(hello)
        self._room = rooms.setdefault(found[1] if found else b"", [])
        if b'"listen"' in hello:
            self._room.append(self._transport)
        self._transport.write(frame_of("{}"))


async def serve() -> None:
    """Until it is killed; says where it listens."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", 0, backlog=4_096)
    port = server.sockets[0].getsockname()[1]
    click.echo(f"listening on ws://127.0.0.1:{port}")
    await server.serve_forever()


if __name__ == "__main__":
    with event_loop() as runner:
        runner.run(serve())
