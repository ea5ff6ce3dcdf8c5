"""One client of the gateway as an ordinary member of a room."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamcodec.errors import StreamcodecError
from streamcodec.wire.session import CloseCode, Hello

from ..clock import Clock
from ..live.codec import Codec, EncodingSettings
from ..live.receiver import Receiver
from ..live.sender import Sender
from ..live.session import tell_listeners, tell_talkers
from ..transport.clock_sync import ClockSync
from ..transport.relay import RelayTransport
from .outbox import Outbox
from .pcm import FrameSink, FrameWriter, SocketSource
from .request import Request

# Held ahead of the client, so that a thread that waits for a turn on a full core is not late.
SINK_AHEAD_MS = 30.0
DRAIN_LIMIT_S = 1.0
MAX_REASON_BYTES = 120  # a close frame has room for 123


@dataclasses.dataclass(frozen=True)
class MemberSettings:
    """What all clients of a gateway share. relay: its URL. ca: see transport.opening.route_to."""

    relay: str
    codec: Codec
    encoding: EncodingSettings
    clock: Clock
    ca: Path | None = None


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
    """Sender and receiver over one transport, fed by the websocket of one client."""

    def __init__(
        self, connection: ServerConnection, request: Request, settings: MemberSettings
    ) -> None:
        self._connection = connection
        self._outbox = Outbox()
        clock, codec = settings.clock, settings.codec
        self._source = self._sender = self._receiver = None
        if request.role.talks:
            self._source = SocketSource(clock, request.rate)
            self._sender = Sender(codec, self._source, settings.encoding, clock)
        self._sync = ClockSync(clock)
        if request.role.listens:
            sink = FrameSink(clock, FrameWriter(request.rate, self._outbox.put), SINK_AHEAD_MS)
            tls = settings.relay.startswith("wss:")
            self._receiver = Receiver(codec, sink, clock, tls=tls, notify=self._outbox.warn)
            self._receiver.relay_offset_ms = lambda: self._sync.offset_ms
        parts = (self._sender, self._receiver, self._sync, self._outbox)
        hello = Hello(
            request.role,
            request.room,
            request.name,
            None if self._sender is None else self._sender.info,
        )
        listeners = [part for part in parts if part is not None]
        self._transport = RelayTransport(
            settings.relay,
            hello,
            listeners,
            clock,
            ca=settings.ca,
            retrying=lambda reason: self._outbox.warn(f"no relay: {reason}; trying again"),
        )

    async def run(self) -> None:
        """Raises _Ended."""
        transport, sender, receiver = self._transport, self._sender, self._receiver
        begin = asyncio.ensure_future
        staying = begin(self._stay())
        sending = None if sender is None else begin(sender.run(transport))
        others = [begin(self._read()), begin(self._write()), begin(self._sync.run(transport))]
        if receiver is not None:
            others += [begin(receiver.run()), begin(tell_talkers(receiver, transport, self._sync))]
        if sender is not None:
            others.append(begin(tell_listeners(sender, transport, self._sync)))
        tasks = [staying, *others, *([] if sending is None else [sending])]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # In the order in which sound flows: what the client said is sent before the goodbye.
            if receiver is not None:
                receiver.stop()
            if self._source is not None and sender is not None and sending is not None:
                self._source.finish()
                await asyncio.wait({sending}, timeout=DRAIN_LIMIT_S)
                sender.stop()  # it may wait for a relay that is not there
            transport.close()
            await asyncio.wait([staying, *([] if sending is None else [sending])])
            for task in others:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()

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
                self._source.push(frame)

    async def _write(self) -> None:
        """A task of its own for each client: one that does not read holds up no other."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._connection.send(await self._outbox.take())

    async def _stay(self) -> None:
        """In the room."""
        try:
            await self._transport.run()
        except StreamcodecError as error:
            raise _Ended(CloseCode.INTERNAL_ERROR, str(error)) from error
        raise _Ended(CloseCode.GOING_AWAY, "the relay has ended the session")
