"""Transport -> playout buffer and decoder of each talker, in a worker thread at the pace of the
sink -> mix -> sink.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from streamcodec.errors import MalformedPacket
from streamcodec.live.adaptive import DEFAULT_BOUNDS, DelayBounds
from streamcodec.units import NS, Pcm
from streamcodec.wire.packet import AUDIO_TYPES, parse
from streamcodec.wire.session import Message, StreamInfo, StreamStart, Welcome

from ..audio.blocks import BLOCK_MS, Sink, block_samples, with_channels
from ..audio.level import Level
from ..audio.resample import LiveResampler
from ..clock import Clock, milliseconds
from ..report.statistics import ReceiverStatistics
from ..report.trace import NO_TRACE, Trace
from .admission import Admission
from .codec import Codec
from .encryption import RoomKey
from .inbox import Inbox, Joined, Left, Media, StreamKey
from .mix import mix
from .player import StreamPlayer
from .pulling import pull_together
from .sframe import NotOpened
from .talkers import Talkers
from .volumes import Volumes
from .worker import run_worker

RESUME_GRACE_S = 5.0  # a talker whose connection broke may come back over another one
FORGETS = 0.5 ** (BLOCK_MS / 1_000)  # with each block: half of it within a second
WAIT_S = 0.05  # for the sink, between checks whether to stop


@dataclasses.dataclass(frozen=True, slots=True)
class HeardBlock:
    """10 ms of one talker. pcm [T, C] at the codec's rate. captured_ns: when its first sample was
    captured, by our monotonic clock; None until the clocks have been compared. concealed: some of
    it did not come, or not in time, and is a substitute.
    """

    talker: StreamStart
    pcm: Pcm
    captured_ns: int | None
    concealed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Published:
    """What the worker lets others know, once a block. The event loop reads it as one reference, so
    all of it is from the same moment.
    """

    statistics: ReceiverStatistics
    all_said: bool  # as Talkers.all_said
    broke_off_ns: int | None  # as Talkers.broke_off_ns
    levels: Mapping[int, Level]  # of the talkers that are heard, by stream
    muted: frozenset[int]  # of these, who said that they send nothing for now
    event_count: int  # of the inbox's events, how many are taken into account
    slowest_ms: float


class Receiver:
    """All talkers of a room, mixed. A TransportListener; give it to the transport, then `run` it on
    the same event loop.

    Decoding and playing happen in a worker thread. It gets events through the inbox and publishes
    one frozen value a block; besides these the two threads share only `relay_offset_ms` and
    `volumes`.
    """

    def __init__(
        self,
        codec: Codec,
        sink: Sink,
        clock: Clock,
        *,
        playout: float | DelayBounds = DEFAULT_BOUNDS,
        tls: bool = False,
        notify: Callable[[str], None] = lambda text: None,
        trace: Trace = NO_TRACE,
        tap: Callable[[Sequence[HeardBlock]], None] = lambda blocks: None,
        key: RoomKey | None = None,
    ) -> None:
        """`playout`: a fixed delay in ms, or the bounds within which it adapts to the network.
        `tls`: packets come encrypted, which counts in `wire_bytes`. `notify` is told, in the worker
        thread, what users should know, and `tap`, each 10 ms, what is heard of each talker who has
        said anything. `key`: of a room where what is said is encrypted; what is not is not heard
        then. Raises ConfigError for a playout delay outside its range.
        """
        # the relay's clock less ours in ms, None while unknown
        self.relay_offset_ms: Callable[[], float | None] = lambda: None
        self.volumes = Volumes()  # replaced as a whole, from any thread
        self._codec, self._sink, self._clock = codec, sink, clock
        self._trace, self._tls, self._tap = trace, tls, tap
        admission = Admission(codec, clock, trace, playout, key)
        admission.check_delay()  # before anything is started
        self._inbox = Inbox()
        self._stopping = threading.Event()
        self._published = _Published(ReceiverStatistics(), False, None, {}, frozenset(), 0, 0.0)
        # Used by the worker thread only.
        self._talkers, self._notify = Talkers(admission, notify), notify
        self._malformed = 0
        self._slowest_ms = 0.0
        self._unopened: set[StreamKey] = set()  # of those that the user was told of

    async def run(self) -> None:
        """Returns after `stop`. Raises AudioError when the sink fails."""
        await run_worker("decoder", self._work, self.stop)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def connection(self) -> int:
        """Number of the present connection to a relay; 0 before the first."""
        return self._inbox.connection

    @property
    def everybody_left(self) -> bool:
        """There were talkers, all have left or are muted, and all they said was played. A broken
        connection does not count as leaving: not ours; and not that of a talker who did not
        announce that nothing follows, until RESUME_GRACE_S have passed.
        """
        published = self._published
        if published.event_count != self._inbox.event_count:
            return False  # somebody may have joined
        broke_off_ns = published.broke_off_ns
        if broke_off_ns is not None and self._clock.now_ns() - broke_off_ns < RESUME_GRACE_S * NS:
            return False
        return published.all_said

    def statistics(self) -> ReceiverStatistics:
        """As of the last block that was played."""
        # What a stuck worker leaves in the inbox, only the event loop can count.
        return dataclasses.replace(self._published.statistics, overflow=self._inbox.overflow)

    @property
    def levels(self) -> Mapping[int, Level]:
        """Of what is heard of each talker, before volumes, by stream."""
        return self._published.levels

    @property
    def slowest_ms(self) -> float:
        """How long a block of 10 ms took to be made, at worst lately: halved each second."""
        return self._published.slowest_ms

    @property
    def muted_streams(self) -> frozenset[int]:
        """Of the talkers that are heard, who said that they send nothing for now."""
        return self._published.muted

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._inbox.connected(welcome, connection)

    def disconnected(self, reason: str) -> None:
        self._inbox.disconnected(reason)

    def media(self, datagram: bytes, received_ns: int) -> None:
        self._inbox.media(datagram, received_ns)

    def message(self, message: Message) -> None:
        self._inbox.message(message)

    def _work(self) -> None:
        try:
            self._codec.enter_thread()
            widening = self._codec.widening
            rate, size = (
                self._codec.sample_rate // widening,
                self._codec.packet_sizes[0] // widening,
            )
            any_stream = StreamInfo(self._codec.hash, rate, 1, size, 0)
            # the first inference of a thread takes ten times as long as the rest
            self._codec.decoder(any_stream).decode(None)
            resampler = LiveResampler(
                self._codec.sample_rate, self._sink.sample_rate, self._sink.channels
            )
            delay_ns = round(resampler.delay_s * NS)
            self._sink.start()
            samples = block_samples(self._codec.sample_rate)
            silence = np.zeros((samples, 1), np.float32)
            started = False
            while not self._stopping.is_set():
                if not self._sink.wants_block(WAIT_S):
                    continue
                began_ns = self._clock.now_ns()
                event_count = self._read_inbox()
                blocks = pull_together(self._talkers.heard, samples, self._codec)
                pulled = dict(blocks)
                for player in self._talkers.heard:
                    player.meter.add(pulled.get(player, silence))
                mixed = resampler.convert(self._mixed(blocks))
                took_ms = milliseconds(self._clock.now_ns() - began_ns)
                self._slowest_ms = max(took_ms, self._slowest_ms * FORGETS)
                heard_ns = self._sink.write(mixed)
                if not started:
                    self._trace.add({"sink_start_ns": heard_ns})
                    started = True
                relay_offset_ms = self.relay_offset_ms()
                for player in self._talkers.heard:
                    player.heard(heard_ns + delay_ns, relay_offset_ms)
                begun = [block for block in blocks if block[0].begun]
                self._tap([_heard(*block, heard_ns + delay_ns) for block in begun])
                self._talkers.remove_finished()
                self._publish(event_count)
        finally:
            self._sink.close()

    def _mixed(self, blocks: Sequence[tuple[StreamPlayer, Pcm]]) -> Pcm:
        """All talkers' blocks as one, silence where nobody is heard."""
        channels, volumes = self._sink.channels, self.volumes
        heard = [
            with_channels(pcm, channels) * np.float32(volumes.gain(player.talker.stream))
            for player, pcm in blocks
        ]
        silence = np.zeros((block_samples(self._codec.sample_rate), channels), np.float32)
        return mix(heard) if heard else silence

    def _read_inbox(self) -> int:
        """-> how many events there have been since the beginning."""
        batch = self._inbox.take()
        for event in batch.events:
            if isinstance(event, Joined):
                self._talkers.join(event)
            elif isinstance(event, Left):
                self._talkers.leave(event, self._clock.now_ns())
            else:
                self._talkers.mute(event)
        for marked in batch.marks:
            if (player := self._talkers.player(marked.key)) is not None:
                player.capture_clock(marked.mark)
        for media in batch.media:
            try:
                self._receive(media)
            except MalformedPacket:
                self._malformed += 1
        return batch.event_count

    def _receive(self, media: Media) -> None:
        """Packets of other types, and of streams without a player, are ignored. Raises
        MalformedPacket.
        """
        packet = parse(media.datagram)
        player = self._talkers.player(StreamKey(media.connection, packet.stream))
        if player is not None and packet.type in AUDIO_TYPES:
            try:
                player.receive(packet, media.received_ns, tls=self._tls)
            except NotOpened as error:
                self._tell_unopened(media.connection, player.talker, error)
                raise

    def _tell_unopened(self, connection: int, talker: StreamStart, error: NotOpened) -> None:
        """Once for each stream."""
        key = StreamKey(connection, talker.stream)
        if key not in self._unopened:
            self._unopened.add(key)
            self._notify(
                f"{talker.name} (stream {talker.stream}) cannot be heard: a packet is no use, "
                f"because {error}"
            )

    def _publish(self, event_count: int) -> None:
        totals, streams = self._talkers.statistics()
        statistics = ReceiverStatistics(
            packets=totals.packets,
            payload_bytes=totals.payload_bytes,
            wire_bytes=totals.wire_bytes,
            played=totals.played,
            lost=totals.lost,
            late=totals.late,
            concealed=totals.concealed,
            skipped=totals.skipped,
            recovered=totals.recovered,
            bad_payloads=totals.bad_payloads,
            malformed=self._malformed,
            underruns=self._sink.underruns,
            buffer_ms=max((s.playout.buffer_ms for s in streams), default=0.0),
            delay_ms=max((s.playout.delay_ms for s in streams), default=0.0),
            streams=streams,
        )
        self._published = _Published(
            statistics,
            self._talkers.all_said,
            self._talkers.broke_off_ns,
            {player.talker.stream: player.meter.level for player in self._talkers.heard},
            frozenset(p.talker.stream for p in self._talkers.heard if p.muted),
            event_count,
            self._slowest_ms,
        )


def _heard(player: StreamPlayer, pcm: Pcm, heard_ns: int) -> HeardBlock:
    return HeardBlock(player.talker, pcm, player.captured_ns(heard_ns), player.concealed)
