"""A live session of the command line: a member of a room until something ends it, with lines for
the user meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Protocol

from streamcodec.pauses import short_pauses
from streamcodec.wire.session import Listening, Message, Silenced, StreamEnd, StreamStart, Welcome

from ..clock import Clock
from ..report.arrivals import ArrivalRecorder
from ..report.statistics import ReceiverStatistics, SenderStatistics
from ..report.trace import Trace
from ..transport.api import TransportListener
from .impair import ImpairedListener, Impairment
from .member import Member, Seat
from .process import stop_on_signals
from .receiver import Receiver
from .sender import Sender

POLL_S = 0.05
WRITE_INTERVAL_S = 1.0  # of traces


class Display(Protocol):
    """What the user sees of a session: a Reporter's lines, or a screen. interval_s: between calls
    of `second`.
    """

    interval_s: float

    def begin(self, member: Member, stop: asyncio.Event) -> None:
        """On the event loop, before anything else. The user may set `stop`."""
        ...

    def notice(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def connection(self, state: str) -> None:
        """What the connection does, where it is none."""
        ...

    def trouble(self, text: str) -> None:
        """What is wrong with the microphone as long as it lasts; empty: nothing. From any
        thread.
        """
        ...

    def listening(self, names: Sequence[str], count: int) -> None:
        """Who only listens: so many, some of them by name."""
        ...

    def second(
        self,
        connected: bool,
        sent: SenderStatistics | None,
        heard: ReceiverStatistics | None,
        rtt_ms: float | None = None,
    ) -> None: ...

    def summary(self, sent: SenderStatistics | None, heard: ReceiverStatistics | None) -> None: ...

    def close_line(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class LiveSettings:
    """Where a session goes and when it ends. impairment: what is simulated between the relay and
    the receiver. source: what is sent, by a name for the user.
    """

    seat: Seat
    duration_s: float | None  # of listening; a sender counts its source's samples
    exit_when_done: bool
    impairment: Impairment | None = None
    source: str = ""


class _Announcer:
    """Tells the user what the connection does."""

    def __init__(self, reporter: Display, seat: Seat) -> None:
        self._reporter, self._where = reporter, f"{seat.url}, room {seat.room}"
        self.welcomed = asyncio.Event()
        self.member: Member | None = None
        self._talkers: dict[int, str] = {}  # of the room, by stream

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.welcomed.set()
        self._talkers = {talker.stream: talker.name for talker in welcome.streams}
        what = "connected" if connection == 1 else "reconnected"
        self._reporter.notice(f"{what} to {self._where}")

    def disconnected(self, reason: str) -> None:
        if self.member is None or not self.member.leaving:
            self._reporter.connection(f"disconnected: {reason}")
            self._reporter.warning(f"disconnected: {reason}")

    def retrying(self, reason: str) -> None:
        if self.member is None or not self.member.leaving:
            self._reporter.connection(f"no connection: {reason}; trying again")
            self._reporter.warning(f"no connection: {reason}; trying again")

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Nothing to announce."""

    def message(self, message: Message) -> None:
        match message:
            case Silenced(silenced=True):
                self._reporter.warning("a moderator has silenced you: nobody hears what you send")
            case Silenced(silenced=False):
                self._reporter.notice("you are heard again")
            case StreamStart(stream=stream, name=name) if self._talkers.get(stream) != name:
                self._talkers[stream] = name
                self._reporter.notice(f"{name} joined")
            case Listening():
                self._reporter.listening(message.names, message.listeners)
            case StreamEnd(stream=stream) if stream in self._talkers:
                self._reporter.notice(f"{self._talkers.pop(stream)} left")


async def run_live(
    settings: LiveSettings,
    clock: Clock,
    reporter: Display,
    sender: Sender | None,
    receiver: Receiver | None,
    traces: Sequence[Trace | ArrivalRecorder | None],
) -> None:
    """Ends with the source, the duration, the last talker (`exit_when_done`), a signal, or the
    relay's goodbye.

    Raises ConnectionRefused, AudioError.
    """
    announcer = _Announcer(reporter, settings.seat)
    kept = [trace for trace in traces if trace is not None]
    recorders = [trace for trace in kept if isinstance(trace, ArrivalRecorder)]
    hearing: list[TransportListener] = [part for part in (receiver, *recorders) if part is not None]
    if settings.impairment is not None:
        hearing = [ImpairedListener(part, settings.impairment, clock) for part in hearing]
    member = Member(
        settings.seat,
        clock,
        sender,
        receiver,
        [*hearing, announcer],
        retrying=announcer.retrying,
    )
    announcer.member = member
    stop = asyncio.Event()
    with stop_on_signals(stop), short_pauses():
        reporter.begin(member, stop)
        member.begin(_show(member, reporter, kept))
        reasons = [
            asyncio.ensure_future(reason)
            for reason in (
                stop.wait(),
                _all_said(settings, member, reporter),
                _time_is_up(settings, announcer.welcomed, receiver),
            )
        ]
        try:
            await member.ends(*reasons)
        finally:
            for reason in reasons:
                reason.cancel()
            outcomes = await asyncio.gather(*reasons, return_exceptions=True)
            try:
                await member.leave()  # raises what made the session end
            finally:
                reporter.close_line()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    reporter.summary(*member.statistics())


async def _show(
    member: Member, reporter: Display, traces: Sequence[Trace | ArrivalRecorder]
) -> None:
    """Tells the user each second, or more often, how things are, and writes traces."""
    loop = asyncio.get_running_loop()
    written_s = loop.time()
    while True:
        await asyncio.sleep(reporter.interval_s)
        there = member.transport.connection is not None
        reporter.second(there, *member.statistics(), member.sync.rtt_ms)
        if loop.time() - written_s > WRITE_INTERVAL_S - reporter.interval_s / 2:
            written_s = loop.time()
            for trace in traces:
                await asyncio.to_thread(trace.flush)


async def _all_said(settings: LiveSettings, member: Member, reporter: Display) -> None:
    """Returns when there is nothing left to send and, if we listen, nobody left to hear."""
    sending, receiver = member.sending, member.receiver
    if sending is not None:
        await asyncio.wait({sending})
        if receiver is None or sending.exception() is not None:
            return
        if member.sender is not None and member.sender.finished:
            until = "everybody has left" if settings.exit_when_done else "you leave"
            reporter.notice(f"{settings.source} has ended: you listen until {until}")
    while not (settings.exit_when_done and receiver is not None and receiver.everybody_left):
        await asyncio.sleep(POLL_S)


async def _time_is_up(
    settings: LiveSettings, welcomed: asyncio.Event, receiver: Receiver | None
) -> None:
    """Returns when we have listened for as long as was asked, from the first welcome on."""
    await welcomed.wait()
    if receiver is None or settings.duration_s is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(settings.duration_s)
