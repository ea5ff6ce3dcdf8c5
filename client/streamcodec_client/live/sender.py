"""Source -> encoder, in a worker thread -> send queue -> transport."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from streamcodec.config import CodecConfig
from streamcodec.units import NS
from streamcodec.wire.overhead import wire_bytes
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, serialize
from streamcodec.wire.session import (
    Capture,
    CopiesWanted,
    Message,
    Mute,
    Report,
    StreamInfo,
    Welcome,
)

from ..audio.blocks import Block, Source
from ..audio.voice_activity import VoiceActivity
from ..clock import Clock, milliseconds
from ..report.statistics import ListenerReport, SenderStatistics
from ..report.trace import Trace
from ..transport.relay import Transport
from .codec import Codec, EncodingSettings
from .packetizer import Outgoing, Packetizer
from .worker import run_worker

QUEUE_LIMIT_MS = 200.0  # what waits longer for the socket would be heard too late
DRAIN_LIMIT_S = 2.0
READ_TIMEOUT_S = 0.1
PAUSE_S = 0.2  # a source that gives nothing for so long is not late: it pauses
WARM_UP_PACKETS = 3  # the first inference of a thread takes ten times as long as the rest
CARRIED_FLAGS = Flags.RESET | Flags.DISCONTINUITY
FRESH_REPORT_S, MAX_REPORTS = 3.0, 64  # listeners report each second


def stream_info(
    model_hash: str, config: CodecConfig, bitrate_bps: float | None, redundancy: int = 0
) -> StreamInfo:
    """What listeners must know of the stream."""
    return StreamInfo(
        model=model_hash,
        sample_rate=config.sample_rate,
        channels=config.channels,
        packet_samples=config.packet_samples,
        latents_per_payload=config.latents_per_payload,
        base_level=config.base_level,
        bitrate_bps=round(bitrate_bps or 0),
        redundancy=redundancy,
    )


class SendQueue:
    """Packets that wait for the socket: at most QUEUE_LIMIT_MS old, oldest dropped first, and never
    one of an earlier connection.

    What a dropped packet had to say about the encoder's state is said by the next one.
    """

    def __init__(self, limit_ms: float = QUEUE_LIMIT_MS) -> None:
        self._limit_ns = round(limit_ms * 1e6)
        self._waiting: deque[Outgoing] = deque()
        self._carried = Flags(0)
        self._connection = 0  # of what was dropped last
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, outgoing: Outgoing, now_ns: int) -> None:
        self._waiting.append(outgoing)
        self._drop_old(now_ns)

    def take(self, now_ns: int, connection: int | None) -> Outgoing | None:
        """The oldest packet that is worth sending over `connection`."""
        self._drop_old(now_ns)
        while self._waiting:
            outgoing = self._waiting.popleft()
            if outgoing.connection != connection:
                self.dropped += 1
                continue
            flags = outgoing.packet.flags | (
                self._carried if connection == self._connection else Flags(0)
            )
            self._carried = Flags(0)
            return dataclasses.replace(
                outgoing, packet=dataclasses.replace(outgoing.packet, flags=flags)
            )
        return None

    def _drop_old(self, now_ns: int) -> None:
        while self._waiting and now_ns - self._waiting[0].encoded_ns > self._limit_ns:
            outgoing = self._waiting.popleft()
            self.dropped += 1
            if outgoing.connection != self._connection:
                self._connection, self._carried = outgoing.connection, Flags(0)
            self._carried |= outgoing.packet.flags & CARRIED_FLAGS


class Sender:
    """One stream into a room. A TransportListener; give it to the transport, then `run` it on the
    same event loop.
    """

    def __init__(
        self,
        codec: Codec,
        source: Source,
        settings: EncodingSettings,
        clock: Clock,
        *,
        duration_s: float | None = None,
        dtx: bool = False,
        trace: Trace | None = None,
    ) -> None:
        """`duration_s`: how much of the source is sent; None sends it all. `dtx`: silence is
        described now and then, and not sent. Raises ConfigError for settings that the codec, or the
        detector of voices, refuses.
        """
        self._codec, self._source, self._settings, self._clock, self._trace = (
            codec,
            source,
            settings,
            clock,
            trace,
        )
        self._limit = None if duration_s is None else round(duration_s * source.sample_rate)
        # Made here, so that settings which the codec refuses are refused before anything is
        # started.
        self._encoder = codec.encoder(settings)
        self.info = stream_info(
            codec.hash, self._encoder.config, settings.bitrate_bps, settings.redundancy
        )
        activity = VoiceActivity(self.info.sample_rate) if dtx else None
        self._packetizer = Packetizer(
            self._encoder, self.info, source.sample_rate, source.channels, clock, activity
        )
        self._queue = SendQueue()
        self._wake = asyncio.Event()
        self._transport: Transport | None = None
        self._met_relay = threading.Event()
        self._stopping = threading.Event()
        self._position = 0
        self._packets = self._payload_bytes = self._wire_bytes = self._unsent = 0
        self._sending = False
        # by listener: when it came, and what it said
        self._reports: dict[tuple[int, str], tuple[int, dict[str, float]]] = {}
        # capture time of a sample that was sent, and when it was captured, ns
        self._mark: tuple[int, int] | None = None

    async def run(self, transport: Transport) -> None:
        """Returns when the source has ended, or after `stop`, and all that was encoded is sent (or
        DRAIN_LIMIT_S is over).

        Raises AudioError when the source fails, and whatever makes sending impossible.
        """
        self._transport = transport
        loop = asyncio.get_running_loop()

        def post(outgoing: Outgoing) -> None:
            loop.call_soon_threadsafe(self._accept, outgoing)

        pump = asyncio.ensure_future(self._pump(transport))
        # nothing is captured for a pump that has failed
        pump.add_done_callback(lambda _: self.stop())
        try:
            await run_worker("encoder", lambda: self._work(post), self.stop)
            # a link that takes nothing any more must not keep us
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_LIMIT_S):
                    await self._drain()
                    # Who goes on listening stays in the room: others should not wait for more, nor
                    # conceal it.
                    await transport.send_message(Mute(muted=True))
        finally:
            pump.cancel()
            (outcome,) = await asyncio.gather(pump, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    def stop(self) -> None:
        """Ends the source; may be called from any thread."""
        self._stopping.set()

    def capture_clock(self, relay_offset_ms: float | None) -> Capture | None:
        """When the last sample that was sent was captured, by the relay's clock; None while that is
        not known.
        """
        if self._mark is None or relay_offset_ms is None:
            return None
        capture_time, captured_ns = self._mark
        return Capture(capture_time % SEQUENCE_MODULUS, milliseconds(captured_ns) + relay_offset_ms)

    def statistics(self) -> SenderStatistics:
        per_ms = self._source.sample_rate / 1000
        return SenderStatistics(
            packets=self._packets,
            payload_bytes=self._payload_bytes,
            wire_bytes=self._wire_bytes,
            dropped=self._queue.dropped + self._unsent,
            silent=self._packetizer.silent,
            unconnected_ms=self._packetizer.unconnected_samples / per_ms,
            lost_ms=self._packetizer.lost_samples / per_ms,
            invalid_samples=self._packetizer.invalid_samples,
            captured_ms=self._position / per_ms,
            listeners=self._listeners,
        )

    @property
    def _listeners(self) -> tuple[ListenerReport, ...]:
        oldest_ns = self._clock.now_ns() - round(FRESH_REPORT_S * NS)
        fresh = [
            (name, said.get)
            for (_, name), (at_ns, said) in self._reports.items()
            if at_ns >= oldest_ns
        ]
        reports = [
            ListenerReport(name, get("concealed_percent"), get("mouth_to_ear_ms"), get("mos"))
            for name, get in fresh
        ]
        return tuple(sorted(reports, key=lambda r: (-(r.concealed_percent or 0.0), r.mos or 5.0)))

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._met_relay.set()

    def disconnected(self, reason: str) -> None:
        """Which connection there is, the transport says."""
        # until the next relay has said for how many there are takers
        self._packetizer.want_copies(0)

    def media(self, datagram: bytes, received_ns: int) -> None:
        """A talker hears nothing."""

    def message(self, message: Message) -> None:
        """What listeners report is shown, and will steer the bit rate one day; copies go to those
        who take them.
        """
        if isinstance(message, CopiesWanted):
            self._packetizer.want_copies(message.copies)
        if isinstance(message, Report):
            listener = message.listener, message.name  # an old relay says the name alone
            self._reports.pop(listener, None)
            self._reports[listener] = self._clock.now_ns(), message.statistics
            if len(self._reports) > MAX_REPORTS:
                # the one that was heard of longest ago
                del self._reports[next(iter(self._reports))]

    def _work(self, post: Callable[[Outgoing], None]) -> None:
        try:
            self._codec.enter_thread()
            warm_up = np.zeros(
                (WARM_UP_PACKETS * self.info.packet_samples, self.info.channels), np.float32
            )
            self._encoder.encode(warm_up)
            self._encoder.reset()
            # The first word of a file must not be spoken before somebody can hear it.
            while not self._met_relay.wait(READ_TIMEOUT_S):
                if self._stopping.is_set():
                    return
            self._source.start()
            read_ns, paused = self._clock.now_ns(), False
            while not self._stopping.is_set() and not self._source.ended and self._wanted != 0:
                block = self._source.read(READ_TIMEOUT_S)
                if block is not None:
                    self._encode(block, post)
                    read_ns, paused = self._clock.now_ns(), False
                elif not paused and self._clock.now_ns() - read_ns > PAUSE_S * NS:
                    paused = True
                    for outgoing in self._packetizer.pause():
                        post(outgoing)
            for outgoing in self._packetizer.flush():
                post(outgoing)
        finally:
            self._source.close()

    @property
    def _wanted(self) -> int | None:
        """Samples still to be sent; None without a limit."""
        return None if self._limit is None else max(0, self._limit - self._position)

    def _encode(self, block: Block, post: Callable[[Outgoing], None]) -> None:
        if self._trace is not None and not self._position:
            self._trace.add(
                {
                    "source_start_ns": block.captured_ns
                    - len(block.pcm) * NS // self._source.sample_rate
                }
            )
        wanted = self._wanted
        if wanted is not None and wanted < len(block.pcm):
            surplus_ns = (len(block.pcm) - wanted) * NS // self._source.sample_rate
            block = dataclasses.replace(
                block, pcm=block.pcm[:wanted], captured_ns=block.captured_ns - surplus_ns
            )
        self._position = block.position + len(block.pcm)
        assert self._transport is not None
        for outgoing in self._packetizer.push(block, self._transport.connection):
            post(outgoing)

    def _accept(self, outgoing: Outgoing) -> None:
        self._queue.offer(outgoing, self._clock.now_ns())
        self._wake.set()

    async def _pump(self, transport: Transport) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._sending = True
            while outgoing := self._queue.take(self._clock.now_ns(), transport.connection):
                await self._send(transport, outgoing)
            self._sending = False

    async def _send(self, transport: Transport, outgoing: Outgoing) -> None:
        packet = outgoing.packet
        if not await transport.send(serialize(packet)):
            self._unsent += 1
            return
        on_wire = wire_bytes(len(packet.payload), to_relay=True, tls=transport.tls)
        self._packets += 1
        self._payload_bytes += len(packet.payload)
        self._wire_bytes += on_wire
        self._mark = packet.capture_time + self.info.packet_samples, outgoing.captured_ns
        if self._trace is not None:
            self._trace.add(
                {
                    "sequence": packet.sequence,
                    "capture_time": packet.capture_time,
                    "captured_ns": outgoing.captured_ns,
                    "encode_start_ns": outgoing.encode_start_ns,
                    "encoded_ns": outgoing.encoded_ns,
                    "sent_ns": self._clock.now_ns(),
                    "payload_bytes": len(packet.payload),
                    "wire_bytes": on_wire,
                }
            )

    async def _drain(self) -> None:
        deadline_ns = self._clock.now_ns() + round(DRAIN_LIMIT_S * NS)
        await asyncio.sleep(0)  # what the worker posted last is accepted now
        while (len(self._queue) or self._sending) and self._clock.now_ns() < deadline_ns:
            self._wake.set()
            await asyncio.sleep(0.005)
