"""A live session: transport, sender and receiver on one event loop, until something ends it; then
an orderly goodbye.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcodec.wire.session import Hello, Message, Report, Role, Welcome

from ..clock import Clock
from ..report.arrivals import ArrivalRecorder
from ..report.reporter import Reporter
from ..report.statistics import ReceiverStatistics, SenderStatistics
from ..report.trace import Trace
from ..transport.api import Transport, TransportListener
from ..transport.clock_sync import ClockSync
from ..transport.relay import RelayTransport
from .impair import ImpairedListener, Impairment
from .process import short_thread_turns, stop_on_signals
from .receiver import Receiver
from .sender import Sender

POLL_S = 0.05
STATUS_INTERVAL_S = 1.0  # between lines for the user, and capture marks for listeners
RECEIVER_REPORT_INTERVAL_S = 1.0


@dataclasses.dataclass(frozen=True)
class LiveSettings:
    """Where a session goes and when it ends. impairment: what is simulated between the relay and
    the receiver.
    """

    url: str
    room: str
    name: str
    duration_s: float | None  # of listening; a sender counts its source's samples
    exit_when_done: bool
    impairment: Impairment | None = None
    take_copies: int = 0  # of how many packets before one, where talkers offer them
    ca: Path | None = None  # see transport.opening.route_to


class _Announcer:
    """Tells the user what the connection does."""

    def __init__(self, reporter: Reporter, url: str, room: str) -> None:
        self._reporter, self._where = reporter, f"{url}, room {room}"
        self.welcomed, self.leaving = asyncio.Event(), False

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.welcomed.set()
        what = "connected" if connection == 1 else "reconnected"
        self._reporter.notice(f"{what} to {self._where}")

    def disconnected(self, reason: str) -> None:
        if not self.leaving:
            self._reporter.warning(f"disconnected: {reason}")

    def retrying(self, reason: str) -> None:
        if not self.leaving:
            self._reporter.warning(f"no connection: {reason}; trying again")

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Nothing to announce."""

    def message(self, message: Message) -> None:
        """Nothing to announce."""


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What a session consists of. One of sender and receiver may be missing."""

    sender: Sender | None
    receiver: Receiver | None
    transport: RelayTransport
    sync: ClockSync
    reporter: Reporter
    traces: Sequence[Trace | ArrivalRecorder]

    def statistics(self) -> tuple[SenderStatistics | None, ReceiverStatistics | None]:
        return (
            None if self.sender is None else self.sender.statistics(),
            None if self.receiver is None else self.receiver.statistics(),
        )

    async def show(self) -> None:
        """Tells the user each second how things are, and writes traces."""
        while True:
            await asyncio.sleep(STATUS_INTERVAL_S)
            sent, heard = self.statistics()
            there = self.transport.connection is not None
            self.reporter.second(there, sent, heard, self.sync.rtt_ms)
            for trace in self.traces:
                await asyncio.to_thread(trace.flush)


async def tell_talkers(receiver: Receiver, transport: Transport, sync: ClockSync) -> None:
    """Reports to each talker, each second, how its stream arrives here."""
    while True:
        await asyncio.sleep(RECEIVER_REPORT_INTERVAL_S)
        rtt_ms = sync.rtt_ms
        round_trip = {} if rtt_ms is None else {"rtt_ms": rtt_ms}
        for stream in receiver.statistics().streams:
            fields = dataclasses.asdict(stream)
            fields |= fields["playout"] | round_trip
            numbers = {k: v for k, v in fields.items() if isinstance(v, int | float)}
            await transport.send_message(Report(stream.stream, numbers))


async def tell_listeners(sender: Sender, transport: Transport, sync: ClockSync) -> None:
    """Marks each second when something was captured by the relay's clock, so listeners know our
    delay.
    """
    while True:
        await asyncio.sleep(STATUS_INTERVAL_S)
        if (mark := sender.capture_clock(sync.offset_ms)) is not None:
            await transport.send_message(mark)


async def run_live(
    settings: LiveSettings,
    clock: Clock,
    reporter: Reporter,
    sender: Sender | None,
    receiver: Receiver | None,
    traces: Sequence[Trace | ArrivalRecorder | None],
) -> None:
    """Ends with the source, the duration, the last talker (`exit_when_done`), a signal, or the
    relay's goodbye.

    Raises ConnectionRefused, AudioError.
    """
    announcer = _Announcer(reporter, settings.url, settings.room)
    sync = ClockSync(clock)
    if receiver is not None:
        receiver.relay_offset_ms = lambda: sync.offset_ms
    kept = [trace for trace in traces if trace is not None]
    recorders = [trace for trace in kept if isinstance(trace, ArrivalRecorder)]
    hearing: list[TransportListener] = [part for part in (receiver, *recorders) if part is not None]
    if settings.impairment is not None:
        hearing = [ImpairedListener(part, settings.impairment, clock) for part in hearing]
    listeners = [part for part in (sender, *hearing, sync, announcer) if part is not None]
    transport = RelayTransport(
        settings.url,
        _hello(settings, sender, receiver),
        listeners,
        clock,
        ca=settings.ca,
        retrying=announcer.retrying,
    )
    parts = _Parts(sender, receiver, transport, sync, reporter, kept)
    stop = asyncio.Event()
    with stop_on_signals(stop), short_thread_turns():
        begin = asyncio.ensure_future
        connection = begin(transport.run())
        sending = None if sender is None else begin(sender.run(transport))
        receiving = None if receiver is None else begin(receiver.run())
        # None of these ends, unless nobody reads our output, or the disk is full.
        background = [begin(parts.show()), begin(sync.run(transport))]
        if sender is not None:
            background.append(begin(tell_listeners(sender, transport, sync)))
        if receiver is not None:
            background.append(begin(tell_talkers(receiver, transport, sync)))
        reasons = [
            begin(stop.wait()),
            begin(_all_said(settings, sending, receiver)),
            begin(_time_is_up(settings, announcer.welcomed, receiver)),
        ]
        ends = [connection, *([] if receiving is None else [receiving]), *background, *reasons]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # In the order in which sound flows: what was captured is sent before the goodbye.
            failures: list[BaseException | None] = [*await _cancelled(*reasons)]
            for part, task in ((sender, sending), (receiver, receiving)):
                if part is not None and task is not None:
                    part.stop()
                    failures += await asyncio.gather(task, return_exceptions=True)
            announcer.leaving = True
            transport.close()
            # Why the connection ended is the better answer where several things failed.
            failures = [*await asyncio.gather(connection, return_exceptions=True), *failures]
            failures += await _cancelled(*background)
    for failure in failures:
        if failure is not None:
            raise failure
    reporter.summary(*parts.statistics())


def _hello(settings: LiveSettings, sender: Sender | None, receiver: Receiver | None) -> Hello:
    role = Role.BOTH if sender and receiver else Role.TALK if sender else Role.LISTEN
    return Hello(
        role=role,
        room=settings.room,
        name=settings.name,
        stream_info=sender.info if sender else None,
        copies=settings.take_copies,
    )


async def _all_said(
    settings: LiveSettings, sending: asyncio.Future[None] | None, receiver: Receiver | None
) -> None:
    """Returns when there is nothing left to send and, if we listen, nobody left to hear."""
    if sending is not None:
        await asyncio.wait({sending})
        if receiver is None or sending.exception() is not None:
            return
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


async def _cancelled(*tasks: asyncio.Future[Any]) -> list[Exception]:
    """Cancels tasks -> what they failed with before."""
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]
