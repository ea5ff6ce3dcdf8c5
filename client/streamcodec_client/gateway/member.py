"""One client of the gateway as an ordinary member of a room."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamcodec.errors import StreamcodecError
from streamcodec.wire.session import CloseCode

from ..clock import Clock
from ..live.codec import Codec, EncodingSettings
from ..live.member import Member, Seat
from ..live.receiver import Receiver
from ..live.sender import Sender
from .outbox import Outbox
from .pcm import FrameSink, FrameWriter, SocketSource
from .request import Request

# Held ahead of the client, so that a thread that waits for a turn on a full core is not late.
SINK_AHEAD_MS = 30.0
DRAIN_LIMIT_S = 1.0
MAX_REASON_BYTES = 120  # a close frame has room for 123


@dataclasses.dataclass(frozen=True)
class MemberSettings:
    """What all clients of a gateway share. relay: its URL. ca: see transport.opening.route_to.
    token: see Seat.
    """

    relay: str
    codec: Codec
    encoding: EncodingSettings
    clock: Clock
    ca: Path | None = None
    token: str = dataclasses.field(default="", repr=False)


class _Ended(Exception):
    """The client is to be told why its connection ends."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def run_member(
    connection: ServerConnection, request: Request, settings: MemberSettings
) -> None:
    """Until the client leaves or the relay ends the session; the connection is closed then. What
    the client has sent before it left is still sent.
    """
    try:
        await _Member(connection, request, settings).run()
    except _Ended as ended:
        reason = str(ended).encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        await connection.close(ended.code, reason)


class _Member:
    """A Member of a room, fed by the websocket of one client."""

    def __init__(
        self, connection: ServerConnection, request: Request, settings: MemberSettings
    ) -> None:
        self._connection = connection
        self._outbox = Outbox()
        clock, codec = settings.clock, settings.codec
        self._source = sender = receiver = None
        if request.role.talks:
            self._source = SocketSource(clock, request.rate)
            sender = Sender(codec, self._source, settings.encoding, clock)
        if request.role.listens:
            sink = FrameSink(clock, FrameWriter(request.rate, self._outbox.put), SINK_AHEAD_MS)
            tls = settings.relay.startswith("wss:")
            receiver = Receiver(codec, sink, clock, tls=tls, notify=self._outbox.warn)
        seat = Seat(
            settings.relay, request.room, request.name, ca=settings.ca, token=settings.token
        )
        listeners = [part for part in (receiver, self._outbox) if part is not None]
        self._member = Member(
            seat,
            clock,
            sender,
            receiver,
            listeners,
            retrying=lambda reason: self._outbox.warn(f"no relay: {reason}; trying again"),
        )

    async def run(self) -> None:
        """Raises _Ended."""
        member = self._member
        member.begin(self._write())
        reading = asyncio.ensure_future(self._read())
        try:
            await member.ends(reading)
        finally:
            # What the client said is sent before the goodbye, unless no relay is there.
            if self._source is not None:
                self._source.finish()
            await member.sent(DRAIN_LIMIT_S)
            reading.cancel()
            (outcome,) = await asyncio.gather(reading, return_exceptions=True)
            client_left = outcome is None
            try:
                await member.leave()
            except StreamcodecError as error:
                raise _Ended(CloseCode.INTERNAL_ERROR, str(error)) from error
        if isinstance(outcome, _Ended):
            raise outcome
        if not client_left:
            raise _Ended(CloseCode.GOING_AWAY, "the relay has ended the session")

    async def _read(self) -> None:
        """Returns when the client has left."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = await self._connection.recv()
                if isinstance(frame, str):
                    raise _Ended(
                        CloseCode.UNSUPPORTED_DATA,
                        "this gateway takes binary frames of s16le PCM only",
                    )
                if self._source is None:
                    raise _Ended(CloseCode.POLICY_VIOLATION, "role=listen sends no audio")
                self._source.push_bytes(frame)

    async def _write(self) -> None:
        """A task of its own for each client: one that does not read holds up no other."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._connection.send(await self._outbox.take())
