"""Outlets of members that write to real sockets, without an event loop."""

from __future__ import annotations

import contextlib
import socket

from streamcodec.wire.packet import Packet, parse
from streamcodec.wire.session import CloseCode
from streamcodec.wire.short_headers import Restorer
from streamcodec_server.frames import BINARY, head_bytes, message_in
from streamcodec_server.mailbox import HELD
from streamcodec_server.members import Member


def tcp_pair(buffer_bytes: int | None) -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection. buffer_bytes: how little the kernel is to hold of what is sent from
    the first to the second: it then takes parts of frames.
    """
    with socket.socket() as server, contextlib.ExitStack() as on_failure:
        theirs = on_failure.enter_context(socket.socket())
        if buffer_bytes is not None:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        server.bind(("127.0.0.1", 0))
        server.listen()
        theirs.connect(server.getsockname())
        ours, _ = server.accept()
        on_failure.pop_all()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


class SocketOutlet:
    """A connection whose client reads when it is asked to. What the kernel does not take waits
    here, as it would in an event loop.
    """

    def __init__(self, *, direct: bool, buffer_bytes: int | None = None) -> None:
        self._ours, self._theirs = tcp_pair(buffer_bytes)
        self.descriptor = self._ours.fileno() if direct else HELD
        self.writable = True
        self.waiting = self.read = b""
        self.member: Member | None = None
        self.written_here = 0

    def write(self, frame: bytes) -> None:
        self.written_here += 1
        self.waiting += frame
        self._push()

    def abort(self) -> None:
        self.writable = False

    def dismiss(self, code: CloseCode, reason: str) -> None:
        self.writable = False

    def take(self, now_ms: float) -> None:
        """The client reads all that is there."""
        while True:
            with contextlib.suppress(BlockingIOError):
                self.read += self._theirs.recv(1 << 20)
                continue
            before = len(self.waiting)
            self._push()
            if self.waiting or not before:
                break
        if self.writable and self.member is not None:
            self.member.mailbox.flush(now_ms)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def packets(self) -> list[Packet]:
        """All that was read, as a client makes packets of it."""
        restorer, packets, data = Restorer(), [], self.read
        while data:
            size = data[1] if data[1] < 126 else int.from_bytes(data[2:4], "big")
            end = head_bytes(data) + size
            assert len(data) >= end, "half a frame"
            if data[0] == BINARY:
                packets.append(parse(restorer.restore(bytes(message_in(data[:end])))))  # type: ignore[arg-type]
            data = data[end:]
        return packets

    def _push(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.waiting:
                self.waiting = self.waiting[self._ours.send(self.waiting) :]
        self.writable = not self.waiting
        if self.member is not None:
            self.member.mailbox.settle()
