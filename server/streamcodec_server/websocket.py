"""What a relay's connections leave to the library `websockets`: opening and closing handshakes,
fragments, and frames that break the rules. Sans-I/O: bytes come in, bytes go out.
"""

from __future__ import annotations

from collections.abc import Callable

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.wire.packet import HEADER_BYTES
from streamcodec.wire.session import MAX_MESSAGE_BYTES, SUBPROTOCOL

MOST_MESSAGE_BYTES = max(MAX_MESSAGE_BYTES, HEADER_BYTES + MAX_PAYLOAD_BYTES)
NOT_UTF8 = int(CloseCode.INVALID_DATA)
Answer = Callable[[ServerProtocol, Request], Response | None]


def shake_hands(request: bytes, answer: Answer) -> tuple[list[bytes], bool]:
    """A whole request, and who answers it (None: it may become a websocket) -> what is to be
    written, and whether frames follow. An empty string among it ends the connection.
    """
    protocol = _protocol(State.CONNECTING)
    protocol.receive_data(request)
    for event in protocol.events_received():
        assert isinstance(event, Request)
        protocol.send_response(answer(protocol, event) or protocol.accept(event))
    written = protocol.data_to_send()
    _release(protocol)
    return written, protocol.state is State.OPEN


class Websocket:
    """An open connection, as far as the library sees it. closing: a close frame was sent: nothing
    may follow it.
    """

    def __init__(self) -> None:
        self._protocol = _protocol(State.OPEN)
        self._parts: list[bytes] = []  # of a message in fragments
        self._is_text = False

    @property
    def closing(self) -> bool:
        return self._protocol.state is not State.OPEN

    def receive(self, data: bytes) -> list[str | bytes]:
        """Whole frames, or what cannot become one -> messages that are complete now."""
        self._protocol.receive_data(data)
        messages = []
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._is_text, self._parts = event.opcode is Opcode.TEXT, []
            elif event.opcode is not Opcode.CONT:
                continue
            if event.data:  # of empty ones there may be any number
                self._parts.append(bytes(event.data))
            if event.fin:
                message = self._message(b"".join(self._parts))
                if message is not None:
                    messages.append(message)
        return messages

    def close(self, code: int, reason: str) -> None:
        """Begins the closing handshake, if the other end has not."""
        if not self.closing:
            self._protocol.send_close(code, reason)

    def data_to_send(self) -> list[bytes]:
        """Each piece once. An empty string ends the connection."""
        return self._protocol.data_to_send()

    def release(self) -> None:
        """It is not used any more."""
        _release(self._protocol)

    def _message(self, data: bytes) -> str | bytes | None:
        if not self._is_text:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._protocol.fail(NOT_UTF8, "a text message must be UTF-8")
            return None


def _protocol(state: State) -> ServerProtocol:
    return ServerProtocol(
        subprotocols=[Subprotocol(SUBPROTOCOL)], state=state, max_size=MOST_MESSAGE_BYTES
    )


def _release(protocol: ServerProtocol) -> None:
    """Its parser is a generator that refers to it: without this only the garbage collector could
    free the two.
    """
    protocol.parser.close()
