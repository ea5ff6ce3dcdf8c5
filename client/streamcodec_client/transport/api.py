"""What senders and receivers need of a connection, and what it needs of them."""

from __future__ import annotations

from typing import Protocol

from streamcodec.wire.session import Message, Welcome


class TransportListener(Protocol):
    """Is called on the event loop and must return at once."""

    def connected(self, welcome: Welcome, connection: int) -> None:
        """The relay has let us in. `connection` is 1 at first, and higher each time."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection of the last `connected` is over."""
        ...

    def media(self, datagram: bytes, received_ns: int) -> None:
        """A media packet came at `received_ns` of the client's clock."""
        ...

    def message(self, message: Message) -> None:
        """A control message other than `Welcome` came."""
        ...


class Transport(Protocol):
    """A connection to send on. To be used on the event loop."""

    @property
    def connection(self) -> int | None:
        """Number of the connection that takes what is sent; None while there is none. A connection
        that continues a session takes media right behind its hello, before the relay has welcomed
        us again: waiting would add a round trip of silence. May be read from any thread.
        """
        ...

    @property
    def tls(self) -> bool: ...

    async def send(self, datagram: bytes) -> int:
        """Sends a packet as `packet.serialize` makes it, and waits while the socket is full -> how
        many bytes the message had, whose header may be shorter. 0: there is no connection, or it
        broke; the packet is lost.
        """
        ...

    async def send_message(self, message: Message) -> bool:
        """Waits while the socket is full. False: there is no connection, or it broke; the message
        is lost.
        """
        ...
