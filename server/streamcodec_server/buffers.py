"""How much of what is written to a client may wait in the kernel and in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

# With its default buffers the kernel would hold minutes of audio for a listener that reads nothing,
# and asyncio's default of 32 KiB another 30 s. With a limit of 0 the event loop writes at once, and
# says when the kernel takes no more. Below TLS it keeps 64 KiB: nobody reaches that transport.
SEND_BUFFER_BYTES = 8_192
WRITE_LIMIT_BYTES, TLS_WRITE_LIMIT_BYTES = 0, 512
# A file is none the worse for its age: with the buffer above, 5 MB would take a minute where a
# round trip takes 100 ms.
DOWNLOAD_BUFFER_BYTES = 131_072


def keep_little(transport: asyncio.Transport, *, is_tls: bool) -> int:
    """What is written must leave soon, or be known to wait -> descriptor of the socket."""
    transport.set_write_buffer_limits(TLS_WRITE_LIMIT_BYTES if is_tls else WRITE_LIMIT_BYTES)
    tcp: socket.socket = transport.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tcp.fileno()


def keep_more(transport: asyncio.Transport) -> None:
    """In the kernel: a file is sent."""
    tcp: socket.socket = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # of a client that has gone: the next write finds that out
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DOWNLOAD_BUFFER_BYTES)
