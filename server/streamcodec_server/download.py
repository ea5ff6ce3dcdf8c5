"""The body of an answer over HTTP that is too large to be written at once."""

from __future__ import annotations

import asyncio

from .buffers import keep_more
from .connection import Connection
from .turns import Turns

PIECE_BYTES = 16_384  # takes the kernel 5 us, and TLS 10


class Download(asyncio.Protocol):
    """Stands in for a connection whose answer's head is written: a piece of the body follows
    whenever its turn has come and the transport takes it, so one piece is all that waits outside
    the kernel (and TLS). Then the connection has its transport back, and ends.

    What its client still sends is not read, or it could keep the relay busy for as long as it takes
    the file slowly. Whoever takes no piece for long is found by the relay's watch over
    `blocked_ms`, as listeners are.
    """

    __slots__ = (
        "_at",
        "_body",
        "_connection",
        "_is_blocked",
        "_patience_s",
        "_transport",
        "_turns",
    )

    def __init__(
        self, connection: Connection, transport: asyncio.Transport, turns: Turns, patience_s: float
    ) -> None:
        """turns: in which pieces are written. patience_s: for the other end to take what the kernel
        holds at the end, and to close.
        """
        self._connection, self._transport, self._turns = connection, transport, turns
        self._body, self._at, self._patience_s = memoryview(connection.body), 0, patience_s
        self._is_blocked = connection.blocked_ms is not None

    def begin(self) -> None:
        """Takes the transport over."""
        keep_more(self._transport)
        self._transport.pause_reading()
        self._transport.set_protocol(self)
        if not self._is_blocked:
            self._turns.add(self._write_on)

    def pause_writing(self) -> None:
        self._is_blocked = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._connection.resume_writing()
        self._turns.add(self._write_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def _write_on(self) -> None:
        """A piece, in its turn."""
        if self._transport.is_closing():
            return
        piece = self._body[self._at : self._at + PIECE_BYTES]
        if not piece:
            self._finish()
            return
        self._at += len(piece)
        self._transport.write(piece)
        if not self._is_blocked:
            self._turns.add(self._write_on)

    def _finish(self) -> None:
        self._transport.set_protocol(self._connection)
        self._transport.resume_reading()
        self._connection.end(self._patience_s)
