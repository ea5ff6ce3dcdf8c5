"""One talker as the receiver hears it. Used by the receiver's worker thread only.

Players do not decode. They say what is to be decoded, so that the receiver can decode the packets
of several talkers in one step of the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TypeAlias

import numpy as np

from streamcodec.errors import PayloadError
from streamcodec.live.call_quality import CallQuality
from streamcodec.live.loss_fade import LossFade
from streamcodec.live.playout import Arrival, Conceal, Play, PlayoutBuffer
from streamcodec.units import NS, Pcm
from streamcodec.wire.overhead import wire_bytes
from streamcodec.wire.packet import HEADER_BYTES, SEQUENCE_MODULUS, Flags, Packet
from streamcodec.wire.redundancy import separate
from streamcodec.wire.session import Capture, StreamInfo, StreamStart
from streamcodec.wire.short_headers import SHORT_HEADER_BYTES, Course

from ..audio.level import LevelMeter
from ..audio.stretch import Stretcher
from ..clock import Clock, milliseconds
from ..report.statistics import StreamStatistics
from ..report.trace import PlayedPackets, Trace
from .codec import Decoder
from .encryption import Opener

# Yields payloads, or None for what is to be concealed, and is sent the PCM of each.
Pull: TypeAlias = Generator[bytes | None, Pcm, Pcm | None]


@dataclasses.dataclass(slots=True)
class _Received:
    """What came of a stream since it was first heard of."""

    payload_bytes: int = 0
    wire_bytes: int = 0
    bad_payloads: int = 0


class StreamPlayer:
    """Playout buffer and decoder of one talker, and what is decoded and not yet played (less than a
    packet). Losses are concealed by LossFade and the call judged by CallQuality.
    """

    def __init__(
        self,
        talker: StreamStart,
        info: StreamInfo,
        decoder: Decoder,
        playout: PlayoutBuffer,
        clock: Clock,
        trace: Trace,
        overlap_samples: int,
        stretcher: Stretcher | None = None,
        opener: Opener | None = None,
    ) -> None:
        """`info`: the talker's, in samples as they are decoded. `overlap_samples`: how far the
        decoder's output lags the encoder's input. `stretcher`: for a playout buffer that asks for
        speeds other than one. `opener`: of packets that are encrypted.
        """
        self.talker, self._info = talker, info
        self._widening = info.sample_rate // talker.info.sample_rate
        self.decoder = decoder  # of what `pull` yields
        self._playout, self._clock = playout, clock
        self._stretcher, self._opener = stretcher, opener
        self._fade = LossFade(info.sample_rate, info.channels, info.packet_samples)
        self._quality = CallQuality(info.sample_rate, info.packet_samples, overlap_samples)
        self._trace = PlayedPackets(trace, talker.stream, info.sample_rate)
        self._rest = np.zeros((0, info.channels), np.float32)
        self._substituted = False  # the packet that was pulled last
        self.begun = False  # something of it was heard
        self.concealed = False  # any of the block that was pulled last
        self._muted = False
        self._received = _Received()
        self._course = Course()
        self.meter = LevelMeter(info.sample_rate)  # of what is heard

    @property
    def finished(self) -> bool:
        """The talker has left and all was played."""
        return self.silent and not self._muted

    @property
    def silent(self) -> bool:
        """The talker has left, or is muted, and all was played."""
        return self._playout.drained and not len(self._rest) and self._fade.silent

    @property
    def muted(self) -> bool:
        """The talker said that nothing follows for now; a sender says it before it leaves."""
        return self._muted

    def receive(self, packet: Packet, received_ns: int, *, tls: bool) -> None:
        """`tls`: it came over TLS, which counts in `wire_bytes`. Raises MalformedPacket for a
        malformed copy, and NotOpened.
        """
        now_ms, size = milliseconds(received_ns), len(packet.payload)
        packet, copy = separate(packet, self.talker.info.packet_samples)
        # The relay left the counters out where these say that they follow from those before.
        continues = self._course.add((packet.sequence, packet.capture_time))
        header = SHORT_HEADER_BYTES if continues else HEADER_BYTES
        self._received.payload_bytes += size
        self._received.wire_bytes += wire_bytes(header + size, to_relay=False, tls=tls)
        if self._opener is not None:
            packet = self._opener.open(packet)
            copy = None if copy is None else self._opener.open_copy(copy)
        capture_time = self._decoded_time(packet.capture_time)
        self._quality.arrived(capture_time, packet.flags, now_ms)
        arrival = self._playout.receive(
            packet.sequence, capture_time, packet.payload, packet.flags, now_ms
        )
        if copy is not None:
            capture_time = self._decoded_time(copy.capture_time)
            self._playout.recover(dataclasses.replace(copy, capture_time=capture_time), now_ms)
        if arrival is Arrival.LATE:
            self._trace.late(packet.sequence, received_ns)

    def capture_clock(self, mark: Capture) -> None:
        """The talker said at what time of the relay's clock a sample was captured."""
        capture_time = self._decoded_time(mark.capture_time)
        self._quality.capture_clock(dataclasses.replace(mark, capture_time=capture_time))

    def _decoded_time(self, wire_time: int) -> int:
        """A capture time of the wire in samples as they are decoded; it wraps where that does."""
        return wire_time * self._widening % SEQUENCE_MODULUS

    def end(self) -> None:
        """The talker has left: what is buffered is played, and nothing after it concealed."""
        self._muted = False
        self._fade.end_pause()
        self._playout.end()

    def resume(self) -> None:
        """Takes `end` back: the talker's connection broke, and its stream goes on over another."""
        if not self._muted:
            self._playout.resume()

    def mute(self, muted: bool) -> None:
        """The talker announced that it sends nothing for now, which needs no concealment; or that
        it speaks again.
        """
        self._muted = muted
        if muted:
            self._fade.end_pause()
            self._playout.end()
        else:
            self._playout.resume()

    def pull(self, samples: int) -> Pull:
        """Returns the next [samples, C]; None while there is nothing to hear. Yields what `decoder`
        is to decode, and is sent the PCM, or thrown the PayloadError.
        """
        parts, have = [self._rest], len(self._rest)
        self.concealed = have > 0 and self._substituted
        while have < samples and (pcm := (yield from self._next_packet(have))) is not None:
            parts.append(pcm)
            have += len(pcm)
            self.concealed = self.concealed or self._substituted
        if not self._playout.drained:
            # The buffer stops asking for substitutes before the fade to comfort noise is complete.
            while have < samples and self._fade.continues:
                self.concealed = True
                parts.append(self._stretched((yield from self._concealed())))
                have += len(parts[-1])
            if have < samples:
                parts.append(self._fade.background(samples - have))
                self._quality.missing(self._fade.lost_ms)
                self.concealed = self.concealed or self._fade.lost_ms > 0  # else a pause
                have = samples
        if not have and self._fade.silent:
            return None
        if have < samples:
            parts.append(self._fade.silence(samples - have))
        pcm = np.concatenate(parts)
        self._rest = pcm[samples:]
        return pcm[:samples]

    def heard(self, heard_ns: int, relay_offset_ms: float | None) -> None:
        """The block that was pulled last is heard from `heard_ns` on. `relay_offset_ms`: the
        relay's clock less ours, None while unknown.
        """
        self._quality.heard(milliseconds(heard_ns), relay_offset_ms)
        self._trace.heard(heard_ns)

    def captured_ns(self, heard_ns: int) -> int | None:
        """When by our clock was captured what is heard at `heard_ns`; None while not known."""
        delay_ms = self._quality.mouth_to_ear_ms
        return None if delay_ms is None else heard_ns - round(delay_ms * 1e6)

    def statistics(self) -> StreamStatistics:
        call = self._quality.rating()
        return StreamStatistics(
            stream=self.talker.stream,
            name=self.talker.name,
            payload_bytes=self._received.payload_bytes,
            wire_bytes=self._received.wire_bytes,
            bad_payloads=self._received.bad_payloads,
            playout=self._playout.statistics(),
            jitter_ms=call.jitter_ms,
            drift_ppm=call.drift_ppm,
            mouth_to_ear_ms=call.mouth_to_ear_ms,
            concealed_percent=call.concealed_percent,
            mos=call.mos,
        )

    def _next_packet(self, offset: int) -> Pull:
        """The packet whose turn it is, or its substitute, [T, C]; None where nothing is due. It
        will be heard `offset` samples into the block.
        """
        polled_ns = self._clock.now_ns()
        begins_ns = polled_ns + offset * NS // self._info.sample_rate
        event = self._playout.poll(milliseconds(begins_ns))
        if event is None:
            return None
        start_ns = self._clock.now_ns()
        received_ns, speed, concealed = None, 1.0, True
        if isinstance(event, Conceal):
            pcm = yield from self._concealed()
        else:
            received_ns, speed = begins_ns - round(event.waited_ms * 1e6), event.speed
            pcm, concealed = yield from self._decoded(event)
            self._quality.begins(offset, event.capture_time)
        self._substituted = concealed
        pcm = self._stretched(pcm, speed)
        self._trace.decoded(
            offset,
            event.sequence,
            received_ns,
            polled_ns,
            start_ns,
            self._clock.now_ns(),
            concealed=concealed,
        )
        return pcm

    def _decoded(self, event: Play) -> Generator[bytes | None, Pcm, tuple[Pcm, bool]]:
        """-> PCM [packet_samples, C], whether it is a substitute for a bad payload."""
        info = self._info
        self.begun = True
        begins = Flags.RESET in event.flags
        restarts = begins or not event.follows
        if restarts:
            self.decoder.reset(begins=begins)
        bad = False
        if not event.payload:  # digital silence
            pcm = np.zeros((info.packet_samples, info.channels), np.float32)
            self._fade.forget_background()
        else:
            try:
                pcm = yield event.payload
            except PayloadError:
                self._received.bad_payloads += 1
                bad = True
                pcm = yield None
        pcm = self._fade.packet(pcm, event.flags, restarts=restarts, substitute=bad)
        if bad:
            self._quality.missing(self._fade.lost_ms)
        else:
            self._quality.played()
        return pcm, bad

    def _concealed(self) -> Generator[bytes | None, Pcm, Pcm]:
        """A substitute for a missing packet, [packet_samples, C]."""
        pcm = self._fade.concealed((yield None))
        self._quality.missing(self._fade.lost_ms)
        return pcm

    def _stretched(self, pcm: Pcm, speed: float = 1.0) -> Pcm:
        """[T, C] -> [T / speed, C], which is what will be heard."""
        if self._stretcher is not None:
            pcm = self._stretcher.play(pcm, speed)
        self._fade.heard(pcm)
        return pcm
