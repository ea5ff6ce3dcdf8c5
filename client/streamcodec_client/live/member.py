"""A member of a room: the connection to its relay, and of sender and receiver what its role has.
They begin together and end in the order in which sound flows.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from streamcodec.errors import ConfigError
from streamcodec.wire.session import MAX_NAME_CHARACTERS, Hello, Report, Role, is_printable

from ..clock import Clock
from ..report.statistics import ReceiverStatistics, SenderStatistics
from ..transport.api import TransportListener
from ..transport.clock_sync import ClockSync
from ..transport.relay import RelayTransport
from .receiver import Receiver
from .sender import Sender

REPORT_INTERVAL_S = 1.0  # between reports to talkers, and capture marks for listeners
LEAST_INTERVAL_S = 0.1  # between capture marks


@dataclasses.dataclass(frozen=True)
class Seat:
    """Which room of which relay, and as whom. take_copies: how many packets back a copy may lie,
    where talkers offer them. ca: see transport.opening.route_to. first_connection_s: how long to
    look for a relay that never let us in. token: leave to join, where the relay asks for one.
    presence: whether we want to know who only listens. Raises ConfigError for a name that no relay
    takes.
    """

    url: str
    room: str
    name: str
    take_copies: int = 0
    ca: Path | None = None
    first_connection_s: float = 10.0
    token: str = dataclasses.field(default="", repr=False)
    presence: bool = False

    def __post_init__(self) -> None:
        check_label("room", self.room)
        check_label("name", self.name)


def check_label(what: str, text: object) -> None:
    """Raises ConfigError for what a relay would refuse as the name of a room or a member."""
    fits = isinstance(text, str) and 0 < len(text) <= MAX_NAME_CHARACTERS and is_printable(text)
    if not fits:
        raise ConfigError(
            f"{what} must be 1 to {MAX_NAME_CHARACTERS} printable characters, got {text!r}"
        )


class Member:
    """`begin`, wait until it `ends`, `leave`."""

    def __init__(
        self,
        seat: Seat,
        clock: Clock,
        sender: Sender | None,
        receiver: Receiver | None,
        listeners: Sequence[TransportListener] = (),
        *,
        retrying: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`listeners`: who is told what comes from the relay besides `sender`; a receiver is not
        among them of itself, so that a network may be simulated before it. `retrying`: see
        RelayTransport. Raises ConfigError for a URL that names no relay, and for certificates that
        cannot be read.
        """
        self.sender, self.receiver = sender, receiver
        self.sync = ClockSync(clock)
        if receiver is not None:
            receiver.relay_offset_ms = lambda: self.sync.offset_ms
        told = [part for part in (sender, *listeners, self.sync) if part is not None]
        self.transport = RelayTransport(
            seat.url,
            _hello(seat, sender, receiver),
            told,
            clock,
            ca=seat.ca,
            retrying=retrying,
            first_connection_s=seat.first_connection_s,
        )
        self.leaving = False  # what comes now is our own goodbye
        self._connection: asyncio.Future[None] | None = None
        self.sending: asyncio.Future[None] | None = None  # until all of the source was sent
        self._receiving: asyncio.Future[None] | None = None
        self._background: list[asyncio.Future[None]] = []

    def begin(self, *background: Coroutine[Any, Any, None]) -> None:
        """On the event loop. `background`: what else runs until the end."""
        start = asyncio.ensure_future
        self._connection = start(self.transport.run())
        if self.sender is not None:
            self.sending = start(self.sender.run(self.transport))
        if self.receiver is not None:
            self._receiving = start(self.receiver.run())
        # None of these ends, unless nobody reads our output, or the disk is full.
        self._background = [start(part) for part in (*background, self.sync.run(self.transport))]
        if self.sender is not None:
            self._background.append(start(self._tell_listeners(self.sender)))
            self._background.append(start(self._sending_fails()))
        if self.receiver is not None:
            self._background.append(start(self._tell_talkers(self.receiver)))

    async def ends(self, *others: asyncio.Future[Any]) -> None:
        """Returns when this member cannot go on, or one of `others` is done. A source that has
        ended is no end.
        """
        parts = (self._connection, self._receiving, *self._background, *others)
        await asyncio.wait(
            [part for part in parts if part is not None], return_when=asyncio.FIRST_COMPLETED
        )

    @property
    def failure(self) -> BaseException | None:
        """Why this member cannot go on; None where nothing failed so far."""
        parts = (self._connection, self.sending, self._receiving, *self._background)
        for part in parts:
            if part is None or not part.done() or part.cancelled():
                continue
            if (failure := part.exception()) is not None:
                return failure
        return None

    async def sent(self, limit_s: float) -> None:
        """Returns when all of a source that has ended was sent, or after `limit_s`."""
        if self.sending is not None:
            await asyncio.wait({self.sending}, timeout=limit_s)

    async def leave(self) -> None:
        """Ends the source, sends what was captured, and says goodbye. Raises what failed before;
        where that is several things, the connection's reason.
        """
        try:
            for part, task in ((self.sender, self.sending), (self.receiver, self._receiving)):
                if part is not None and task is not None:
                    part.stop()
                    await asyncio.wait({task})
            self.leaving = True
            self.transport.close()
            if self._connection is not None:
                await asyncio.wait({self._connection})
        finally:
            tasks = (self._connection, self.sending, self._receiving, *self._background)
            started = [task for task in tasks if task is not None]
            for task in started:
                task.cancel()
            await asyncio.gather(*started, return_exceptions=True)
        if (failure := self.failure) is not None:
            raise failure

    def statistics(self) -> tuple[SenderStatistics | None, ReceiverStatistics | None]:
        """Of what this member sends, and of what it hears."""
        return (
            None if self.sender is None else self.sender.statistics(),
            None if self.receiver is None else self.receiver.statistics(),
        )

    async def _sending_fails(self) -> None:
        assert self.sending is not None
        await asyncio.wait({self.sending})
        if self.sending.exception() is None:
            await asyncio.Event().wait()

    async def _tell_talkers(self, receiver: Receiver) -> None:
        """Reports to each talker, each second, how its stream arrives here."""
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            rtt_ms = self.sync.rtt_ms
            round_trip = {} if rtt_ms is None else {"rtt_ms": rtt_ms}
            for stream in receiver.statistics().streams:
                fields = dataclasses.asdict(stream)
                fields |= fields["playout"] | round_trip
                numbers = {k: v for k, v in fields.items() if isinstance(v, int | float)}
                await self.transport.send_message(Report(stream.stream, numbers))

    async def _tell_listeners(self, sender: Sender) -> None:
        """Marks when something was captured by the relay's clock, so that listeners know our delay:
        with the first packets, after each gap, and each second.
        """
        while True:
            sender.begun.clear()
            mark = sender.capture_clock(self.sync.offset_ms)
            if mark is not None:
                await self.transport.send_message(mark)
                await asyncio.sleep(LEAST_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAST_INTERVAL_S if mark is None else REPORT_INTERVAL_S):
                    await sender.begun.wait()


def _hello(seat: Seat, sender: Sender | None, receiver: Receiver | None) -> Hello:
    role = Role.BOTH if sender and receiver else Role.TALK if sender else Role.LISTEN
    return Hello(
        role=role,
        room=seat.room,
        name=seat.name,
        stream_info=sender.info if sender else None,
        copies=seat.take_copies,
        token=seat.token,
        presence=seat.presence,
    )
