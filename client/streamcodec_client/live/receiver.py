"""Transport -> playout buffer and decoder of each talker, in a worker thread at the pace of the
sink -> mix -> sink.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from streamcodec.errors import MalformedPacket, StreamcodecError
from streamcodec.live.adaptive import DEFAULT_BOUNDS, AdaptivePlayout, DelayBounds
from streamcodec.live.playout import FixedPlayout, PlayoutBuffer
from streamcodec.units import NS
from streamcodec.wire.overhead import wire_bytes
from streamcodec.wire.packet import AUDIO_TYPES, parse
from streamcodec.wire.session import (
    Capture,
    Message,
    Mute,
    StreamEnd,
    StreamInfo,
    StreamStart,
    Welcome,
)

from ..audio.blocks import Sink, block_samples, with_channels
from ..audio.resample import LiveResampler
from ..audio.stretch import Stretcher
from ..clock import Clock
from ..report.statistics import ReceiverStatistics, StreamStatistics
from ..report.trace import Trace
from .codec import Codec
from .player import StreamPlayer, mix
from .worker import run_worker

INBOX_LIMIT_MS = 400.0  # what waits longer for a worker that is stuck would not be played anyway
MAX_EVENTS = 1024
MAX_TALKERS = 16  # decoded at once; later ones are not heard until somebody leaves
MAX_MARKS = 4 * MAX_TALKERS  # of captures: each makes the one before it useless
RESUME_GRACE_S = 5.0  # a talker that left without a word may come back over another connection
MAX_AWAITED = MAX_TALKERS  # streams that broke off and are remembered
WAIT_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class _Media:
    connection: int
    datagram: bytes
    received_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Joined:
    connection: int
    stream: int
    name: str
    info: StreamInfo


@dataclasses.dataclass(frozen=True, slots=True)
class _Left:
    connection: int
    stream: int | None  # None: all of that connection


@dataclasses.dataclass(frozen=True, slots=True)
class _Muted:
    connection: int
    stream: int
    muted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Clocked:
    connection: int
    stream: int
    mark: Capture


class Receiver:
    """All talkers of a room, mixed. A TransportListener; give it to the transport, then `run` it on
    the same event loop.
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
        trace: Trace | None = None,
    ) -> None:
        """`playout`: a fixed delay in ms, or the bounds within which it adapts to the network.
        `notify` is told, in the worker thread, what users should know. Raises ConfigError for a
        playout delay outside its range.
        """
        # the relay's clock less ours, once it is known
        self.relay_offset_ms: Callable[[], float | None] = lambda: None
        self._codec, self._sink, self._clock, self._trace = codec, sink, clock, trace
        self._delay, self._tls, self._notify = playout, tls, notify
        # refuse before anything is started what a later talker would make fail
        for latents in (1, 2, 3):
            self._playout(codec.packet_samples(latents))
        # Filled by the event loop, emptied by the worker.
        self._inbox: deque[_Media] = deque()
        self._events: deque[_Joined | _Left | _Muted] = deque(maxlen=MAX_EVENTS)
        self._marks: deque[_Clocked] = deque(maxlen=MAX_MARKS)
        self._connection = 0
        self._own_stream: int | None = None
        self._stopping = threading.Event()
        # The worker's own; others only count.
        self._players: dict[tuple[int, int], StreamPlayer] = {}
        # Those that broke off and are played out, by stream. What the network was like is still
        # known when they go on: a new player would take the backlog of an outage, which comes
        # first, for the delay of the network, and play it.
        self._awaited: dict[int, StreamPlayer] = {}
        # Streams that are not decoded: those that cannot be, and those that wait for somebody to
        # leave.
        self._unheard: dict[tuple[int, int], _Joined | None] = {}
        self._met_somebody = self._lost_somebody = False
        self._broke_off_ns: int | None = None  # when a talker was last cut off in mid-stream
        self._malformed = self._overflow = 0
        self._ended = _Totals()

    async def run(self) -> None:
        """Returns after `stop`. Raises AudioError when the sink fails."""
        await run_worker("decoder", self._work, self.stop)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def everybody_left(self) -> bool:
        """There were talkers, all have left or are muted, and all they said was played. A broken
        connection is no goodbye: ours never is, and that of a talker who has not said that nothing
        follows is one after RESUME_GRACE_S.
        """
        broke_off_ns = self._broke_off_ns
        if broke_off_ns is not None and self._clock.now_ns() - broke_off_ns < RESUME_GRACE_S * NS:
            return False
        silent = (
            all(player.silent for player in tuple(self._players.values())) and not self._unheard
        )
        return self._met_somebody and not self._lost_somebody and silent and not self._events

    def statistics(self) -> ReceiverStatistics:
        streams = tuple(player.statistics() for player in tuple(self._players.values()))
        totals = self._ended
        for stream in (
            *streams,
            *(player.statistics() for player in tuple(self._awaited.values())),
        ):
            totals = totals.plus(stream)
        return ReceiverStatistics(
            **dataclasses.asdict(totals),
            malformed=self._malformed,
            overflow=self._overflow,
            underruns=self._sink.underruns,
            buffer_ms=max((s.playout.buffer_ms for s in streams), default=0.0),
            delay_ms=max((s.playout.delay_ms for s in streams), default=0.0),
            streams=streams,
        )

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._connection, self._own_stream = connection, welcome.stream
        for entry in welcome.streams:
            self.message(entry)

    def disconnected(self, reason: str) -> None:
        self._events.append(_Left(self._connection, None))

    def media(self, datagram: bytes, received_ns: int) -> None:
        oldest_ns = received_ns - round(INBOX_LIMIT_MS * 1e6)
        while self._inbox and self._inbox[0].received_ns < oldest_ns:
            self._inbox.popleft()
            self._overflow += 1
        self._inbox.append(_Media(self._connection, datagram, received_ns))

    def message(self, message: Message) -> None:
        if isinstance(message, StreamStart) and message.stream != self._own_stream:
            self._events.append(
                _Joined(self._connection, message.stream, message.name, message.info)
            )
        elif isinstance(message, StreamEnd):
            self._events.append(_Left(self._connection, message.stream))
        elif isinstance(message, Mute):
            self._events.append(_Muted(self._connection, message.stream, message.muted))
        elif isinstance(message, Capture):
            self._marks.append(_Clocked(self._connection, message.stream, message))

    def _work(self) -> None:
        try:
            self._codec.enter_thread()
            any_stream = StreamInfo(
                self._codec.hash, self._codec.sample_rate, 1, self._codec.packet_samples(1), 1, 0
            )
            # the first inference of a thread takes ten times as long as the rest
            self._codec.decoder(any_stream).decode(None)
            resampler = LiveResampler(
                self._codec.sample_rate, self._sink.sample_rate, self._sink.channels
            )
            delay_ns = round(resampler.delay_s * NS)
            self._sink.start()
            started = False
            while not self._stopping.is_set():
                if not self._sink.wants_block(WAIT_S):
                    continue
                self._read_inbox()
                heard_ns = self._sink.write(resampler.convert(self._next_block()))
                if not started and self._trace is not None:
                    self._trace.add({"sink_start_ns": heard_ns})
                started = True
                for player in self._players.values():
                    player.played(heard_ns + delay_ns)
                self._forget_finished()
        finally:
            self._sink.close()

    def _next_block(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        samples, channels = block_samples(self._codec.sample_rate), self._sink.channels
        pulled = [player.pull(samples) for player in self._players.values()]
        heard = [with_channels(pcm, channels) for pcm in pulled if pcm is not None]
        return mix(heard) if heard else np.zeros((samples, channels), np.float32)

    def _read_inbox(self) -> None:
        while self._events:
            event = self._events.popleft()
            if isinstance(event, _Joined):
                self._add(event)
            elif isinstance(event, _Left):
                self._end(event)
            elif (player := self._players.get((event.connection, event.stream))) is not None:
                player.mute(event.muted)
            elif event.muted:
                self._unheard.pop((event.connection, event.stream), None)
        while self._marks:
            clocked = self._marks.popleft()
            if (player := self._players.get((clocked.connection, clocked.stream))) is not None:
                player.capture_clock(clocked.mark)
        while self._inbox:
            media = self._inbox.popleft()
            try:
                packet = parse(media.datagram)
            except MalformedPacket:
                self._malformed += 1
                continue
            player = self._players.get((media.connection, packet.stream))
            if player is None or packet.type not in AUDIO_TYPES:
                continue
            try:
                player.receive(
                    packet,
                    media.received_ns,
                    wire_bytes(len(packet.payload), to_relay=False, tls=self._tls),
                )
            except MalformedPacket:
                self._malformed += 1

    def _add(self, joined: _Joined) -> None:
        key, info = (joined.connection, joined.stream), joined.info
        known = self._players.get(key)
        if known is not None:
            if _same_stream(known.info, info):
                self._broke_off_ns = None
                # only the rate is another, or the talker's connection: decoding goes on
                known.resume()
                return
            self._ended = self._ended.plus(self._players.pop(key).statistics())
        self._lost_somebody, self._broke_off_ns = False, None
        if (player := self._broken_off(joined)) is not None:
            self._players[key] = player
            player.resume()
            return
        full = len(self._players) >= MAX_TALKERS
        try:
            self._check(info)
            if full:
                raise StreamcodecError(
                    f"{MAX_TALKERS} talkers are heard already; it will be when one of them leaves"
                )
            decoder = self._codec.decoder(info)
            playout = self._playout(info.packet_samples)
        except StreamcodecError as error:
            self._notify(f"{joined.name} (stream {joined.stream}) cannot be heard: {error}")
            self._unheard[key] = joined if full else None
            self._met_somebody = True
            return
        stretcher = (
            Stretcher(info.sample_rate, info.channels)
            if isinstance(self._delay, DelayBounds)
            else None
        )
        self._players[key] = StreamPlayer(
            joined.stream,
            joined.name,
            info,
            decoder,
            playout,
            self._clock,
            self._trace,
            stretcher,
            self.relay_offset_ms,
            self._codec.overlap_samples,
        )
        self._unheard.pop(key, None)
        # Last: the event loop may look at any moment, and to have met somebody who is in neither
        # list is to have seen them leave.
        self._met_somebody = True

    def _broken_off(self, joined: _Joined) -> StreamPlayer | None:
        """The player of the same stream before our connection, or the talker's, broke; taken from
        where it was.
        """
        earlier = [
            key for key in self._players if key[0] < joined.connection and key[1] == joined.stream
        ]
        player = None
        if earlier:
            player = self._players.pop(earlier[-1])
        elif len(self._players) < MAX_TALKERS:
            player = self._awaited.pop(joined.stream, None)
        if player is None or (
            player.name == joined.name and _same_stream(player.info, joined.info)
        ):
            return player
        self._ended = self._ended.plus(player.statistics())
        return None

    def _check(self, info: StreamInfo) -> None:
        """Raises StreamcodecError for a stream that this model cannot decode."""
        if info.model != self._codec.hash:
            raise StreamcodecError(
                f"it was made with model {info.model}, and {self._codec.hash} is loaded; see --model"
            )
        expected = (self._codec.sample_rate, self._codec.packet_samples(info.latents_per_payload))
        if (info.sample_rate, info.packet_samples) != expected:
            raise StreamcodecError(
                f"its packets have {info.packet_samples} samples at {info.sample_rate} Hz, "
                f"the model's {expected[1]} at {expected[0]}"
            )

    def _playout(self, packet_samples: int) -> PlayoutBuffer:
        samples_per_ms = self._codec.sample_rate / 1000
        packet_ms = packet_samples / samples_per_ms
        if isinstance(self._delay, DelayBounds):
            return AdaptivePlayout(
                packet_ms=packet_ms, samples_per_ms=samples_per_ms, bounds=self._delay
            )
        return FixedPlayout(packet_ms=packet_ms, target_ms=self._delay)

    def _end(self, left: _Left) -> None:
        """What is in the buffers is still played."""
        for (connection, stream), player in self._players.items():
            if connection == left.connection and left.stream in (None, stream):
                if not player.muted:
                    self._broke_off_ns = self._clock.now_ns()
                player.end()
                self._lost_somebody = self._lost_somebody or left.stream is None
        for connection, stream in list(self._unheard):
            if connection == left.connection and left.stream in (None, stream):
                del self._unheard[connection, stream]

    def _forget(self, stream: int) -> None:
        if (player := self._awaited.pop(stream, None)) is not None:
            self._ended = self._ended.plus(player.statistics())

    def _forget_finished(self) -> None:
        for key in [key for key, player in self._players.items() if player.finished]:
            self._forget(key[1])
            self._awaited[key[1]] = self._players.pop(key)
        while len(self._awaited) > MAX_AWAITED:
            self._forget(next(iter(self._awaited)))
        for waiting in list(self._unheard.values()):
            if waiting is not None and len(self._players) < MAX_TALKERS:
                self._add(waiting)


def _same_stream(one: StreamInfo, other: StreamInfo) -> bool:
    """Whether one decoder and one playout buffer do for both."""
    return dataclasses.replace(one, bitrate_bps=other.bitrate_bps) == other


@dataclasses.dataclass(frozen=True, slots=True)
class _Totals:
    packets: int = 0
    payload_bytes: int = 0
    wire_bytes: int = 0
    played: int = 0
    lost: int = 0
    late: int = 0
    concealed: int = 0
    skipped: int = 0
    recovered: int = 0
    bad_payloads: int = 0

    def plus(self, stream: StreamStatistics) -> _Totals:
        playout = stream.playout
        return _Totals(
            self.packets + playout.received,
            self.payload_bytes + stream.payload_bytes,
            self.wire_bytes + stream.wire_bytes,
            self.played + playout.played,
            self.lost + playout.lost,
            self.late + playout.late,
            self.concealed + playout.concealed,
            self.skipped + playout.skipped,
            self.recovered + playout.recovered,
            self.bad_payloads + stream.bad_payloads,
        )
