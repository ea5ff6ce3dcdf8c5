"""Who speaks in a room, by what its relay says."""

from __future__ import annotations

import asyncio
import dataclasses

from streamcodec.wire.session import Message, Mute, StreamEnd, StreamStart, Welcome

from .frames import Talker


class Roster:
    """A TransportListener that keeps the list of the others who may speak. Event loop only."""

    def __init__(self) -> None:
        self.welcomed = asyncio.Event()  # for the first time
        self._talkers: dict[int, Talker] = {}
        self._own_stream: int | None = None

    @property
    def talkers(self) -> tuple[Talker, ...]:
        """In the order in which they came. Empty while there is no connection."""
        return tuple(self._talkers.values())

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._own_stream = welcome.stream
        self._talkers.clear()
        for talker in welcome.streams:
            self.message(talker)
        self.welcomed.set()

    def disconnected(self, reason: str) -> None:
        self._talkers.clear()

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Packets say nothing of who is there."""

    def message(self, message: Message) -> None:
        match message:
            case StreamStart(stream=stream, name=name) if stream != self._own_stream:
                before = self._talkers.get(stream)
                self._talkers[stream] = Talker(stream, name, before is not None and before.muted)
            case StreamEnd(stream=stream):
                self._talkers.pop(stream, None)
            case Mute(stream=stream, muted=muted) if stream in self._talkers:
                self._talkers[stream] = dataclasses.replace(self._talkers[stream], muted=muted)
