"""A live session: transport, sender and receiver on one event loop, until something ends it; then
an orderly goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from streamcodec.wire.session import Hello, Message, Report, Role, Welcome

from ..clock import Clock
from ..report.arrivals import ArrivalRecorder
from ..report.reporter import Reporter
from ..report.statistics import ReceiverStatistics, SenderStatistics
from ..report.trace import Trace
from ..transport.clock_sync import ClockSync
from ..transport.api import TransportListener
from ..transport.relay import RelayTransport
from .impair import ImpairedListener, Impairment
from .receiver import Receiver
from .sender import Sender

POLL_S = 0.05
STATUS_INTERVAL_S = 1.0
RECEIVER_REPORT_INTERVAL_S = 1.0
SWITCH_INTERVAL_S = 0.001


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


class _Announcer:
    """Tells the user what the connection does."""

    def __init__(self, reporter: Reporter, url: str, room: str) -> None:
        self._reporter, self._url, self._room = reporter, url, room
        self.met, self.leaving = asyncio.Event(), False

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.met.set()
        self._reporter.notice(
            f"{'connected' if connection == 1 else 'reconnected'} to {self._url}, room {self._room}"
        )

    def disconnected(self, reason: str) -> None:
        if not self.leaving:
            self._reporter.warning(f"disconnected: {reason}")

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Not news."""

    def message(self, message: Message) -> None:
        """Not news."""


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
    recorders = [trace for trace in traces if isinstance(trace, ArrivalRecorder)]
    ears: list[TransportListener] = [part for part in (receiver, *recorders) if part is not None]
    if settings.impairment is not None:
        ears = [ImpairedListener(part, settings.impairment, clock) for part in ears]
    listeners = [part for part in (sender, *ears, sync, announcer) if part is not None]
    transport = RelayTransport(settings.url, _hello(settings, sender, receiver), listeners, clock)
    stop = asyncio.Event()
    with _signals_set(stop), _short_thread_turns():
        connection = asyncio.ensure_future(transport.run())
        sending = asyncio.ensure_future(sender.run(transport)) if sender is not None else None
        receiving = asyncio.ensure_future(receiver.run()) if receiver is not None else None
        reporting = [
            asyncio.ensure_future(_show(reporter, transport, sync, sender, receiver, traces))
        ]
        reporting.append(asyncio.ensure_future(sync.run(transport)))
        if sender is not None:
            reporting.append(asyncio.ensure_future(_tell_listeners(transport, sync, sender)))
        if receiver is not None:
            reporting.append(asyncio.ensure_future(_tell_talkers(transport, sync, receiver)))
        timer = asyncio.ensure_future(
            _duration(settings.duration_s if receiver is not None else None, announcer.met)
        )
        try:
            while not (
                stop.is_set()
                or timer.done()
                or connection.done()
                or (receiving is not None and receiving.done())
                or _all_said(settings, sending, receiver)
                # nobody reads our output, or the disk is full
                or any(task.done() for task in reporting)
            ):
                await asyncio.sleep(POLL_S)
        finally:
            # In the order in which the sound flows, so that what was captured is sent before the
            # goodbye.
            timer.cancel()
            outcomes: list[BaseException | None] = []
            for part, task in ((sender, sending), (receiver, receiving)):
                if part is not None and task is not None:
                    part.stop()
                    outcomes += await asyncio.gather(task, return_exceptions=True)
            announcer.leaving = True
            transport.close()
            # Why the connection ended is the better answer where several things failed.
            outcomes = [*await asyncio.gather(connection, return_exceptions=True), *outcomes]
            for task in reporting:
                task.cancel()
            outcomes += [
                e
                for e in await asyncio.gather(*reporting, return_exceptions=True)
                if isinstance(e, Exception)
            ]
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    reporter.summary(*_statistics(sender, receiver))


def _hello(settings: LiveSettings, sender: Sender | None, receiver: Receiver | None) -> Hello:
    role = Role.BOTH if sender and receiver else Role.TALK if sender else Role.LISTEN
    info = sender.info if sender else None
    return Hello(
        role=role,
        room=settings.room,
        name=settings.name,
        stream_info=info,
        copies=settings.take_copies,
    )


def _all_said(
    settings: LiveSettings, sending: asyncio.Future[None] | None, receiver: Receiver | None
) -> bool:
    if sending is not None and not sending.done():
        return False
    if sending is not None and (receiver is None or sending.exception() is not None):
        return True
    return settings.exit_when_done and receiver is not None and receiver.everybody_left


def _statistics(
    sender: Sender | None, receiver: Receiver | None
) -> tuple[SenderStatistics | None, ReceiverStatistics | None]:
    return (
        None if sender is None else sender.statistics(),
        None if receiver is None else receiver.statistics(),
    )


async def _duration(seconds: float | None, begin: asyncio.Event) -> None:
    await begin.wait()
    await (asyncio.sleep(seconds) if seconds is not None else asyncio.Event().wait())


async def _show(
    reporter: Reporter,
    transport: RelayTransport,
    sync: ClockSync,
    sender: Sender | None,
    receiver: Receiver | None,
    traces: Sequence[Trace | ArrivalRecorder | None],
) -> None:
    while True:
        await asyncio.sleep(STATUS_INTERVAL_S)
        sent, heard = _statistics(sender, receiver)
        reporter.second(transport.connection is not None, sent, heard, sync.rtt_ms)
        for trace in traces:
            if trace is not None:
                await asyncio.to_thread(trace.flush)


async def _tell_talkers(transport: RelayTransport, sync: ClockSync, receiver: Receiver) -> None:
    while True:
        await asyncio.sleep(RECEIVER_REPORT_INTERVAL_S)
        round_trip = {} if sync.rtt_ms is None else {"rtt_ms": sync.rtt_ms}
        for stream in receiver.statistics().streams:
            fields = dataclasses.asdict(stream)
            numbers = {
                name: v
                for name, v in (fields | fields["playout"] | round_trip).items()
                if isinstance(v, int | float)
            }
            await transport.send_message(Report(stream.stream, numbers))


async def _tell_listeners(transport: RelayTransport, sync: ClockSync, sender: Sender) -> None:
    while True:
        await asyncio.sleep(STATUS_INTERVAL_S)
        if (mark := sender.capture_clock(sync.offset_ms)) is not None:
            await transport.send_message(mark)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM says goodbye; a second Ctrl-C does not wait."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.call_soon_threadsafe(stop.set)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _short_thread_turns() -> Iterator[None]:
    """Python lets a busy thread hold the interpreter for 5 ms, half an audio block. And what was
    loaded so far is here to stay: the garbage collector need not walk it while audio plays.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
