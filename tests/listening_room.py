"""A room as a listener's tests see it: a Receiver with a sink that plays 10 ms when the test says
so. Each test is a timeline without a clock on the wall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from fakes import FakeModel, ManualClock, SteppedSink, fake_info, fake_payload
from streamcodec.live.adaptive import DelayBounds
from streamcodec.units import Pcm
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import Mute, StreamEnd, StreamInfo, StreamStart, Welcome
from streamcodec_client.live.encryption import RoomKey
from streamcodec_client.live.receiver import Receiver
from streamcodec_client.report.trace import NO_TRACE, Trace

TARGET_MS = 40
NO_FLAGS = Flags(0)


class Room:
    """A receiver with a stepped sink, and what the relay would do to it."""

    def __init__(
        self,
        channels: int = 1,
        trace: Trace = NO_TRACE,
        playout: float | DelayBounds = TARGET_MS,
        key: RoomKey | None = None,
    ) -> None:
        self.clock, self.model, self.notices = ManualClock(), FakeModel(), list[str]()
        self.sink = SteppedSink(self.clock, channels=channels)
        self.receiver = Receiver(
            self.model,
            self.sink,
            self.clock,
            playout=playout,
            notify=self.notices.append,
            trace=trace,
            key=key,
        )
        self._running: asyncio.Future[None] | None = None
        self._sequence: dict[int, int] = {}

    def welcome(self, *streams: StreamStart, connection: int = 1) -> None:
        self.receiver.connected(
            Welcome("session", "lobby", None, streams, len(streams), 1), connection
        )

    def joins(self, stream: int, info: StreamInfo | None = None) -> None:
        self.receiver.message(StreamStart(stream, f"talker {stream}", info or fake_info()))

    def leaves(self, stream: int, announced: bool = True) -> None:
        if announced:  # a sender that ends says that nothing follows
            self.receiver.message(Mute(muted=True, stream=stream))
        self.receiver.message(StreamEnd(stream))

    def says(
        self,
        stream: int,
        *levels: float,
        payload: bytes | None = None,
        flags: Flags = NO_FLAGS,
        kind: int = 0,
        sequence: int | None = None,
    ) -> None:
        """One packet that arrives now: the next of its stream, or number `sequence`."""
        if sequence is None:
            sequence = self._sequence.get(stream, 0)
            self._sequence[stream] = sequence + 1
        content = fake_payload(*levels) if payload is None else payload
        datagram = serialize(Packet(flags, stream, sequence, 320 * sequence, content, kind))
        self.receiver.media(datagram, self.clock.now_ns())

    def loses(self, stream: int) -> None:
        """The next packet of the stream never arrives."""
        self._sequence[stream] = self._sequence.get(stream, 0) + 1

    async def hears(self, blocks: int) -> list[float]:
        """Plays this many blocks of 10 ms -> the level at the end of each."""
        return [round(float(b[-1, 0]), 3) for b in np.split(await self.pcm(blocks), blocks)]

    async def pcm(self, blocks: int) -> Pcm:
        """Plays this many blocks of 10 ms -> what the sink was given, [T, C]."""
        if self._running is None:
            self._running = asyncio.ensure_future(self.receiver.run())
        return await asyncio.to_thread(self.sink.step, blocks)

    async def close(self) -> None:
        self.receiver.stop()
        if self._running is not None:
            await self._running


async def speak(room: Room, packets: int, say: Callable[[], None]) -> list[float]:
    """A packet every 20 ms, each followed by two blocks."""
    heard = []
    for _ in range(packets):
        say()
        heard += await room.hears(2)
    return heard
