"""What waits to be sent to one client: frames of PCM and events."""

from __future__ import annotations

import asyncio
import json
from collections import deque

from streamcodec.wire.session import Message, StreamEnd, StreamStart, Welcome

from .pcm import FRAME_MS

LIMIT_MS = 400  # of audio; the oldest is dropped
MAX_EVENTS = 64


class Outbox:
    """Bounded: a client that does not read loses its own oldest audio. A TransportListener that
    turns what happens in the room into events.
    """

    def __init__(self) -> None:
        """On the event loop."""
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._frames: deque[bytes] = deque(maxlen=LIMIT_MS // FRAME_MS)
        self._events: deque[str] = deque(maxlen=MAX_EVENTS)
        self._own_stream: int | None = None

    def put(self, frame: bytes) -> None:
        """A frame of PCM. From any thread."""
        self._frames.append(frame)
        self._loop.call_soon_threadsafe(self._some.set)

    def tell(self, kind: str, **fields: object) -> None:
        """An event. From any thread."""
        self._events.append(json.dumps({"type": kind, **fields}, ensure_ascii=False))
        self._loop.call_soon_threadsafe(self._some.set)

    def warn(self, text: str) -> None:
        """An event about what cannot be heard. From any thread."""
        self.tell("warning", text=text)

    async def take(self) -> str | bytes:
        """The next to be sent; events first."""
        while True:
            if self._events:
                return self._events.popleft()
            if self._frames:
                return self._frames.popleft()
            self._some.clear()
            await self._some.wait()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._own_stream = welcome.stream
        self.tell("connected", room=welcome.room)
        for talker in welcome.streams:
            self.message(talker)

    def disconnected(self, reason: str) -> None:
        """All talkers are gone with the connection; `connected` names them anew."""
        self.tell("disconnected", reason=reason)

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Packets are decoded elsewhere."""

    def message(self, message: Message) -> None:
        if isinstance(message, StreamStart) and message.stream != self._own_stream:
            self.tell("talker_joined", stream=message.stream, name=message.name)
        elif isinstance(message, StreamEnd):
            self.tell("talker_left", stream=message.stream)
