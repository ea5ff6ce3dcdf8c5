"""A room that a program has joined: it listens and talks there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from streamcodec.coding.pcm import as_float_pcm, check_pcm
from streamcodec.errors import ConfigError, OutputError, RoomClosed, StreamcodecError

from ..audio.paced import Discard, PacedSink
from ..audio.pushed import PushedSource
from ..clock import Clock
from ..live.codec import Codec
from ..live.encryption import RoomKey
from ..live.member import Member, Seat
from ..live.receiver import HeardBlock, Receiver
from ..live.sender import Sender
from ..live.volumes import LEAST_DB, MOST_DB, Volumes
from ..report.statistics import ReceiverStatistics, SenderStatistics
from .devices import NO_DEVICES, OpenDevices, RoomDevice
from .frames import FrameMaker, Frames, Readers, Talker
from .recording import Recording, Recordings
from .roster import Roster
from .settings import RoomSettings

SEND_AHEAD_MS = 20.0  # of real time, so that a program that wakes late is not heard late
SEND_WAITS_MS = 100.0  # what waits to be encoded; `send` waits until its next piece fits
SEND_STEP_MS = 20  # what it takes at once
PAUSE_S = 0.06  # a program that sends nothing for so long has paused
DRAIN_LIMIT_S = 2.0
POLL_S = 0.005
NO_TALK = "this room was joined with talk=False"
_LOG = logging.getLogger("streamcodec_client")


@dataclasses.dataclass(frozen=True, slots=True)
class RoomStatistics:
    """How a session is. sent: None for who only listens; heard: None for who only talks. rtt_ms:
    round trip to the relay, where it is known. dropped_samples: heard, and not read in time.
    """

    connected: bool
    rtt_ms: float | None
    sent: SenderStatistics | None
    heard: ReceiverStatistics | None
    dropped_samples: int


class Room:
    """To be used on the event loop that joined it. Any number of tasks may listen and send; of
    those that send, one does at a time.
    """

    def __init__(
        self,
        settings: RoomSettings,
        codec: Codec,
        clock: Clock,
        key: RoomKey | None = None,
        devices: OpenDevices = NO_DEVICES,
    ) -> None:
        """`connect` makes rooms. Raises ConfigError."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._taken = asyncio.Event()  # some of what was sent is on its way, or all is over
        self._sending = asyncio.Lock()  # tasks that send wait for each other
        # until when, by the loop's clock, `send` has let time pass while muted
        self._passed_s = 0.0
        self._leaving = False
        self._told = False  # somebody was told why this session ended
        self._source: PushedSource | None = None
        sender = receiver = None
        self._recordings = Recordings(codec.sample_rate, clock, settings.name, self._settled)
        if settings.talk and devices.microphone is None:
            self._source = PushedSource(
                clock,
                settings.sample_rate,
                settings.channels,
                ahead_ms=SEND_AHEAD_MS,
                limit_ms=SEND_WAITS_MS,
                pause_ms=1000 * PAUSE_S,
                taken=self._on_taken,
            )
        if (source := devices.microphone or self._source) is not None:
            sender = Sender(
                codec,
                source,
                settings.encoding,
                clock,
                dtx=settings.dtx,
                pause_s=PAUSE_S,
                key=key,
                tap=self._recordings.said,
                voice=settings.voice(codec.sample_rate),
            )
        if settings.listen:
            receiver = Receiver(
                codec,
                # what keeps time without a loudspeaker
                devices.loudspeaker or PacedSink(clock, Discard(codec.sample_rate, 1)),
                clock,
                playout=settings.playout,
                tls=settings.url.startswith("wss:"),
                notify=_LOG.warning,
                tap=self._on_blocks,
                key=key,
            )
        self._readers = Readers(
            FrameMaker(codec.sample_rate, settings.sample_rate, settings.channels)
        )
        self._devices = {
            kind: RoomDevice(kind, device, self._outcome)
            for kind, device in devices.by_kind.items()
        }
        self._roster = Roster()
        seat = Seat(
            settings.url,
            settings.room,
            settings.name,
            settings.take_copies,
            settings.ca,
            settings.timeout_s,
            settings.token,
        )
        listeners = [part for part in (receiver, self._roster) if part is not None]
        self._member = Member(seat, clock, sender, receiver, listeners, retrying=_log_retrying)
        self._over: asyncio.Future[None] | None = None

    @property
    def talkers(self) -> tuple[Talker, ...]:
        """The others who may speak here now; empty while there is no connection."""
        return self._roster.talkers

    @property
    def muted(self) -> bool:
        """Whether nothing is sent for now."""
        sender = self._member.sender
        return sender is not None and sender.muted

    @property
    def volumes(self) -> Volumes:
        """How loud whom is heard, of frames by themselves as of mixed ones. Of who is among
        `muted` there come no frames. Frames that were made already stay as they are.

        To be replaced as a whole: `room.volumes = room.volumes.changed(-6.0, talker.stream)`.
        Raises ConfigError where the room was joined with listen=False, and for volumes outside of
        LEAST_DB to MOST_DB.
        """
        return self._listening().volumes

    @volumes.setter
    def volumes(self, volumes: Volumes) -> None:
        receiver = self._listening()
        if not isinstance(volumes, Volumes):
            raise ConfigError(f"volumes must be Volumes, got {volumes!r}")
        for decibels in (volumes.overall_db, *volumes.stream_db.values()):
            if not LEAST_DB <= decibels <= MOST_DB:
                raise ConfigError(f"volumes must be {LEAST_DB:g} to {MOST_DB:g} dB, got {decibels}")
        receiver.volumes = volumes

    @property
    def microphone(self) -> RoomDevice:
        """Raises ConfigError where the room was joined without one."""
        return self._device("microphone")

    @property
    def loudspeaker(self) -> RoomDevice:
        """As `microphone`."""
        return self._device("loudspeaker")

    def record(self, folder: str | Path) -> Recording:
        """Writes what is said from now on into FLAC files there, one for each person, ourselves
        included, whatever `volumes` are. All of them begin now, and what was said at once stands at
        the same place. `Recording.stop` ends it, or leaving the room.

        Raises ConfigError while another one runs, OutputError for a folder that cannot be made, and
        RoomClosed, or what ended the session, after its end.
        """
        self._check_open("recorded")
        return self._recordings.start(Path(folder))

    def listen(self, *, mixed: bool = False) -> Frames:
        """What is heard from this call on, in real time: each talker's frames by themselves, or
        `mixed`, all as one, without a gap, silence where nobody is heard. Ends when the session
        ends; raises what ended it, if that was a failure.

        Who reads too slowly loses the oldest frames of each talker: `Frame.missed` tells. Raises
        ConfigError where the room was joined with listen=False.
        """
        self._listening()
        queue = self._readers.add(mixed)
        if self._ended:
            queue.close()
        return Frames(queue, self._raise_failure)

    async def send(self, pcm: NDArray[Any]) -> None:
        """int16 or float32 [T] or [T, channels], any T, at the rate that `connect` was told. Waits
        while SEND_WAITS_MS are not on their way yet, so that a file is sent in real time.

        While muted, or without a connection, time passes and nothing is sent. Raises AudioError for
        a wrong type or shape, and for samples that are not finite, when their turn comes; and
        RoomClosed, or what ended the session, after its end.
        """
        source, channels = self._talking(), self._settings.channels
        pcm = check_pcm(pcm, channels)  # before anything is sent
        step = SEND_STEP_MS * self._settings.sample_rate // 1000
        async with self._sending:
            self._check_open()
            for start in range(0, len(pcm), step):
                piece = as_float_pcm(pcm[start : start + step], channels, start)
                while not (source.has_room(len(piece)) or self._ended or self._leaving):
                    self._taken.clear()
                    await self._taken.wait()
                self._check_open()
                if self.muted:
                    await self._pass_time(len(piece) / self._settings.sample_rate)
                else:
                    source.push(piece)

    async def _pass_time(self, seconds: float) -> None:
        """As long as it would take to send this, on average: sleeping takes longer than asked."""
        now_s = self._loop.time()
        self._passed_s = max(self._passed_s, now_s - seconds) + seconds
        await asyncio.sleep(self._passed_s - now_s)

    async def mute(self, muted: bool = True) -> None:
        """Sends nothing from now on, not even what was given to `send` and waits, and tells the
        room; with False it goes on.
        """
        sender = self._member.sender
        if sender is None:
            raise ConfigError(NO_TALK)
        if muted and self._source is not None:
            self._source.drop()
        sender.mute(muted)
        await asyncio.sleep(0)  # the room is told

    def statistics(self) -> RoomStatistics:
        """Sums since the beginning, and how it is now."""
        member = self._member
        return RoomStatistics(
            member.transport.connection is not None,
            member.sync.rtt_ms,
            *member.statistics(),
            self._readers.dropped,
        )

    @contextlib.asynccontextmanager
    async def joined(self) -> AsyncGenerator[Room]:
        """In the room until the end of the block. Raises what prevents it, and what failed
        meanwhile, unless `listen` or `send` has raised that.
        """
        try:
            await self._join()
            yield self
            await self._drain()
        except BaseException:
            with contextlib.suppress(StreamcodecError):  # why all this ends is on its way already
                await self._leave()
            raise
        await self._leave()

    # --- beginning and end ------------------------------------------------------------------------

    async def _join(self) -> None:
        """Returns when the relay has let us in."""
        self._member.begin()
        self._over = asyncio.ensure_future(self._watch())
        welcomed = asyncio.ensure_future(self._roster.welcomed.wait())
        try:
            await asyncio.wait({welcomed, self._over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            welcomed.cancel()
        if not self._roster.welcomed.is_set():
            self._raise_failure()
            raise RoomClosed("the relay has ended the session before it began")

    async def _watch(self) -> None:
        """Until the session cannot go on; then nobody waits any longer."""
        try:
            await self._member.ends()
        finally:
            self._taken.set()
            self._readers.close()

    async def _drain(self) -> None:
        """What was given to `send` is sent, if a relay takes it."""
        self._leaving = True
        self._taken.set()
        if self._source is not None:  # a microphone has no end
            self._source.finish()
            await self._member.sent(DRAIN_LIMIT_S)

    async def _leave(self) -> None:
        try:
            await self._member.leave()
        except Exception:
            if not self._told:
                with contextlib.suppress(OutputError):  # another error is on its way
                    await self._recordings.end()
                raise
        finally:
            if self._over is not None:
                self._over.cancel()
                await asyncio.gather(self._over, return_exceptions=True)
        await self._recordings.end()

    async def _settled(self) -> None:
        """What was given to `send` before has come to the encoder; who goes on sending is not
        waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * SEND_WAITS_MS / 1000):
                while not (self._source is None or self._source.idle or self._ended):
                    await asyncio.sleep(POLL_S)

    async def _outcome(self, outcome: asyncio.Future[str]) -> str:
        """Raises RoomClosed, or what ended the session, where that ends before it is there."""
        assert self._over is not None
        waits: set[asyncio.Future[Any]] = {outcome, self._over}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not outcome.done():
            self._check_open("switched")
        return outcome.result()

    @property
    def _ended(self) -> bool:
        return self._over is not None and self._over.done()

    def _raise_failure(self) -> None:
        if (failure := self._member.failure) is not None:
            self._told = True
            raise failure

    def _check_open(self, what: str = "sent") -> None:
        if self._ended or self._leaving:
            self._raise_failure()
            raise RoomClosed(f"the session has ended: nothing more can be {what}")

    def _device(self, kind: str) -> RoomDevice:
        if kind not in self._devices:
            raise ConfigError(f"this room has no {kind}: it was joined without {kind}=True")
        return self._devices[kind]

    def _talking(self) -> PushedSource:
        if "microphone" in self._devices:
            raise ConfigError("this room sends what its microphone captures, and nothing else")
        if self._source is None:
            raise ConfigError(NO_TALK)
        return self._source

    def _listening(self) -> Receiver:
        receiver = self._member.receiver
        if receiver is None:
            raise ConfigError("this room was joined with listen=False")
        return receiver

    # --- what others call -------------------------------------------------------------------------

    def _on_taken(self) -> None:
        """In the encoder's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._taken.set)

    def _on_blocks(self, blocks: Sequence[HeardBlock]) -> None:
        """In the decoder's thread."""
        self._recordings.heard(blocks)
        self._readers.give(blocks, self._listening().volumes)


def _log_retrying(reason: str) -> None:
    _LOG.warning("no connection: %s; trying again", reason)
