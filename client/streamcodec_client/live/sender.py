"""One stream into a room: source -> encoder, in a worker thread -> send queue -> transport."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable

from streamcodec.config import CodecConfig
from streamcodec.units import NS, Pcm
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

from ..audio.blocks import Source
from ..audio.level import Level
from ..audio.voice_activity import VoiceActivity
from ..audio.voice_processing import VoiceProcessor, VoiceSettings
from ..clock import Clock, milliseconds
from ..report.statistics import SenderStatistics
from ..report.trace import NO_TRACE, Trace
from ..transport.api import Transport
from .codec import Codec, EncodingSettings
from .copying import CopyPolicy
from .encoding import PAUSE_S, EncodingWorker
from .encryption import RoomKey
from .listener_reports import ListenerReports
from .outgoing import Outgoing
from .packetizer import Packetizer
from .send_queue import SendQueue
from .worker import run_worker

DRAIN_LIMIT_S = 2.0


def stream_info(
    codec: Codec, config: CodecConfig, bitrate_bps: float | None, redundancy: int = 0
) -> StreamInfo:
    """What listeners must know of the stream."""
    return StreamInfo(
        model=codec.hash,
        sample_rate=config.wire_sample_rate,
        channels=config.channels,
        packet_samples=config.wire_packet_samples,
        base_level=config.base_level,
        bitrate_bps=round(bitrate_bps or 0),
        redundancy=redundancy,
        high_band=codec.high_band if config.high_band else "",
        joint_stereo=codec.joint_stereo if config.joint else "",
    )


class Sender:
    """Sends what a worker thread encodes, and counts it. A TransportListener: give it to the
    transport, then `run` it on the same event loop.
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
        trace: Trace = NO_TRACE,
        pause_s: float = PAUSE_S,
        key: RoomKey | None = None,
        tap: Callable[[Pcm, int], None] = lambda pcm, captured_ns: None,
        voice: VoiceSettings | None = None,
    ) -> None:
        """`duration_s`: how much of the source is sent; None: all of it. `dtx`: silence is
        described now and then instead of being sent. `trace`: where the times of packets go.
        `pause_s`: a source that gives nothing for so long is not late: it pauses, and listeners are
        told. `key`: only who has it can hear what is sent. `tap`: see Packetizer; in the encoder's
        thread. `voice`: how a microphone's sound is processed before it is encoded.

        Raises ConfigError for settings that the codec, the voice activity detector or the voice's
        processing refuses; nothing has been started then.
        """
        self._clock, self._trace = clock, trace
        self._source_rate = source.sample_rate
        encoder = codec.encoder(settings)
        self._copying = CopyPolicy(settings.copies)
        self.info = stream_info(codec, encoder.config, settings.bitrate_bps, self._copying.offered)
        self._sealer = None if key is None else key.sealer()
        if self._sealer is not None:
            self.info = dataclasses.replace(self.info, key_id=self._sealer.key_id)
        config = encoder.config
        activity = VoiceActivity(config.sample_rate, config.channels) if dtx else None
        processor = (
            None
            if voice is None
            else VoiceProcessor(encoder.config.sample_rate, self.info.channels, voice)
        )
        self._packetizer = Packetizer(
            encoder, self.info, source.sample_rate, clock, activity, processor
        )
        self._packetizer.tap = tap
        self._worker = EncodingWorker(
            codec, encoder, source, self._packetizer, clock, trace, duration_s, pause_s
        )
        self._reports = ListenerReports()
        self._queue = SendQueue()
        self._wake = asyncio.Event()
        self.begun = asyncio.Event()  # a packet after which listeners need a new capture mark
        self._ever_muted = self._mute_untold = False
        self._sending = False  # a packet was taken from the queue and waits for the socket
        self._packets = self._payload_bytes = self._wire_bytes = self._unsent = 0
        # capture time of the sample behind the last one sent, and when that was captured, ns
        self._mark: tuple[int, int] | None = None

    async def run(self, transport: Transport) -> None:
        """Returns when the source has ended, or after `stop`, once everything encoded is sent, or
        DRAIN_LIMIT_S later.

        Raises AudioError when the source fails, and whatever makes sending impossible.
        """
        loop = asyncio.get_running_loop()

        def post(outgoing: Outgoing) -> None:
            loop.call_soon_threadsafe(self._accept, outgoing)

        pump = asyncio.ensure_future(self._pump(transport))
        # when nothing can be sent any more, nothing need be captured
        pump.add_done_callback(lambda _: self.stop())
        try:
            await run_worker(
                "encoder", lambda: self._worker.run(lambda: transport.connection, post), self.stop
            )
            # a link that takes nothing any more must not keep the program from ending
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_LIMIT_S):
                    await self._drain()
                    # The user may go on listening in the room: others should neither wait for more
                    # packets nor conceal them.
                    await transport.send_message(Mute(muted=True))
        finally:
            pump.cancel()
            (outcome,) = await asyncio.gather(pump, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    @property
    def muted(self) -> bool:
        """Whether nothing is sent of what is captured."""
        return self._packetizer.muted

    def mute(self, muted: bool) -> None:
        """At once: what was captured and is not sent yet stays unsent. Listeners are told. On the
        event loop.
        """
        if muted is not self.muted:
            self._packetizer.muted = muted
            self._ever_muted = self._mute_untold = True
            self._wake.set()

    @property
    def finished(self) -> bool:
        """The source has ended, or as much of it was captured as was wanted: nothing follows."""
        return self._worker.finished

    @property
    def level(self) -> Level:
        """Of what is captured, muted or not."""
        return self._packetizer.meter.level

    def stop(self) -> None:
        """Ends the source. From any thread."""
        self._worker.stop()

    def capture_clock(self, relay_offset_ms: float | None) -> Capture | None:
        """When the last sample that was sent was captured, by the relay's clock, for listeners to
        work out their delay. `relay_offset_ms`: the relay's clock less this one. None while either
        is not known.
        """
        if self._mark is None or relay_offset_ms is None:
            return None
        capture_time, captured_ns = self._mark
        return Capture(capture_time % SEQUENCE_MODULUS, milliseconds(captured_ns) + relay_offset_ms)

    def statistics(self) -> SenderStatistics:
        """Sums since the beginning, and what listeners report now."""
        per_ms = self._source_rate / 1000
        return SenderStatistics(
            packets=self._packets,
            payload_bytes=self._payload_bytes,
            wire_bytes=self._wire_bytes,
            dropped=self._queue.dropped + self._unsent,
            silent=self._packetizer.silent,
            unconnected_ms=self._packetizer.unconnected_samples / per_ms,
            muted_ms=self._packetizer.muted_samples / per_ms,
            lost_ms=self._packetizer.lost_samples / per_ms,
            invalid_samples=self._packetizer.invalid_samples,
            captured_ms=self._worker.captured_ms,
            copy_distance=self._copying.distance,
            listeners=self._reports.fresh(self._clock.now_ns()),
        )

    def connected(self, welcome: Welcome, connection: int) -> None:
        """The first connection starts the source. A relay may remember, or not know, that we are
        muted.
        """
        self._worker.start_capture()
        self._mute_untold = self._ever_muted
        self._wake.set()

    def disconnected(self, reason: str) -> None:
        """Makes no copies until the next relay has told which ones listeners take."""
        self._copying.take(0)
        self._packetizer.carry_copies(0)

    def media(self, datagram: bytes, received_ns: int) -> None:
        """A sender plays nothing."""

    def message(self, message: Message) -> None:
        """Makes the copies that listeners take and need, and remembers what they report."""
        if isinstance(message, CopiesWanted):
            self._copying.take(message.copies)
        if isinstance(message, Report):
            self._reports.add(message, self._clock.now_ns())
            self._copying.add(message, self._clock.now_ns())
        self._packetizer.carry_copies(self._copying.distance)

    def _accept(self, outgoing: Outgoing) -> None:
        self._queue.offer(outgoing, self._clock.now_ns())
        self._wake.set()

    async def _pump(self, transport: Transport) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._sending = True
            await self._tell_muted(transport, False)
            while outgoing := self._queue.take(self._clock.now_ns(), transport.connection):
                if not self.muted:  # else it was encoded a moment before
                    await self._send(transport, outgoing)
            await self._tell_muted(transport, True)
            self._sending = False

    async def _tell_muted(self, transport: Transport, muted: bool) -> None:
        """Behind the last packet before a pause, and before the first one that follows it."""
        if self._mute_untold and self.muted is muted and transport.connection is not None:
            self._mute_untold = False
            await transport.send_message(Mute(muted=muted))

    async def _send(self, transport: Transport, outgoing: Outgoing) -> None:
        packet = outgoing.packet
        if self._sealer is not None:
            packet = self._sealer.seal(packet)
        if not (message_bytes := await transport.send(serialize(packet))):
            self._unsent += 1
            return
        if packet.flags & (Flags.RESET | Flags.DISCONTINUITY):
            self.begun.set()
        on_wire = wire_bytes(message_bytes, to_relay=True, tls=transport.tls)
        self._packets += 1
        self._payload_bytes += len(packet.payload)
        self._wire_bytes += on_wire
        self._mark = packet.capture_time + self.info.packet_samples, outgoing.captured_ns
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
